// NodeStats: what one engine did and does through each node: streams in flight (least_loaded picks by them), outcomes,
// bytes, round trips. What changed goes to the control plane as ring::NodeStats about once a second.
//
// One thread; nothing allocates after construction. Nodes are numbers below ring::kPlanHopsMax, as everywhere in the
// rings.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <vector>

#include "common/ring/messages.h"

namespace qanat::dataplane {

class NodeStats {
public:
    // Reserves room for every node, about 1 MiB; a node's own is touched when it is first used.
    NodeStats();

    // A session with the node was installed. A number that now means another node (`id`, its static key) begins at 0,
    // except for what is there now: in_flight and parked.
    void identify(uint32_t node, const std::array<uint8_t, 32>& id);

    // A stream began to open through the node; it has left it, or has ended.
    void enter(uint32_t node) { ++change(node).in_flight; }
    void leave(uint32_t node) { --change(node).in_flight; }
    // A tunnel connection is kept ready; it was taken, or is gone.
    void park(uint32_t node) { ++change(node).parked; }
    void unpark(uint32_t node) { --change(node).parked; }

    void note_opened(uint32_t node) { ++change(node).opened; }
    void note_failed(uint32_t node) { ++change(node).failed; }
    // A direct connection was punched; a try to came to nothing.
    void note_punched(uint32_t node) { ++change(node).punched; }
    void note_punch_failed(uint32_t node) { ++change(node).punch_failed; }
    // One clean round trip to the node itself.
    void note_rtt(uint32_t node, uint64_t us) {
        change(node).rtt_us = static_cast<uint32_t>(us < 1 ? 1 : us < UINT32_MAX ? us : UINT32_MAX);
    }
    void add_bytes(uint32_t node, uint64_t up, uint64_t down) {
        ring::NodeStatsEntry& entry = change(node);
        entry.bytes_up += up;
        entry.bytes_down += down;
    }

    [[nodiscard]] uint32_t in_flight(uint32_t node) const { return slots_[node].entry.in_flight; }
    [[nodiscard]] const ring::NodeStatsEntry& of(uint32_t node) const { return slots_[node].entry; }

    // True if a node changed that was not reported since.
    [[nodiscard]] bool changed() const { return !changed_.empty(); }
    // Calls `send(const ring::NodeStats&)` with all nodes that changed, those that wait longest first, until it returns
    // false. What was not sent stays changed.
    template <class Send>
    void report(Send&& send);

private:
    struct Slot {
        ring::NodeStatsEntry entry;
        uint64_t id;  // the first bytes of the node's static key
        bool listed;  // in changed_
    };
    struct Free {
        void operator()(Slot* slots) const { std::free(slots); }
    };

    ring::NodeStatsEntry& change(uint32_t node) {
        Slot& slot = slots_[node];
        if (!slot.listed) list(slot, node);
        return slot.entry;
    }
    void list(Slot& slot, uint32_t node);
    // Fills `part` with nodes from changed_[from] on.
    void fill(ring::NodeStats& part, size_t from) const;
    // Forgets the first `count` of changed_.
    void reported(size_t count);

    std::unique_ptr<Slot[], Free> slots_;  // zero pages until they are written
    std::vector<uint16_t> changed_;        // nodes, oldest change first
};

static_assert(ring::kPlanHopsMax <= 65536);

// -------------------------------------------------------------------------------------------------- implementation

template <class Send>
void NodeStats::report(Send&& send) {
    size_t sent = 0;
    while (sent < changed_.size()) {
        ring::NodeStats part{};
        fill(part, sent);
        if (!send(part)) break;
        sent += part.count;
    }
    reported(sent);
}

}  // namespace qanat::dataplane
