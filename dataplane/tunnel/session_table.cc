#include "dataplane/tunnel/session_table.h"

#include <algorithm>
#include <bit>
#include <utility>

#include "dataplane/tunnel/id_hash.h"

namespace qanat::dataplane {
namespace {

// Closes the gap at `slot` of a table of open addressing: what lies behind it, in one run, moves up unless that would
// put it in front of its home. `home_of(i)` is the home of the entry in slot i.
template <class Table, class Used, class HomeOf>
void close_gap(Table& table, size_t slot, Used used, HomeOf home_of) {
    const size_t mask = table.size() - 1;
    size_t gap = slot;
    for (size_t i = (slot + 1) & mask; used(table[i]); i = (i + 1) & mask) {
        const size_t distance_from_home = (i - home_of(table[i])) & mask;
        const size_t distance_from_gap = (i - gap) & mask;
        if (distance_from_home < distance_from_gap) continue;
        table[gap] = std::exchange(table[i], {});
        gap = i;
    }
}

}  // namespace

SessionTable::SessionTable(size_t capacity)
    : capacity_(capacity),
      mask_(std::bit_ceil(std::max<size_t>(2 * capacity, 2)) - 1),
      slots_(mask_ + 1),
      nodes_(mask_ + 1) {}

bool SessionTable::install(std::shared_ptr<SharedSession> session) {
    if (session == nullptr || size_ == capacity_) return false;
    Slot& slot = slots_[slot_of_id(session->id)];
    if (slot.session != nullptr) return false;
    if (session->side == ring::SessionSide::client) nodes_[slot_of_node(session->node)].session = session.get();
    slot = {++installs_, std::move(session)};
    ++size_;
    return true;
}

bool SessionTable::remove(uint64_t id) {
    const size_t slot = slot_of_id(id);
    if (slots_[slot].session == nullptr) return false;
    // Kept until the table is in order again: its end takes the registry's mutex and frees its window.
    const std::shared_ptr<SharedSession> session = std::move(slots_[slot].session);
    erase_slot(slot);
    --size_;
    if (session->side != ring::SessionSide::client) return true;
    const size_t node_slot = slot_of_node(session->node);
    if (nodes_[node_slot].session != session.get()) return true;
    const Slot* newest = nullptr;
    for (const Slot& other : slots_) {
        if (other.session == nullptr || other.session->side != ring::SessionSide::client ||
            other.session->node != session->node)
            continue;
        if (newest == nullptr || other.installed > newest->installed) newest = &other;
    }
    if (newest != nullptr)
        nodes_[node_slot].session = newest->session.get();
    else
        erase_node_slot(node_slot);
    return true;
}

SharedSession* SessionTable::find(uint64_t id) const {
    return slots_[slot_of_id(id)].session.get();
}

SharedSession* SessionTable::current_for_node(uint32_t node) const {
    return nodes_[slot_of_node(node)].session;
}

size_t SessionTable::slot_of_id(uint64_t id) const {
    size_t slot = hash_of_id(id) & mask_;
    while (slots_[slot].session != nullptr && slots_[slot].session->id != id) slot = (slot + 1) & mask_;
    return slot;
}

size_t SessionTable::slot_of_node(uint32_t node) const {
    size_t slot = hash_of_id(node) & mask_;
    while (nodes_[slot].session != nullptr && nodes_[slot].session->node != node) slot = (slot + 1) & mask_;
    return slot;
}

void SessionTable::erase_slot(size_t slot) {
    slots_[slot] = {};
    close_gap(
        slots_, slot, [](const Slot& entry) { return entry.session != nullptr; },
        [](const Slot& entry) { return hash_of_id(entry.session->id); });
}

void SessionTable::erase_node_slot(size_t slot) {
    nodes_[slot] = {};
    close_gap(
        nodes_, slot, [](const NodeSlot& entry) { return entry.session != nullptr; },
        [](const NodeSlot& entry) { return hash_of_id(entry.session->node); });
}

}  // namespace qanat::dataplane
