// Relaying: the life of a stream between its opening and its end. Runs the two lanes when their sockets are ready,
// lets other streams in after a few bursts, and turns what ends a lane into what ends the stream.
#pragma once

#include <functional>
#include <utility>

#include "dataplane/stream/lane_waits.h"

namespace qanat::dataplane {

class Relaying {
public:
    // A stream has come to its end and its tunnel may serve another one (Stream::keep): moves the tunnel and the keys
    // of its lanes away from the stream, or leaves them to be closed with it.
    using TunnelFree = std::function<void(Stream&)>;

    Relaying(EngineServices& services, StreamTable& table, LaneWaits& waits, TunnelFree tunnel_free)
        : services_(services), table_(table), waits_(waits), tunnel_free_(std::move(tunnel_free)) {}

    // Both sockets are connected and both lane keys are set; the opening is given back. `early_plain` are bytes of the
    // application, `early_records` bytes of the tunnel that were read before. May finish the stream.
    void start(Stream& stream, Bytes early_plain, Bytes early_records);

    // What `lane` polled for has come. `result` = poll events, or -errno.
    void on_ready(Stream& stream, uint8_t lane, int32_t result);
    // Something happened to the source of `lane`, which that lane does not read now: it has ended, or waits for its
    // sink.
    void on_watch(Stream& stream, uint8_t lane, int32_t result);
    // The stream has lasted a while, or a lane has not read for a while.
    void on_timer(Stream& stream);

    // A lane may go on.
    void run(Stream& stream, uint8_t lane) { lane == kSealLane ? run_seal(stream) : run_open(stream); }

private:
    void run_seal(Stream& stream);
    void run_open(Stream& stream);
    // Application bytes that were sealed or opened.
    void count_bytes(const Stream& stream, uint64_t sealed, uint64_t opened);
    void settle(Stream& stream, uint8_t lane, Move move);
    void on_finished(Stream& stream, uint8_t lane);
    void end(Stream& stream, Move move, uint8_t lane);

    EngineServices& services_;
    StreamTable& table_;
    LaneWaits& waits_;
    TunnelFree tunnel_free_;
};

}  // namespace qanat::dataplane
