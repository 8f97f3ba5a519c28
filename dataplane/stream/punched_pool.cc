#include "dataplane/stream/punched_pool.h"

#include <algorithm>
#include <cstring>
#include <utility>

namespace qanat::dataplane {
namespace {

constexpr uint64_t kTickNs = 1'000'000'000;
constexpr uint64_t kRestFirstNs = 5'000'000'000;
constexpr uint64_t kRestMaxNs = 600'000'000'000;
constexpr uint64_t kRestBusyNs = 10'000'000'000;

}  // namespace

void PunchedPool::follow(Pool& pool, const ring::PlanHop& hop) {
    pool.planned = true;
    pool.possible = hop.punch != 0;
    // It is reached without relays now, or is not to be reached past them.
    if (!pool.possible) return kept_.close_all(pool);
    const bool moved =
        pool.relay != hop.via[0].node || std::memcmp(&pool.relay_address, &hop.address, sizeof hop.address) != 0;
    if (!moved) return;
    // What failed may have been the network that we were in.
    pool.back_off = {};
    pool.rest_ns = 0;
    pool.relay = hop.via[0].node;
    pool.relay_address = hop.address;
}

bool PunchedPool::take(Stream& stream, const ring::PlanHop& hop) {
    if (hop.punch == 0 && pools_.empty()) return false;
    const auto found = pools_.find(hop.node);
    if (found == pools_.end() && hop.punch == 0) return false;
    Pool& pool = pools_[hop.node];
    if (pool.owner == nullptr) {
        pool.owner = this;
        pool.node = hop.node;
        pool.punched = true;
        if (!tick_.armed()) services_.timers.arm(tick_, services_.now_ns + kTickNs);
    }
    follow(pool, hop);
    pool.size.on_demand(services_.now_ns);
    mark_due(pool);
    while (Stream* parked = pool.ready.back()) {
        if (kept_.hand_over(*parked, stream)) {
            stream.path = kPath;
            ring::add(services_.counters.punched_streams);
            return true;
        }
        ring::add(services_.counters.pool_stale);
    }
    return false;
}

bool PunchedPool::take_back(Stream& stream) {
    const auto found = pools_.find(stream.node);
    if (found == pools_.end() || !found->second.possible) return false;
    Pool& pool = found->second;
    return kept_.take_back(pool, stream, wanted(pool));
}

void PunchedPool::note_silent(uint32_t node) {
    if (const auto found = pools_.find(node); found != pools_.end()) kept_.close_ready(found->second);
}

uint32_t PunchedPool::wanted(const Pool& pool) const {
    return std::min(pool.size.wanted(services_.now_ns), kMax);
}

void PunchedPool::on_punched(uint32_t node, UniqueFd fd, uint64_t begun_ns) {
    const auto found = pools_.find(node);
    if (found == pools_.end()) return;
    Pool& pool = found->second;
    --pool.punching;
    // The node has left the plan meanwhile, or its session; closing tells it.
    if (pool.planned && !services_.draining && kept_.usable(pool)) (void)kept_.adopt(pool, std::move(fd), begun_ns);
    mark_due(pool);
}

void PunchedPool::on_punch_failed(uint32_t node, PunchFailure why) {
    const auto found = pools_.find(node);
    if (found == pools_.end()) return;
    Pool& pool = found->second;
    --pool.punching;
    switch (why) {
        case PunchFailure::in_vain:
            return rest(pool);
        case PunchFailure::not_now:
            return pool.back_off.rest(services_.now_ns, kRestBusyNs);
        case PunchFailure::impossible:
            return pool.back_off.rest(services_.now_ns, kRestMaxNs);
    }
}

void PunchedPool::rest(Pool& pool) {
    // Of tries that were under way together the first one tells it all.
    if (!pool.back_off.ready(services_.now_ns)) return;
    pool.rest_ns = pool.rest_ns == 0 ? kRestFirstNs : std::min(2 * pool.rest_ns, kRestMaxNs);
    pool.back_off.rest(services_.now_ns, pool.rest_ns);
}

void PunchedPool::on_plan_changed() {
    if (pools_.empty()) return;
    for (auto& [node, pool] : pools_) pool.planned = pool.possible = false;
    for (const ring::PlanHop& hop : services_.plan.hops())
        if (const auto found = pools_.find(hop.node); found != pools_.end()) follow(found->second, hop);
    for (auto& [node, pool] : pools_) {
        // The number of a node that has left the plan may mean another one tomorrow.
        if (!pool.planned) kept_.close_all(pool);
        mark_due(pool);
    }
}

void PunchedPool::on_session_removed(uint64_t session_id) {
    for (auto& [node, pool] : pools_) {
        kept_.close_session(pool, session_id);
        mark_due(pool);
    }
}

void PunchedPool::mark_due(Pool& pool) {
    if (pool.due) return;
    pool.due = true;
    due_.push_back(&pool);
}

void PunchedPool::refill() {
    const std::vector<Pool*> due = std::exchange(due_, {});
    for (Pool* pool : due) {
        pool->due = false;
        refill(*pool);
    }
}

void PunchedPool::refill(Pool& pool) {
    if (services_.draining || !pool.possible || !kept_.usable(pool)) return;
    const uint32_t others = pool.size.coming_back(services_.now_ns, services_.node_stats.in_flight(pool.node));
    while (pool.count() + pool.punching + others < wanted(pool) && pool.back_off.ready(services_.now_ns) &&
           kept_.room() > 0) {
        if (!punching_.begin(pool.node, pool.relay, pool.relay_address)) return;
        ++pool.punching;
    }
}

void PunchedPool::trim(Pool& pool) {
    while (pool.ready_count > wanted(pool)) kept_.close(*pool.ready.front());
}

void PunchedPool::on_timer() {
    for (auto it = pools_.begin(); it != pools_.end();) {
        Pool& pool = it->second;
        trim(pool);
        while (kept_.too_many() && !pool.ready.empty()) kept_.close(*pool.ready.front());
        kept_.watch(pool);
        const bool forgotten = pool.count() + pool.punching == 0 && pool.size.wanted(services_.now_ns) == 0 &&
                               pool.back_off.ready(services_.now_ns) && !pool.due;
        if (forgotten) {
            it = pools_.erase(it);
            continue;
        }
        mark_due(pool);
        ++it;
    }
    if (!pools_.empty()) services_.timers.arm(tick_, services_.now_ns + kTickNs);
}

void PunchedPool::close_all() {
    punching_.end_all();
    for (auto& [node, pool] : pools_) {
        pool.punching = 0;
        kept_.close_all(pool);
    }
}

void PunchedPool::on_ready(KeptGroup& group, uint64_t) {
    static_cast<Pool&>(group).rest_ns = 0;
}

void PunchedPool::on_failed(KeptGroup& group, const KeptFailure&) {
    // The connection stood and then did not carry PARK: whoever is at its other end, relays serve as before.
    rest(static_cast<Pool&>(group));
}

void PunchedPool::on_lost(KeptGroup& group) {
    mark_due(static_cast<Pool&>(group));
}

void PunchedPool::on_readable(Stream& stream) {
    Pool& pool = static_cast<Pool&>(*stream.kept_in);
    const bool short_lived = services_.now_ns - stream.accepted_ns < 2 * kTickNs;
    (void)kept_.take_socket(stream);
    if (short_lived) rest(pool);
    on_lost(pool);
}

}  // namespace qanat::dataplane
