// NodePools: connections that a client keeps parked at its nodes, a pool for each: which of them a stream gets, how
// many the demand makes worth keeping, which pools are to be looked at in this turn, and when one is forgotten. How a
// pool is filled, and what its failures mean, is the owner's affair (ClientPool connects, PunchedPool punches).
//
// `Pool` is what the owner knows about a node. A pool stays where it is until tick() forgets it, which happens to none
// that has connections. One thread; nothing blocks, and nothing fails but for want of connections.
#pragma once

#include <algorithm>
#include <concepts>
#include <cstdint>
#include <unordered_map>
#include <vector>

#include "dataplane/stream/kept_connections.h"

namespace qanat::dataplane {

struct NodePool : KeptGroup {
    bool planned = false;    // the plan names the node
    bool due = false;        // for refill()
    uint32_t under_way = 0;  // tries that have no connection yet
};

template <std::derived_from<NodePool> Pool>
class NodePools {
public:
    static constexpr uint64_t kTickNs = 1'000'000'000;

    // All of these outlive it; `owner` is told about the connections. `kind`: of the timer that calls tick().
    NodePools(EngineServices& services, KeptConnections& kept, KeptOwner& owner, Timer::Kind kind, uint32_t max)
        : services_(services), kept_(kept), owner_(owner), max_(max) {
        timer_.own(kind, &owner);
    }

    // How many per node, at most. What is too many goes with the next tick(), or with trim().
    void set_max(uint32_t max) { max_ = max; }
    [[nodiscard]] uint32_t max() const { return max_; }
    [[nodiscard]] uint32_t wanted(const Pool& pool) const { return std::min(pool.size.wanted(services_.now_ns), max_); }
    // How many are to be made.
    [[nodiscard]] uint32_t missing(const Pool& pool) const {
        const uint32_t in_flight = services_.node_stats.in_flight(pool.node);
        const uint32_t there = pool.count() + pool.under_way + pool.size.coming_back(services_.now_ns, in_flight);
        const uint32_t most = wanted(pool);
        return most - std::min(most, there);
    }

    // nullptr: no stream has wanted one of its connections, or not for long.
    [[nodiscard]] Pool* find(uint32_t node) {
        const auto found = pools_.find(node);
        return found != pools_.end() ? &found->second : nullptr;
    }
    // The same for a stream that wants one now, because of the plan.
    [[nodiscard]] Pool& of(uint32_t node) {
        Pool& pool = pools_[node];
        if (pool.owner == nullptr) {
            pool.owner = &owner_;
            pool.node = node;
            if (!timer_.armed()) services_.timers.arm(timer_, services_.now_ns + kTickNs);
        }
        pool.planned = true;
        return pool;
    }

    // A stream is about to be opened, which counts as demand. True: it has a connection now, with keys and session.
    [[nodiscard]] bool take(Pool& pool, Stream& stream) {
        pool.size.on_demand(services_.now_ns);
        mark_due(pool);
        // The newest: its socket and its keys are warm, and those that are too many stay behind.
        while (Stream* parked = pool.ready.back()) {
            if (kept_.hand_over(*parked, stream)) return true;
            ring::add(services_.counters.pool_stale);
        }
        return false;
    }
    // A stream has come to its end. True: its tunnel waits for the next one.
    [[nodiscard]] bool take_back(Pool& pool, Stream& stream) { return kept_.take_back(pool, stream, wanted(pool)); }

    void mark_due(Pool& pool) {
        if (pool.due) return;
        pool.due = true;
        due_.push_back(&pool);
    }
    void mark_all_due() {
        for (auto& [node, pool] : pools_) mark_due(pool);
    }
    // Calls fill(pool) for each that is due. Those that become due meanwhile have their turn with the next call.
    template <std::invocable<Pool&> Fill>
    void refill(Fill fill) {
        const size_t count = due_.size();
        for (size_t i = 0; i < count; ++i) {
            due_[i]->due = false;
            fill(*due_[i]);
        }
        due_.erase(due_.begin(), due_.begin() + static_cast<std::ptrdiff_t>(count));
    }

    // Calls follow(pool, hop) for those that the plan still names, and closes the others.
    template <std::invocable<Pool&, const ring::PlanHop&> Follow>
    void on_plan_changed(Follow follow) {
        if (pools_.empty()) return;
        for (auto& [node, pool] : pools_) pool.planned = false;
        for (const ring::PlanHop& hop : services_.plan.hops()) {
            Pool* pool = find(hop.node);
            if (pool == nullptr) continue;
            pool->planned = true;
            follow(*pool, hop);
        }
        for (auto& [node, pool] : pools_) {
            // The number of a node that has left the plan may mean another one tomorrow.
            if (!pool.planned) kept_.close_all(pool);
            mark_due(pool);
        }
    }
    void on_session_removed(uint64_t session_id) {
        for (auto& [node, pool] : pools_) {
            kept_.close_session(pool, session_id);
            mark_due(pool);
        }
    }

    // Closes what is too many.
    void trim() {
        for (auto& [node, pool] : pools_) trim(pool);
    }
    // By the timer: trims, watches, and forgets pools that have nothing and want nothing.
    void tick() {
        for (auto it = pools_.begin(); it != pools_.end();) {
            Pool& pool = it->second;
            trim(pool);
            while (kept_.too_many() && !pool.ready.empty()) kept_.close(*pool.ready.front());
            kept_.watch(pool);
            const bool forgotten = pool.count() + pool.under_way == 0 && pool.size.wanted(services_.now_ns) == 0 &&
                                   pool.back_off.ready(services_.now_ns) && !pool.due;
            if (forgotten) {
                it = pools_.erase(it);
                continue;
            }
            mark_due(pool);
            ++it;
        }
        if (!pools_.empty()) services_.timers.arm(timer_, services_.now_ns + kTickNs);
    }

    void close_ready(uint32_t node) {
        if (Pool* pool = find(node); pool != nullptr) kept_.close_ready(*pool);
    }
    // Also forgets what is under way.
    void close_all() {
        for (auto& [node, pool] : pools_) {
            pool.under_way = 0;
            kept_.close_all(pool);
        }
    }

private:
    void trim(Pool& pool) {
        while (pool.ready_count > wanted(pool)) kept_.close(*pool.ready.front());
    }

    EngineServices& services_;
    KeptConnections& kept_;
    KeptOwner& owner_;
    uint32_t max_;
    std::unordered_map<uint32_t, Pool> pools_;  // by node
    std::vector<Pool*> due_;
    Timer timer_;
};

}  // namespace qanat::dataplane
