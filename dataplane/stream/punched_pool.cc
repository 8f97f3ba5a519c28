#include "dataplane/stream/punched_pool.h"

#include <algorithm>
#include <cstring>
#include <utility>

namespace qanat::dataplane {
namespace {

constexpr uint64_t kShortLivedNs = 2'000'000'000;
constexpr uint64_t kRestFirstNs = 5'000'000'000;
constexpr uint64_t kRestMaxNs = 600'000'000'000;
constexpr uint64_t kRestBusyNs = 10'000'000'000;

}  // namespace

void PunchedPool::follow(Pool& pool, const ring::PlanHop& hop) {
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
    if (hop.punch == 0 && pools_.find(hop.node) == nullptr) return false;
    Pool& pool = pools_.of(hop.node);
    follow(pool, hop);
    if (!pools_.take(pool, stream)) return false;
    stream.path = kPath;
    ring::add(services_.counters.punched_streams);
    return true;
}

bool PunchedPool::take_back(Stream& stream) {
    Pool* pool = pools_.find(stream.node);
    return pool != nullptr && pool->in_use() && pools_.take_back(*pool, stream);
}

void PunchedPool::on_punched(uint32_t node, UniqueFd fd, uint64_t begun_ns) {
    Pool* pool = pools_.find(node);
    if (pool == nullptr) return;
    --pool->under_way;
    // The node has left the plan meanwhile, or its session; closing tells it.
    if (pool->planned && !services_.draining && kept_.usable(*pool)) (void)kept_.adopt(*pool, std::move(fd), begun_ns);
    pools_.mark_due(*pool);
}

void PunchedPool::on_punch_failed(uint32_t node, PunchFailure why) {
    Pool* pool = pools_.find(node);
    if (pool == nullptr) return;
    --pool->under_way;
    switch (why) {
        case PunchFailure::in_vain:
            return rest(*pool);
        case PunchFailure::not_now:
            return pool->back_off.rest(services_.now_ns, kRestBusyNs);
        case PunchFailure::impossible:
            return pool->back_off.rest(services_.now_ns, kRestMaxNs);
    }
}

void PunchedPool::rest(Pool& pool) {
    // Of tries that were under way together the first one tells it all.
    if (!pool.back_off.ready(services_.now_ns)) return;
    pool.rest_ns = pool.rest_ns == 0 ? kRestFirstNs : std::min(2 * pool.rest_ns, kRestMaxNs);
    pool.back_off.rest(services_.now_ns, pool.rest_ns);
}

void PunchedPool::on_plan_changed() {
    pools_.on_plan_changed([this](Pool& pool, const ring::PlanHop& hop) { follow(pool, hop); });
}

void PunchedPool::refill() {
    pools_.refill([this](Pool& pool) { refill(pool); });
}

void PunchedPool::refill(Pool& pool) {
    if (services_.draining || !pool.in_use() || !kept_.usable(pool)) return;
    for (uint32_t missing = pools_.missing(pool);
         missing > 0 && pool.back_off.ready(services_.now_ns) && kept_.room() > 0; --missing) {
        if (!punching_.begin(pool.node, pool.relay, pool.relay_address)) return;
        ++pool.under_way;
    }
}

void PunchedPool::close_all() {
    punching_.end_all();
    pools_.close_all();
}

void PunchedPool::on_ready(KeptGroup& group, uint64_t) {
    static_cast<Pool&>(group).rest_ns = 0;
}

void PunchedPool::on_failed(KeptGroup& group, const KeptFailure&) {
    // The connection stood and then did not carry PARK: whoever is at its other end, relays serve as before.
    rest(static_cast<Pool&>(group));
}

void PunchedPool::on_lost(KeptGroup& group) {
    pools_.mark_due(static_cast<Pool&>(group));
}

void PunchedPool::on_readable(Stream& stream) {
    Pool& pool = static_cast<Pool&>(*stream.kept_in);
    const bool short_lived = services_.now_ns - stream.accepted_ns < kShortLivedNs;
    (void)kept_.take_socket(stream);
    if (short_lived) rest(pool);
    on_lost(pool);
}

}  // namespace qanat::dataplane
