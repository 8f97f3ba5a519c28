// PunchedPool: direct connections to nodes that streams otherwise reach over relays, made by Punching and kept parked.
// A stream takes one if there is one; it never waits for one, and what cannot be punched is nobody's failure. One per
// engine; how many per node is demand's affair (PoolSize), within kMax.
#pragma once

#include "dataplane/stream/node_pools.h"
#include "dataplane/stream/punching.h"

namespace qanat::dataplane {

class PunchedPool final : public KeptOwner {
public:
    static constexpr uint32_t kMax = 4;  // per node
    // Stream::path of a stream over such a connection.
    static constexpr uint32_t kPath = UINT32_MAX;

    PunchedPool(EngineServices& services, KeptConnections& kept, Punching& punching)
        : services_(services),
          kept_(kept),
          punching_(punching),
          pools_(services, kept, *this, Timer::Kind::punched, kMax) {}

    // A stream is about to be opened through this hop, which counts as demand. True: it has a parked connection now, as
    // from ClientPool.
    [[nodiscard]] bool take(Stream& stream, const ring::PlanHop& hop);

    // A stream over one has come to its end. True: its tunnel waits here for the next one.
    [[nodiscard]] bool take_back(Stream& stream);

    // As of ClientPool.
    void note_silent(uint32_t node) { pools_.close_ready(node); }

    void on_punched(uint32_t node, UniqueFd fd, uint64_t begun_ns);
    void on_punch_failed(uint32_t node, PunchFailure why);

    void on_plan_changed();
    void on_session_removed(uint64_t session_id) { pools_.on_session_removed(session_id); }
    void on_timer() { pools_.tick(); }
    // Begins what is missing. Once a turn, after the streams.
    void refill();
    void close_all();

    void on_ready(KeptGroup& group, uint64_t rtt_us) override;
    void on_failed(KeptGroup& group, const KeptFailure& failure) override;
    void on_lost(KeptGroup& group) override;
    void on_readable(Stream& stream) override;

private:
    struct Pool : NodePool {
        Pool() { punched = true; }

        bool possible = false;  // when the plan named the node last: punching may be tried
        uint32_t relay = 0;     // that says how we are seen
        ring::RingEndpoint relay_address{};
        uint64_t rest_ns = 0;  // after the last failure

        [[nodiscard]] bool in_use() const { return planned && possible; }
    };

    void follow(Pool& pool, const ring::PlanHop& hop);
    void refill(Pool& pool);
    // None came about: longer each time, because a NAT does not change its mind.
    void rest(Pool& pool);

    EngineServices& services_;
    KeptConnections& kept_;
    Punching& punching_;
    NodePools<Pool> pools_;
};

}  // namespace qanat::dataplane
