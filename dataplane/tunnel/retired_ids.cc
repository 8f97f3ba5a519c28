#include "dataplane/tunnel/retired_ids.h"

#include <algorithm>
#include <bit>

#include "common/base/assert.h"
#include "dataplane/tunnel/id_hash.h"

namespace qanat::dataplane {

RetiredIds::RetiredIds(size_t capacity)
    : capacity_(std::max<size_t>(capacity, 1)),
      mask_(std::bit_ceil(2 * capacity_) - 1),
      young_(make_generation()),
      old_(make_generation()) {}

void RetiredIds::insert(uint64_t id) {
    QANAT_ASSERT(id != 0);
    if (contains(id)) return;
    if (young_count_ == capacity_) {
        old_ = std::move(young_);
        young_ = make_generation();
        young_count_ = 0;
    }
    slot_of(young_, id) = id;
    ++young_count_;
}

bool RetiredIds::contains(uint64_t id) const {
    return slot_of(young_, id) == id || slot_of(old_, id) == id;
}

// calloc and not a vector: a vector would write its zeros, and so take all of the memory at once.
RetiredIds::Generation RetiredIds::make_generation() const {
    Generation generation(static_cast<uint64_t*>(std::calloc(mask_ + 1, sizeof(uint64_t))));
    QANAT_ASSERT(generation != nullptr);
    return generation;
}

// Where the id is, or the free slot where it would go. The table is at most half full, so there is one.
uint64_t& RetiredIds::slot_of(const Generation& generation, uint64_t id) const {
    size_t slot = hash_of_id(id) & mask_;
    while (generation[slot] != 0 && generation[slot] != id) slot = (slot + 1) & mask_;
    return generation[slot];
}

}  // namespace qanat::dataplane
