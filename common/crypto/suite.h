// Suite: the record ciphers of docs/PROTOCOL.md, section 5, under the ids they have on the wire.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string_view>

namespace qanat::crypto {

enum class Suite : uint8_t { aes_128_gcm = 1, aes_256_gcm = 2, chacha20_poly1305 = 3 };

inline constexpr size_t kKeySizeMax = 32;
inline constexpr size_t kNonceSize = 12;
inline constexpr size_t kAeadTagSize = 16;

[[nodiscard]] constexpr size_t key_size(Suite suite) {
    return suite == Suite::aes_128_gcm ? 16 : 32;
}

// True for the suites that a session may use only if both sides have AES in hardware.
[[nodiscard]] constexpr bool needs_aes_hardware(Suite suite) {
    return suite != Suite::chacha20_poly1305;
}

// "aes-128-gcm", "aes-256-gcm", "chacha20-poly1305": the names in configuration, logs and metrics.
[[nodiscard]] std::string_view suite_name(Suite suite);
[[nodiscard]] std::optional<Suite> suite_from_name(std::string_view name);
[[nodiscard]] std::optional<Suite> suite_from_id(uint8_t id);

}  // namespace qanat::crypto
