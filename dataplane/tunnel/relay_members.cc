#include "dataplane/tunnel/relay_members.h"

#include <algorithm>
#include <cstring>

#include "common/crypto/random.h"
#include "dataplane/tunnel/id_hash.h"

namespace qanat::dataplane {
namespace {

constexpr uint64_t kForgetEveryNs = 10'000'000'000;

Secret<32> random_secret() {
    Secret<32> secret;
    crypto::random_bytes(secret.writable());
    return secret;
}

}  // namespace

RelayMembers::RelayMembers() : secret_(random_secret()) {}

size_t RelayMembers::Hash::operator()(const MemberId& id) const {
    uint64_t start = 0;
    std::memcpy(&start, id.data(), sizeof start);
    return hash_of_id(start);
}

void RelayMembers::set_limits(const Limits& limits) {
    const std::scoped_lock lock(mutex_);
    limits_ = limits;
}

void RelayMembers::forget_rates() {
    const std::scoped_lock lock(mutex_);
    for (auto& [id, member] : members_) member->rate.forget();
}

RelayMember* RelayMembers::begin_stream(const MemberId& id, uint64_t now_ns) {
    const std::scoped_lock lock(mutex_);
    RelayMember& from = member(id, now_ns);
    if (limits_.streams_max != 0 && from.streams_ >= limits_.streams_max) return nullptr;
    ++from.streams_;
    return &from;
}

void RelayMembers::end_stream(RelayMember& member) {
    const std::scoped_lock lock(mutex_);
    --member.streams_;
}

RelayMember* RelayMembers::begin_offer(const MemberId& id, uint64_t now_ns) {
    const std::scoped_lock lock(mutex_);
    RelayMember& from = member(id, now_ns);
    if (limits_.offers_max != 0 && from.offers_ >= limits_.offers_max) return nullptr;
    if (from.offers_ == 0) {
        if (limits_.offerers_max != 0 && offerers_ >= limits_.offerers_max) return nullptr;
        ++offerers_;
    }
    ++from.offers_;
    from.offered_ns_ = now_ns;
    return &from;
}

void RelayMembers::end_offer(RelayMember& member, EngineStream connection, uint64_t now_ns) {
    const std::scoped_lock lock(mutex_);
    std::erase(member.ready_, connection);
    member.offered_ns_ = now_ns;
    // What still stands there was given back after it had ended.
    if (--member.offers_ > 0) return;
    --offerers_;
    member.ready_.clear();
}

std::optional<uint32_t> RelayMembers::offer(const MemberId& id, EngineStream connection) {
    const std::scoped_lock lock(mutex_);
    const auto found = members_.find(id);
    if (found == members_.end() || found->second->offers_ == 0) return std::nullopt;  // it has ended meanwhile
    RelayMember& from = *found->second;
    if (from.waiting_.empty()) {
        from.ready_.push_back(connection);
        return std::nullopt;
    }
    const EngineStream asker = from.waiting_.front();
    from.waiting_.pop_front();
    if (assignments_.size() <= asker.engine) assignments_.resize(asker.engine + 1);
    assignments_[asker.engine].push_back({.asker = asker.handle, .connection = connection, .id = id});
    return asker.engine;
}

RelayMembers::Choice RelayMembers::find(const MemberId& id, EngineStream asker, bool reserved, uint64_t now_ns) {
    const std::scoped_lock lock(mutex_);
    const auto found = members_.find(id);
    if (found == members_.end() && !reserved) return {.kind = Choice::Kind::ask};
    RelayMember& next = found != members_.end() ? *found->second : member(id, now_ns);
    if (!next.ready_.empty()) {
        // The newest first: it is the least likely to have been forgotten by a NAT on its way.
        auto best = std::find_if(next.ready_.rbegin(), next.ready_.rend(),
                                 [&](const EngineStream& ready) { return ready.engine == asker.engine; });
        if (best == next.ready_.rend()) best = next.ready_.rbegin();
        const EngineStream connection = *best;
        next.ready_.erase(std::next(best).base());
        return {.kind = Choice::Kind::take, .connection = connection};
    }
    const bool expected = next.offered_ns_ != 0 && now_ns - next.offered_ns_ < kExpectedNs;
    if (!reserved && !expected && next.offers_ == 0) return {.kind = Choice::Kind::ask};
    next.waiting_.push_back(asker);
    return {.kind = Choice::Kind::wait};
}

void RelayMembers::stop_waiting(const MemberId& id, EngineStream asker) {
    const std::scoped_lock lock(mutex_);
    const auto found = members_.find(id);
    if (found != members_.end()) std::erase(found->second->waiting_, asker);
}

std::optional<RelayMembers::Assignment> RelayMembers::next_assignment(uint32_t engine) {
    const std::scoped_lock lock(mutex_);
    if (engine >= assignments_.size() || assignments_[engine].empty()) return std::nullopt;
    const Assignment assignment = assignments_[engine].front();
    assignments_[engine].pop_front();
    return assignment;
}

uint16_t RelayMembers::waiting_for(const RelayMember& member) const {
    const std::scoped_lock lock(mutex_);
    return static_cast<uint16_t>(std::min<size_t>(member.waiting_.size(), UINT16_MAX));
}

crypto::Mac16 RelayMembers::source_of(const MemberId& id) const {
    return crypto::mac16(secret_.bytes(), {id});
}

size_t RelayMembers::size() const {
    const std::scoped_lock lock(mutex_);
    return members_.size();
}

RelayMember& RelayMembers::member(const MemberId& id, uint64_t now_ns) {
    forget_idle(now_ns);
    auto& entry = members_[id];
    if (entry == nullptr) entry = std::make_unique<RelayMember>(id);
    return *entry;
}

void RelayMembers::forget_idle(uint64_t now_ns) {
    if (now_ns < forget_at_ns_) return;
    forget_at_ns_ = now_ns + kForgetEveryNs;
    std::erase_if(members_, [&](const auto& item) {
        const RelayMember& idle = *item.second;
        return idle.streams_ == 0 && idle.offers_ == 0 && idle.waiting_.empty() && idle.rate.full(now_ns) &&
               (idle.offered_ns_ == 0 || now_ns - idle.offered_ns_ >= kExpectedNs);
    });
}

}  // namespace qanat::dataplane
