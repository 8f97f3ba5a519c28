#include "dataplane/tunnel/retired_ids.h"

#include <algorithm>
#include <bit>

#include "common/base/assert.h"
#include "dataplane/tunnel/id_hash.h"

namespace qanat::dataplane {

RetiredIds::RetiredIds(size_t capacity)
    : capacity_(std::max<size_t>(capacity, 1)), young_(std::bit_ceil(2 * capacity_)), old_(young_.size()) {}

void RetiredIds::insert(uint64_t id) {
    QANAT_ASSERT(id != 0);
    if (contains(id)) return;
    if (young_count_ == capacity_) {
        std::swap(young_, old_);
        std::fill(young_.begin(), young_.end(), 0);
        young_count_ = 0;
    }
    young_[slot_of(young_, id)] = id;
    ++young_count_;
}

bool RetiredIds::contains(uint64_t id) const {
    return young_[slot_of(young_, id)] == id || old_[slot_of(old_, id)] == id;
}

size_t RetiredIds::slot_of(const Generation& generation, uint64_t id) {
    const size_t mask = generation.size() - 1;
    size_t slot = hash_of_id(id) & mask;
    while (generation[slot] != 0 && generation[slot] != id) slot = (slot + 1) & mask;
    return slot;
}

}  // namespace qanat::dataplane
