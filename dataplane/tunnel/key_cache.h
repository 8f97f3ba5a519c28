// KeyCache: the expanded record keys of the streams that moved last. An expanded key takes 1 KiB and some hundred
// nanoseconds to make; an idle stream keeps only its wire::DirectionKey, and 65 536 idle streams would otherwise hold
// 128 MiB. One per engine, one thread, nothing allocates after construction. Wiped when it ends.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "common/crypto/aead.h"
#include "common/wire/record.h"

namespace qanat::dataplane {

class KeyCache {
public:
    static constexpr size_t kEntries = 512;
    static constexpr size_t kWays = 4;

    // `entries` is rounded up to kWays times a power of two. Reserves about 1.1 KiB for each.
    explicit KeyCache(size_t entries = kEntries);

    KeyCache(const KeyCache&) = delete;
    KeyCache& operator=(const KeyCache&) = delete;

    // The expanded form of key.key_bytes(). `key_tag` names this key and no other, ever: a number per direction of a
    // stream with the generation of its slot mixed in. All 64 bits are compared, so what comes back is the key that was
    // given with this tag. Expands on a miss, in place of the entry of its set that was filled first. The reference
    // is valid until the next call of context(), forget() or wipe().
    [[nodiscard]] const crypto::Aead& context(const wire::DirectionKey& key, uint64_t key_tag);

    // The direction is over: wipes its entry if there is one.
    void forget(uint64_t key_tag);
    void wipe();

    [[nodiscard]] size_t entries() const { return tags_.size(); }
    [[nodiscard]] uint64_t hits() const { return hits_; }
    [[nodiscard]] uint64_t misses() const { return misses_; }

private:
    [[nodiscard]] size_t set_of(uint64_t key_tag) const;  // index of the first entry of its set

    size_t set_mask_;
    std::vector<uint64_t> tags_;  // beside the keys, so that a search stays in one cache line; counts only if ready()
    std::vector<uint8_t> next_victim_;       // per set
    std::unique_ptr<crypto::Aead[]> aeads_;  // ready() says whether an entry is in use
    uint64_t hits_ = 0;
    uint64_t misses_ = 0;
};

}  // namespace qanat::dataplane
