// SessionTable: the sessions that one engine may use, found by id (a stream that comes in) or by node (a stream that
// goes out). One thread; fixed size; nothing here allocates after construction.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "dataplane/tunnel/shared_session.h"

namespace qanat::dataplane {

class SessionTable {
public:
    // Reserves room for `capacity` sessions: about 100 to 200 bytes each, without the sessions themselves.
    explicit SessionTable(size_t capacity);

    // False, and nothing has changed, if the session is null, its id is in the table, or the table is full. A client
    // side session becomes the current one of its node.
    [[nodiscard]] bool install(std::shared_ptr<SharedSession> session);

    // False if there is none. If it was the current one of its node, the newest of the others takes its place. Walks
    // the table in that case.
    bool remove(uint64_t id);

    // Null if there is none. Valid until the session is removed. O(1): the table is at most half full.
    [[nodiscard]] SharedSession* find(uint64_t id) const;

    // Client side: the newest installed session with this node, or null. O(1).
    [[nodiscard]] SharedSession* current_for_node(uint32_t node) const;

    [[nodiscard]] size_t size() const { return size_; }
    [[nodiscard]] size_t capacity() const { return capacity_; }

private:
    struct Slot {
        uint64_t installed = 0;  // larger is newer
        std::shared_ptr<SharedSession> session;
    };
    struct NodeSlot {
        SharedSession* session = nullptr;
    };

    [[nodiscard]] size_t slot_of_id(uint64_t id) const;  // where it is, or the free slot where it would go
    [[nodiscard]] size_t slot_of_node(uint32_t node) const;
    void erase_slot(size_t slot);
    void erase_node_slot(size_t slot);

    size_t capacity_;
    size_t mask_;
    size_t size_ = 0;
    uint64_t installs_ = 0;
    // Open addressing, linear probing, backward-shift deletion: no tombstones, so years of renewals leave no trace.
    std::vector<Slot> slots_;
    std::vector<NodeSlot> nodes_;  // the current session of each node
};

}  // namespace qanat::dataplane
