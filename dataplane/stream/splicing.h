// Splicing: the life of a relayed stream from its RESPONSE on. Carries ciphertext between who asked (tunnel) and the
// next node (plain), within its member's byte rate, and passes on how each side ends: a half-close as a half-close, a
// reset as a reset.
#pragma once

#include "dataplane/stream/lane_waits.h"

namespace qanat::dataplane {

class Splicing {
public:
    Splicing(EngineServices& services, StreamTable& table, LaneWaits& waits)
        : services_(services), table_(table), waits_(waits) {}

    // Both sockets are connected and the RESPONSE is sent. What came behind the request, and is still in the opening,
    // goes first. May finish the stream.
    void start(Stream& stream);

    // These as in Relaying. Lane kOpenLane is from who asked to the next node.
    void on_ready(Stream& stream, uint8_t lane, int32_t result);
    void on_watch(Stream& stream, uint8_t lane, int32_t result);
    void on_timer(Stream& stream);
    void run(Stream& stream, uint8_t lane);
    // The member's byte rate allows more, or perhaps its share of the pools.
    void on_throttle(Timer& timer);

private:
    void settle(Stream& stream, uint8_t lane, Move move);
    // `served`: it moved something before the rate was used up.
    void throttle(Stream& stream, RelayLane& lane, bool served);
    void count(Stream& stream, uint64_t bytes);
    // What the stream's member holds of this engine's pools.
    [[nodiscard]] PoolShare& held_by(Stream& stream);
    void end(Stream& stream, bool by_next_node);

    EngineServices& services_;
    StreamTable& table_;
    LaneWaits& waits_;
};

}  // namespace qanat::dataplane
