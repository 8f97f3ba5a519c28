#include "common/handshake/seen_ephemerals.h"

#include <sodium.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <utility>

namespace qanat::handshake {

SeenEphemerals::SeenEphemerals(Secret<16> key)
    : key_(std::move(key)), young_(kGenerationSlots), old_(kGenerationSlots) {
    static_assert(crypto_shorthash_KEYBYTES == 16 && crypto_shorthash_BYTES == 8);
    static_assert((kGenerationSlots & (kGenerationSlots - 1)) == 0);
}

uint64_t SeenEphemerals::fingerprint_of(const PublicKey& ephemeral) const {
    std::array<uint8_t, crypto_shorthash_BYTES> hash;
    crypto_shorthash(hash.data(), ephemeral.data(), ephemeral.size(), key_.bytes().data());
    uint64_t fingerprint;
    std::memcpy(&fingerprint, hash.data(), sizeof(fingerprint));
    return fingerprint == 0 ? 1 : fingerprint;  // 0 marks a free slot
}

// Where the fingerprint is, or the free slot where it would go. Ends: a generation is never full.
size_t SeenEphemerals::slot_of(const Generation& generation, uint64_t fingerprint) {
    size_t slot = fingerprint % kGenerationSlots;
    while (generation[slot] != 0 && generation[slot] != fingerprint) slot = (slot + 1) % kGenerationSlots;
    return slot;
}

bool SeenEphemerals::contains(const PublicKey& ephemeral) const {
    const uint64_t fingerprint = fingerprint_of(ephemeral);
    return young_[slot_of(young_, fingerprint)] == fingerprint || old_[slot_of(old_, fingerprint)] == fingerprint;
}

bool SeenEphemerals::insert(const PublicKey& ephemeral) {
    if (contains(ephemeral)) return false;
    if (young_count_ == kGenerationCapacity) {
        std::swap(young_, old_);
        std::fill(young_.begin(), young_.end(), 0);
        young_count_ = 0;
    }
    const uint64_t fingerprint = fingerprint_of(ephemeral);
    young_[slot_of(young_, fingerprint)] = fingerprint;
    ++young_count_;
    return true;
}

}  // namespace qanat::handshake
