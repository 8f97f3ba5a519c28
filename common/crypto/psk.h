// The keys that a network key (PSK) stands for: docs/PROTOCOL.md, section 2. The PSK serves for nothing else.
#pragma once

#include <array>
#include <cstdint>

#include "common/base/secret.h"

namespace qanat::crypto {

struct NetworkKeys {
    Secret<32> gate;                     // K_gate: tags MSG1 and CHALLENGE
    Secret<32> noise;                    // K_noise: the psk of Noise
    Secret<32> discovery;                // K_disc: announcements, section 9
    std::array<uint8_t, 8> fingerprint;  // the only form in which a PSK is ever shown
};

[[nodiscard]] NetworkKeys derive_network_keys(const Secret<32>& psk);

}  // namespace qanat::crypto
