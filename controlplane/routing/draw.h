// The draw of a discovered node: what decides which of many nodes this program deals with. Every seed has its own
// order, and keeps it whoever comes or goes.
#pragma once

#include <cstdint>
#include <cstring>

#include "controlplane/config/config.h"

namespace qanat::controlplane {

// Ids are public keys: their first bytes are as good as random, and cannot be chosen freely by somebody who does not
// know the seed.
[[nodiscard]] inline uint64_t draw(const PublicKey& id, uint64_t seed) {
    uint64_t z = 0;
    std::memcpy(&z, id.data(), sizeof z);
    z ^= seed;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
    z = (z ^ z >> 27) * 0x94d049bb133111eb;
    return z ^ z >> 31;
}

}  // namespace qanat::controlplane
