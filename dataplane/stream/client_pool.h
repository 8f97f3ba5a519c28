// ClientPool: tunnel connections that a client keeps parked at its exit nodes, so that a stream begins with its REQUEST
// instead of with a connect and a first flight. One per engine; how many per node is demand's affair (PoolSize).
//
// Nothing is kept for a node before a stream has been opened through it, for one that is not up in the plan, or while
// the engine drains.
#pragma once

#include "dataplane/stream/node_pools.h"
#include "dataplane/stream/punched_pool.h"

namespace qanat::dataplane {

class ClientPool final : public KeptOwner {
public:
    // `punched`: direct connections, which are taken first.
    ClientPool(EngineServices& services, KeptConnections& kept, PunchedPool& punched)
        : services_(services), kept_(kept), punched_(punched), pools_(services, kept, *this, Timer::Kind::pool, 0) {}

    // How many per node; 0 closes what is parked and keeps nothing from now on. Nodes whose round trip is known to be
    // shorter than `min_rtt_us` get none.
    void set_limits(uint32_t per_node, uint32_t min_rtt_us);

    // A stream is about to be opened through this hop, which counts as demand. True: it has a parked connection now,
    // with its keys and session, and sends its REQUEST as the next record.
    [[nodiscard]] bool take(Stream& stream, const ring::PlanHop& hop);
    // Whether streams should ask their node to keep the connection for another one.
    [[nodiscard]] bool keeps() const { return pools_.max() > 0 && !services_.draining; }
    // A stream has come to its end: its tunnel waits for the next one, if that is likely to come.
    void take_back(Stream& stream);
    // The one that this stream took says nothing. The others of its node go the same way, and no stream should have to
    // wait to find that out.
    void note_silent(const Stream& stream);
    // One that was taken had died, or said nothing.
    void note_stale() { ring::add(services_.counters.pool_stale); }
    // A stream got its RESPONSE over a connection of its own: the node is worth a pool.
    void note_opened(uint32_t node);

    void on_plan_changed();
    void on_session_installed() { pools_.mark_all_due(); }
    void on_session_removed(uint64_t session_id) { pools_.on_session_removed(session_id); }
    void on_timer() { pools_.tick(); }
    // Makes what is missing. Once a turn, after the streams.
    void refill();
    void close_all() { pools_.close_all(); }

    void on_ready(KeptGroup& group, uint64_t rtt_us) override;
    void on_failed(KeptGroup& group, const KeptFailure& failure) override;
    void on_lost(KeptGroup& group) override;
    void on_readable(Stream& stream) override;

private:
    struct Pool : NodePool {
        uint32_t path = 0;    // number of address and relays: another one for each change
        bool up = false;      // when the plan named it last: as one that streams may use
        bool proven = false;  // a stream was opened through it

        [[nodiscard]] bool in_use() const { return planned && up; }
    };

    void follow(Pool& pool, const ring::PlanHop& hop);
    [[nodiscard]] bool far_enough(const Pool& pool) const;
    [[nodiscard]] bool take_back_here(Stream& stream);
    void refill(Pool& pool);
    void report(const KeptGroup& group, const KeptFailure& failure);

    EngineServices& services_;
    KeptConnections& kept_;
    PunchedPool& punched_;
    NodePools<Pool> pools_;
    uint32_t paths_ = 0;  // the last number given to a path
    uint32_t min_rtt_us_ = 0;
};

}  // namespace qanat::dataplane
