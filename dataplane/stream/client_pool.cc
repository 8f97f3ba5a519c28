#include "dataplane/stream/client_pool.h"

#include <algorithm>
#include <cerrno>
#include <cstring>

namespace qanat::dataplane {
namespace {

using wire::StreamStatus;

constexpr uint64_t kNsPerS = 1'000'000'000;
constexpr uint64_t kTickNs = kNsPerS;
// A node that does not park will not learn it soon; one that is full may have room again.
constexpr uint64_t kRestUnsupportedNs = 600 * kNsPerS;
constexpr uint64_t kRestFullNs = 30 * kNsPerS;

bool out_of_resources(int error) {
    return error == EMFILE || error == ENFILE || error == ENOMEM || error == ENOBUFS;
}

bool same_path(const KeptGroup& group, const ring::PlanHop& hop) {
    return std::memcmp(&group.address, &hop.address, sizeof hop.address) == 0 && group.via_count == hop.via_count &&
           std::memcmp(group.via.data(), hop.via.data(), sizeof hop.via) == 0;
}

}  // namespace

void ClientPool::set_limits(uint32_t per_node, uint32_t min_rtt_us) {
    min_rtt_us_ = min_rtt_us;
    max_ = per_node;
    if (max_ == 0) return close_all();
    for (auto& [node, pool] : pools_) trim(pool);
}

ClientPool::Pool& ClientPool::pool_of(const ring::PlanHop& hop) {
    Pool& pool = pools_[hop.node];
    if (pool.owner == nullptr) {
        pool.owner = this;
        pool.node = hop.node;
        if (!tick_.armed()) services_.timers.arm(tick_, services_.now_ns + kTickNs);
    }
    follow(pool, hop);
    return pool;
}

void ClientPool::follow(Pool& pool, const ring::PlanHop& hop) {
    pool.planned = true;
    pool.up = hop.state == ring::HopState::up;
    if (pool.path != 0 && same_path(pool, hop)) return;
    pool.path = ++paths_;
    kept_.close_all(pool);
    pool.address = hop.address;
    pool.via_count = hop.via_count;
    pool.via = hop.via;
    pool.back_off = {};
    pool.proven = false;
}

bool ClientPool::take(Stream& stream, const ring::PlanHop& hop) {
    if (!keeps()) return false;
    if (punched_.take(stream, hop)) {
        ring::add(services_.counters.pool_hits);
        return true;
    }
    Pool& pool = pool_of(hop);
    stream.path = pool.path;
    pool.size.on_demand(services_.now_ns);
    mark_due(pool);
    // The newest: its socket and its keys are warm, and those that are too many stay behind.
    while (Stream* parked = pool.ready.back()) {
        if (kept_.hand_over(*parked, stream)) {
            ring::add(services_.counters.pool_hits);
            return true;
        }
        note_stale();
    }
    ring::add(services_.counters.pool_misses);
    return false;
}

void ClientPool::take_back(Stream& stream) {
    const SharedSession* session = services_.sessions.current_for_node(stream.node);
    if (!keeps() || worn(stream) || session == nullptr || session->id != stream.session_id) return;
    if (stream.path == PunchedPool::kPath ? punched_.take_back(stream) : take_back_here(stream))
        ring::add(services_.counters.pool_returned);
}

void ClientPool::note_silent(const Stream& stream) {
    if (stream.path == PunchedPool::kPath) return punched_.note_silent(stream.node);
    if (const auto found = pools_.find(stream.node); found != pools_.end()) kept_.close_ready(found->second);
}

bool ClientPool::take_back_here(Stream& stream) {
    const auto found = pools_.find(stream.node);
    if (found == pools_.end() || !found->second.up || stream.path != found->second.path) return false;
    Pool& pool = found->second;
    return kept_.take_back(pool, stream, wanted(pool));
}

uint32_t ClientPool::wanted(const Pool& pool) const {
    return std::min(pool.size.wanted(services_.now_ns), max_);
}

void ClientPool::note_opened(uint32_t node) {
    const auto found = pools_.find(node);
    if (found == pools_.end()) return;
    found->second.proven = true;
    mark_due(found->second);
}

void ClientPool::on_plan_changed() {
    if (pools_.empty()) return;
    for (auto& [node, pool] : pools_) pool.planned = pool.up = false;
    for (const ring::PlanHop& hop : services_.plan.hops())
        if (const auto found = pools_.find(hop.node); found != pools_.end()) follow(found->second, hop);
    for (auto& [node, pool] : pools_) {
        // The number of a node that has left the plan may mean another one tomorrow.
        if (!pool.planned) kept_.close_all(pool);
        mark_due(pool);
    }
}

void ClientPool::on_session_installed() {
    mark_all_due();
}

void ClientPool::on_session_removed(uint64_t session_id) {
    for (auto& [node, pool] : pools_) kept_.close_session(pool, session_id);
    mark_all_due();
}

void ClientPool::mark_due(Pool& pool) {
    if (pool.due) return;
    pool.due = true;
    due_.push_back(&pool);
}

void ClientPool::mark_all_due() {
    for (auto& [node, pool] : pools_) mark_due(pool);
}

void ClientPool::refill() {
    const size_t count = due_.size();
    for (size_t i = 0; i < count; ++i) {
        due_[i]->due = false;
        refill(*due_[i]);
    }
    due_.erase(due_.begin(), due_.begin() + static_cast<std::ptrdiff_t>(count));
}

// A near node answers a connect sooner than the extra records of a parked connection are worth.
bool ClientPool::far_enough(const Pool& pool) const {
    return pool.via_count > 0 || services_.node_stats.of(pool.node).rtt_us >= min_rtt_us_;
}

void ClientPool::refill(Pool& pool) {
    if (services_.draining || !pool.up || !pool.proven || !far_enough(pool) || !kept_.usable(pool)) return;
    const uint32_t others = pool.size.coming_back(services_.now_ns, services_.node_stats.in_flight(pool.node));
    while (pool.count() + others < wanted(pool) && pool.back_off.ready(services_.now_ns))
        if (!kept_.make(pool)) return;
}

void ClientPool::trim(Pool& pool) {
    while (pool.ready_count > wanted(pool)) kept_.close(*pool.ready.front());
}

void ClientPool::on_timer() {
    for (auto it = pools_.begin(); it != pools_.end();) {
        Pool& pool = it->second;
        trim(pool);
        while (kept_.too_many() && !pool.ready.empty()) kept_.close(*pool.ready.front());
        kept_.watch(pool);
        const bool forgotten = pool.count() == 0 && pool.size.wanted(services_.now_ns) == 0 &&
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

void ClientPool::close_all() {
    for (auto& [node, pool] : pools_) kept_.close_all(pool);
}

void ClientPool::on_ready(KeptGroup& group, uint64_t rtt_us) {
    // Through relays it is more than a round trip: they connected to each other first.
    if (group.via_count == 0) services_.node_stats.note_rtt(group.node, rtt_us);
}

void ClientPool::on_failed(KeptGroup& group, const KeptFailure& failure) {
    // Of those that were under way together the first one tells it all.
    if (!group.back_off.ready(services_.now_ns)) return;
    kept_.back_off(group);
    if (out_of_resources(failure.error)) return;
    if (failure.at == group.node) {
        if (failure.status == StreamStatus::kind_not_supported)
            return group.back_off.rest(services_.now_ns, kRestUnsupportedNs);
        if (failure.status == StreamStatus::at_capacity || failure.status == StreamStatus::draining)
            return group.back_off.rest(services_.now_ns, kRestFullNs);
    }
    report(group, failure);
}

void ClientPool::report(const KeptGroup& group, const KeptFailure& failure) {
    services_.node_stats.note_failed(group.node);
    ring::HopFailed event{};
    event.session_id = failure.session_id;
    event.node = group.node;
    event.at = failure.at;
    event.error = failure.error;
    event.stage = failure.stage;
    event.status = static_cast<uint8_t>(failure.status);
    services_.report(event);
}

void ClientPool::on_lost(KeptGroup& group) {
    mark_due(static_cast<Pool&>(group));
}

void ClientPool::on_readable(Stream& stream) {
    // A node says nothing before it is asked: this is its close_notify, or the end.
    KeptGroup& group = *stream.kept_in;
    const bool short_lived = services_.now_ns - stream.accepted_ns < kTickNs;
    (void)kept_.take_socket(stream);
    // A node that ends what it has just parked would keep both of us busy.
    if (short_lived) kept_.back_off(group);
    on_lost(group);
}

}  // namespace qanat::dataplane
