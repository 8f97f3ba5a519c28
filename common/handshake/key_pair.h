// X25519 keys: the public key everybody may see, and the pair that only its owner holds.
#pragma once

#include <array>
#include <cstdint>

#include "common/base/secret.h"

namespace qanat {

using PublicKey = std::array<uint8_t, 32>;

struct KeyPair {
    Secret<32> secret;
    PublicKey public_key{};

    [[nodiscard]] KeyPair clone() const { return {secret.clone(), public_key}; }
};

// The pair that belongs to 32 random bytes. Every value is a valid X25519 secret (it is clamped when it is used).
[[nodiscard]] KeyPair make_key_pair(Secret<32> random);

// A node's or client's long-lived static key pair, PROTOCOL section 2. It is used in Noise and nowhere else.
using Identity = KeyPair;

}  // namespace qanat
