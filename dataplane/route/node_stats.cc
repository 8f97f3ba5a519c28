#include "dataplane/route/node_stats.h"

#include <algorithm>
#include <cstring>
#include <type_traits>

#include "common/base/assert.h"

namespace qanat::dataplane {

NodeStats::NodeStats() : slots_(static_cast<Slot*>(std::calloc(ring::kPlanHopsMax, sizeof(Slot)))) {
    static_assert(std::is_trivially_copyable_v<Slot> && std::is_trivially_default_constructible_v<Slot>);
    QANAT_ASSERT(slots_ != nullptr);
    changed_.reserve(ring::kPlanHopsMax);
}

void NodeStats::identify(uint32_t node, const std::array<uint8_t, 32>& id) {
    Slot& slot = slots_[node];
    uint64_t start = 0;
    std::memcpy(&start, id.data(), sizeof start);
    if (slot.id == start) return;
    slot.id = start;
    ring::NodeStatsEntry& entry = slot.entry;
    entry.opened = entry.failed = entry.bytes_up = entry.bytes_down = 0;
    entry.rtt_us = 0;
    entry.punched = entry.punch_failed = 0;
}

void NodeStats::list(Slot& slot, uint32_t node) {
    slot.listed = true;
    slot.entry.node = node;
    changed_.push_back(static_cast<uint16_t>(node));
}

void NodeStats::fill(ring::NodeStats& part, size_t from) const {
    part.count = static_cast<uint32_t>(std::min<size_t>(changed_.size() - from, part.entries.size()));
    for (size_t i = 0; i < part.count; ++i) part.entries[i] = slots_[changed_[from + i]].entry;
}

void NodeStats::reported(size_t count) {
    for (size_t i = 0; i < count; ++i) slots_[changed_[i]].listed = false;
    changed_.erase(changed_.begin(), changed_.begin() + static_cast<std::ptrdiff_t>(count));
}

}  // namespace qanat::dataplane
