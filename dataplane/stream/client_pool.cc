#include "dataplane/stream/client_pool.h"

#include <cerrno>
#include <cstring>

namespace qanat::dataplane {
namespace {

using wire::StreamStatus;

constexpr uint64_t kNsPerS = 1'000'000'000;
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
    pools_.set_max(per_node);
    if (per_node == 0) return close_all();
    pools_.trim();
}

void ClientPool::follow(Pool& pool, const ring::PlanHop& hop) {
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
    Pool& pool = pools_.of(hop.node);
    follow(pool, hop);
    stream.path = pool.path;
    const bool taken = pools_.take(pool, stream);
    ring::add(taken ? services_.counters.pool_hits : services_.counters.pool_misses);
    return taken;
}

void ClientPool::take_back(Stream& stream) {
    const SharedSession* session = services_.sessions.current_for_node(stream.node);
    if (!keeps() || worn(stream) || session == nullptr || session->id != stream.session_id) return;
    if (stream.path == PunchedPool::kPath ? punched_.take_back(stream) : take_back_here(stream))
        ring::add(services_.counters.pool_returned);
}

void ClientPool::note_silent(const Stream& stream) {
    if (stream.path == PunchedPool::kPath) return punched_.note_silent(stream.node);
    pools_.close_ready(stream.node);
}

bool ClientPool::take_back_here(Stream& stream) {
    Pool* pool = pools_.find(stream.node);
    return pool != nullptr && pool->in_use() && stream.path == pool->path && pools_.take_back(*pool, stream);
}

void ClientPool::note_opened(uint32_t node) {
    Pool* pool = pools_.find(node);
    if (pool == nullptr) return;
    pool->proven = true;
    pools_.mark_due(*pool);
}

void ClientPool::on_plan_changed() {
    pools_.on_plan_changed([this](Pool& pool, const ring::PlanHop& hop) { follow(pool, hop); });
}

void ClientPool::refill() {
    pools_.refill([this](Pool& pool) { refill(pool); });
}

// A near node answers a connect sooner than the extra records of a parked connection are worth.
bool ClientPool::far_enough(const Pool& pool) const {
    return pool.via_count > 0 || services_.node_stats.of(pool.node).rtt_us >= min_rtt_us_;
}

void ClientPool::refill(Pool& pool) {
    if (services_.draining || !pool.in_use() || !pool.proven || !far_enough(pool) || !kept_.usable(pool)) return;
    for (uint32_t missing = pools_.missing(pool); missing > 0 && pool.back_off.ready(services_.now_ns); --missing)
        if (!kept_.make(pool)) return;
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
    pools_.mark_due(static_cast<Pool&>(group));
}

void ClientPool::on_readable(Stream& stream) {
    // A node says nothing before it is asked: this is its close_notify, or the end.
    KeptGroup& group = *stream.kept_in;
    const bool short_lived = services_.now_ns - stream.accepted_ns < kNsPerS;
    (void)kept_.take_socket(stream);
    // A node that ends what it has just parked would keep both of us busy.
    if (short_lived) kept_.back_off(group);
    on_lost(group);
}

}  // namespace qanat::dataplane
