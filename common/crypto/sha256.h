// SHA-256 and HMAC-SHA256 (FIPS 180-4, RFC 2104), over inputs in several pieces so that callers need not join them.
//
// A stream costs about eight HMACs of a few blocks each, so the x86 SHA extensions are used where they exist
// (sha256_x86.cc, about seven times as fast here as libsodium's portable code, which serves everywhere else).
#pragma once

#include <sodium.h>

#include <array>
#include <cstdint>
#include <initializer_list>

#include "common/base/bytes.h"

namespace qanat::crypto {

inline constexpr size_t kSha256Size = 32;
inline constexpr size_t kMac16Size = 16;
using Sha256Digest = std::array<uint8_t, kSha256Size>;
using Mac16 = std::array<uint8_t, kMac16Size>;

// An incremental hash. Copyable: a copy goes on from the same point. Wiped when it ends, for it may hold key material.
class Sha256 {
public:
    Sha256();
    Sha256(const Sha256&) = default;
    Sha256& operator=(const Sha256&) = default;
    ~Sha256() { sodium_memzero(&state_, sizeof(state_)); }

    Sha256& update(Bytes data);

    // Ends the hash; the object must not be used again after it.
    void finish(std::span<uint8_t, kSha256Size> out);

private:
    crypto_hash_sha256_state state_;
};

[[nodiscard]] Sha256Digest sha256(std::initializer_list<Bytes> parts);

// A key made ready for any number of HMACs: saves two of four blocks from the second one on.
class HmacSha256 {
public:
    explicit HmacSha256(Bytes key);

    void mac(std::span<uint8_t, kSha256Size> out, std::initializer_list<Bytes> parts) const;

private:
    Sha256 inner_;
    Sha256 outer_;
};

// `out` may overlap the key or a part. The first form is for results that are key material: it leaves no copy.
void hmac_sha256(std::span<uint8_t, kSha256Size> out, Bytes key, std::initializer_list<Bytes> parts);
[[nodiscard]] Sha256Digest hmac_sha256(Bytes key, std::initializer_list<Bytes> parts);

// MAC16 of docs/PROTOCOL.md, section 1: the first 16 bytes of HMAC-SHA256. Compare with equal_constant_time().
[[nodiscard]] Mac16 mac16(Bytes key, std::initializer_list<Bytes> parts);

// Constant time in the contents, not in the sizes; different sizes are never equal.
[[nodiscard]] bool equal_constant_time(Bytes a, Bytes b);

}  // namespace qanat::crypto
