// Aead: one expanded record key, and sealing and opening in place with it.
//
// libipsec-mb does all three suites on x86-64; libsodium does ChaCha20-Poly1305 elsewhere. Both stay behind this
// header. An expanded key takes about 1 KiB; idle streams keep only a wire::DirectionKey and expand again when they
// move.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

#include "common/base/bytes.h"
#include "common/crypto/suite.h"

namespace qanat::crypto {

class Aead {
public:
    using Nonce = std::span<const uint8_t, kNonceSize>;

    Aead() = default;
    ~Aead() { wipe(); }
    Aead(const Aead&) = delete;
    Aead& operator=(const Aead&) = delete;

    // True if this build on this processor can run `suite` (AES only in hardware). ChaCha20-Poly1305 always can.
    [[nodiscard]] static bool supports(Suite suite);

    // "ipsec-mb 1.3.0 avx512" or "libsodium 1.0.18", for logs.
    [[nodiscard]] static std::string provider_name();

    // Makes the object ready for `key`, which is key_size(suite) bytes; supports(suite) must hold. May be called again.
    void expand(Suite suite, Bytes key);

    // Encrypts `size` bytes at `data` in place and writes the tag to `tag` (16 bytes, may directly follow the data).
    // A nonce must never come twice under one key. Any thread may use one expanded key at the same time as others.
    void seal(Nonce nonce, Bytes aad, uint8_t* data, size_t size, uint8_t* tag) const;

    // Decrypts in place. False if the tag is wrong; the data is then lost (wiped or still sealed) and must not be used.
    [[nodiscard]] bool open(Nonce nonce, Bytes aad, uint8_t* data, size_t size, const uint8_t* tag) const;

    [[nodiscard]] bool ready() const { return ready_; }
    void wipe();

private:
    // Holds a gcm_key_data of libipsec-mb, or the bare key; aead.cc asserts that it fits.
#if defined(__x86_64__)
    static constexpr size_t kStorageSize = 1024;
#else
    static constexpr size_t kStorageSize = 64;
#endif
    alignas(64) uint8_t storage_[kStorageSize];
    Suite suite_ = Suite::chacha20_poly1305;
    bool ready_ = false;
};

}  // namespace qanat::crypto
