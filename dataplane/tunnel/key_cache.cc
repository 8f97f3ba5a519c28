#include "dataplane/tunnel/key_cache.h"

#include <algorithm>
#include <bit>

#include "dataplane/tunnel/id_hash.h"

namespace qanat::dataplane {

KeyCache::KeyCache(size_t entries)
    : set_mask_(std::bit_ceil(std::max<size_t>((entries + kWays - 1) / kWays, 1)) - 1),
      tags_((set_mask_ + 1) * kWays),
      next_victim_(set_mask_ + 1),
      aeads_(std::make_unique<crypto::Aead[]>(tags_.size())) {}

const crypto::Aead& KeyCache::context(const wire::DirectionKey& key, uint64_t key_tag) {
    const size_t first = set_of(key_tag);
    size_t vacant = kWays;
    for (size_t way = 0; way < kWays; ++way) {
        const crypto::Aead& aead = aeads_[first + way];
        if (tags_[first + way] == key_tag && aead.ready()) {
            ++hits_;
            return aead;
        }
        if (vacant == kWays && !aead.ready()) vacant = way;
    }
    ++misses_;
    size_t way = vacant;
    if (way == kWays) {
        uint8_t& victim = next_victim_[first / kWays];
        way = victim;
        victim = static_cast<uint8_t>((victim + 1) % kWays);
    }
    crypto::Aead& aead = aeads_[first + way];
    aead.wipe();
    aead.expand(key.suite, key.key_bytes());
    tags_[first + way] = key_tag;
    return aead;
}

void KeyCache::forget(uint64_t key_tag) {
    const size_t first = set_of(key_tag);
    for (size_t way = 0; way < kWays; ++way)
        if (tags_[first + way] == key_tag && aeads_[first + way].ready()) aeads_[first + way].wipe();
}

void KeyCache::wipe() {
    for (size_t i = 0; i < tags_.size(); ++i) aeads_[i].wipe();
}

size_t KeyCache::set_of(uint64_t key_tag) const {
    return (hash_of_id(key_tag) & set_mask_) * kWays;
}

}  // namespace qanat::dataplane
