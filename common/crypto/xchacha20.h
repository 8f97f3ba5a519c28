// XChaCha20-Poly1305 (draft-irtf-cfrg-xchacha-03) for single messages under a long-lived key: its nonce is long enough
// to be drawn at random by many writers who know nothing of each other. Records have aead.h.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "common/base/bytes.h"

namespace qanat::crypto {

inline constexpr size_t kXChaChaNonceSize = 24;
inline constexpr size_t kXChaChaTagSize = 16;

// Writes ciphertext and tag to `out`, which is plain.size() + kXChaChaTagSize bytes and does not overlap `plain`.
void xchacha20_seal(std::span<const uint8_t, 32> key, std::span<const uint8_t, kXChaChaNonceSize> nonce, Bytes aad,
                    Bytes plain, MutableBytes out);

// Writes what was sealed to `out`, which is kXChaChaTagSize bytes shorter than `sealed`. False if the tag is wrong or
// `sealed` is shorter than a tag; `out` is then zeros.
[[nodiscard]] bool xchacha20_open(std::span<const uint8_t, 32> key, std::span<const uint8_t, kXChaChaNonceSize> nonce,
                                  Bytes aad, Bytes sealed, MutableBytes out);

}  // namespace qanat::crypto
