// Directory: what a client knows of the nodes that announced themselves, whatever happens to Redis. Pure: both clocks
// are arguments.
//
// A node is known from its announcement until it says that it leaves, or until its validity has run out without a
// newer one. While Redis is out of reach nobody can renew, so nothing runs out: what is known stays, and nodes that do
// not renew after Redis is back go then. An entry that vanishes from Redis (FLUSHALL) means nothing by itself.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string_view>
#include <vector>

#include "controlplane/discovery/announcement.h"
#include "controlplane/loop/event_loop.h"

namespace qanat::controlplane {

// Shared with whoever still looks at it; never changes.
using KnownNode = std::shared_ptr<const Announcement>;

// Why an entry was not taken.
enum class IgnoredReason : uint8_t {
    malformed,  // no announcement at all
    forged,     // made without the network key
    moved,      // genuine, under another node's name
    replayed,   // older than what this node has said since; a few come from messages that overtake each other
    stale,      // older than its validity and the tolerance of clocks: a replay, or a clock that is slow
    clock,      // from the future, beyond the tolerance of clocks
    full,       // kNodesMax nodes are known
};
inline constexpr size_t kIgnoredReasons = 7;
[[nodiscard]] std::string_view name_of(IgnoredReason reason);
[[nodiscard]] IgnoredReason reason_of(AnnouncementError error);

// How far the clocks of two machines may be apart.
inline constexpr uint64_t kClockToleranceMs = 10 * 60 * 1000;

// The sequence of a node's next announcement after `last`: the wall clock, or one more than `last` if the clock was set
// back. A `last` beyond the tolerance does not bind: no directory has taken it.
[[nodiscard]] uint64_t next_sequence(uint64_t last, uint64_t unix_ms);

class Directory {
public:
    static constexpr size_t kNodesMax = 16384;

    explicit Directory(size_t nodes_max = kNodesMax) : nodes_max_(nodes_max) {}

    // Takes an opened announcement. True: nodes() has changed (something new, something else, one fewer). The same
    // announcement once more is no news. `unix_ms` is the wall clock.
    bool take(Announcement announcement, uint64_t unix_ms, Instant now);

    void ignore(IgnoredReason reason) { ++ignored_[static_cast<size_t>(reason)]; }

    // Redis is within reach and was read from end to end just now: from here on validities run, those of nodes that
    // are known already not before they have had their whole time to renew.
    void reached(Instant now);
    void lost() { reached_since_.reset(); }
    [[nodiscard]] bool reachable() const { return reached_since_.has_value(); }

    // Drops what has run out; true if something has. Call it now and then.
    bool expire(uint64_t unix_ms, Instant now);

    [[nodiscard]] size_t size() const { return nodes_.size(); }
    [[nodiscard]] std::vector<KnownNode> nodes() const;  // in the order of their ids
    [[nodiscard]] uint64_t ignored(IgnoredReason reason) const { return ignored_[static_cast<size_t>(reason)]; }

private:
    struct Entry {
        KnownNode node;
        Instant heard{};  // when this announcement came first
    };
    // A node that is not known any more. Until its last announcement would be stale anyway, nothing older of it counts.
    struct Gone {
        uint64_t sequence = 0;
        uint64_t until_unix_ms = 0;
    };

    void forget(std::map<PublicKey, Entry>::iterator entry, uint64_t sequence, uint64_t until_unix_ms);

    size_t nodes_max_;
    std::map<PublicKey, Entry> nodes_;
    std::map<PublicKey, Gone> gone_;
    std::optional<Instant> reached_since_;
    std::array<uint64_t, kIgnoredReasons> ignored_{};
};

}  // namespace qanat::controlplane
