#include "controlplane/discovery/directory.h"

#include <algorithm>

namespace qanat::controlplane {
namespace {

constexpr std::array<std::string_view, kIgnoredReasons> kReasonNames{"malformed", "forged", "moved", "replayed",
                                                                     "stale",     "clock",  "full"};

// From this moment on the announcement is stale.
uint64_t stale_at(const Announcement& a) {
    return a.sequence + uint64_t{a.valid_for_s} * 1000 + kClockToleranceMs;
}

bool says_the_same(const Announcement& a, const Announcement& b) {
    Announcement other = b;
    other.sequence = a.sequence;
    return a == other;
}

}  // namespace

std::string_view name_of(IgnoredReason reason) {
    return kReasonNames[static_cast<size_t>(reason)];
}

IgnoredReason reason_of(AnnouncementError error) {
    switch (error) {
        case AnnouncementError::malformed:
            return IgnoredReason::malformed;
        case AnnouncementError::forged:
            return IgnoredReason::forged;
        case AnnouncementError::moved:
            return IgnoredReason::moved;
    }
    return IgnoredReason::malformed;
}

uint64_t next_sequence(uint64_t last, uint64_t unix_ms) {
    return last > unix_ms + kClockToleranceMs ? unix_ms : std::max(last + 1, unix_ms);
}

bool Directory::take(Announcement announcement, uint64_t unix_ms, Instant now) {
    const auto refuse = [this](IgnoredReason reason) {
        ignore(reason);
        return false;
    };
    // First, so that the sums below cannot overflow.
    if (announcement.sequence > unix_ms + kClockToleranceMs) return refuse(IgnoredReason::clock);
    if (stale_at(announcement) < unix_ms) return refuse(IgnoredReason::stale);

    // As in next_sequence(): what was taken while a clock was ahead does not bind when it has been set right.
    const auto older_than = [&](uint64_t last) {
        return announcement.sequence < last && last <= unix_ms + kClockToleranceMs;
    };
    const auto known = nodes_.find(announcement.id);
    if (known != nodes_.end()) {
        const uint64_t last = known->second.node->sequence;
        if (announcement.sequence == last) return false;
        if (older_than(last)) return refuse(IgnoredReason::replayed);
        if (announcement.leaving) {
            forget(known, announcement.sequence, stale_at(announcement));
            return true;
        }
        const bool changed = !says_the_same(*known->second.node, announcement);
        known->second = {std::make_shared<const Announcement>(std::move(announcement)), now};
        return changed;
    }
    const auto gone = gone_.find(announcement.id);
    if (gone != gone_.end()) {
        if (announcement.sequence == gone->second.sequence) return false;
        if (older_than(gone->second.sequence)) return refuse(IgnoredReason::replayed);
    }
    if (announcement.leaving) {
        if (gone != gone_.end() || gone_.size() < nodes_max_)
            gone_[announcement.id] = {announcement.sequence, stale_at(announcement)};
        return false;
    }
    if (nodes_.size() >= nodes_max_) return refuse(IgnoredReason::full);
    if (gone != gone_.end()) gone_.erase(gone);
    const PublicKey id = announcement.id;
    nodes_[id] = {std::make_shared<const Announcement>(std::move(announcement)), now};
    return true;
}

void Directory::reached(Instant now) {
    if (!reached_since_) reached_since_ = now;
}

void Directory::forget(std::map<PublicKey, Entry>::iterator entry, uint64_t sequence, uint64_t until_unix_ms) {
    // At the cap the memory of who is gone gives way: only replays of genuine announcements could use that.
    if (gone_.size() >= nodes_max_) gone_.erase(gone_.begin());
    gone_[entry->first] = {sequence, until_unix_ms};
    nodes_.erase(entry);
}

bool Directory::expire(uint64_t unix_ms, Instant now) {
    std::erase_if(gone_, [unix_ms](const auto& gone) { return gone.second.until_unix_ms < unix_ms; });
    if (!reached_since_) return false;
    bool changed = false;
    for (auto entry = nodes_.begin(); entry != nodes_.end();) {
        const auto next = std::next(entry);
        const Announcement& a = *entry->second.node;
        const Instant from = std::max(entry->second.heard, *reached_since_);
        if (now - from >= std::chrono::seconds(a.valid_for_s)) {
            forget(entry, a.sequence, stale_at(a));
            changed = true;
        }
        entry = next;
    }
    return changed;
}

std::vector<KnownNode> Directory::nodes() const {
    std::vector<KnownNode> nodes;
    nodes.reserve(nodes_.size());
    for (const auto& [id, entry] : nodes_) nodes.push_back(entry.node);
    return nodes;
}

}  // namespace qanat::controlplane
