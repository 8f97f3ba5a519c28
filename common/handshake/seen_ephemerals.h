// SeenEphemerals: a bounded memory of the `e` of accepted MSG1s, so that a recorded MSG1 sent again is dropped before
// it costs a Diffie-Hellman (PROTOCOL 3.1, steps 4 and 7).
//
// Two generations: `e`s go into the young one; when it is full the old one is forgotten and the young one takes its
// place. So the last kGenerationCapacity ones are always known, up to twice as many sometimes, in 512 KiB whatever
// comes. What has been forgotten is not dangerous: a replay makes a provisional session that nobody holds the keys of.
//
// An `e` is kept as its 64-bit SipHash under a random key: nobody can aim for collisions or long probe chains, and a
// chance collision (about 2^-48 per MSG1) costs one client one retry.
#pragma once

#include <cstdint>
#include <vector>

#include "common/base/secret.h"
#include "common/handshake/key_pair.h"

namespace qanat::handshake {

class SeenEphemerals {
public:
    static constexpr size_t kGenerationSlots = 32 * 1024;
    static constexpr size_t kGenerationCapacity = kGenerationSlots / 4 * 3;  // keeps the probe chains short

    // `key`: 16 random bytes. Allocates everything it will ever use.
    explicit SeenEphemerals(Secret<16> key);

    [[nodiscard]] bool contains(const PublicKey& ephemeral) const;
    // Remembers `ephemeral`; false if it was known already. Between contains() and here another connection may have
    // finished with the same MSG1, so the answer counts.
    [[nodiscard]] bool insert(const PublicKey& ephemeral);

private:
    using Generation = std::vector<uint64_t>;  // open addressing, 0 = free

    [[nodiscard]] uint64_t fingerprint_of(const PublicKey& ephemeral) const;
    [[nodiscard]] static size_t slot_of(const Generation& generation, uint64_t fingerprint);

    Secret<16> key_;
    Generation young_;
    Generation old_;
    size_t young_count_ = 0;
};

}  // namespace qanat::handshake
