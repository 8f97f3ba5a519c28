#include "common/crypto/xchacha20.h"

#include <sodium.h>

#include "common/base/assert.h"

namespace qanat::crypto {

void xchacha20_seal(std::span<const uint8_t, 32> key, std::span<const uint8_t, kXChaChaNonceSize> nonce, Bytes aad,
                    Bytes plain, MutableBytes out) {
    QANAT_ASSERT(out.size() == plain.size() + kXChaChaTagSize);
    crypto_aead_xchacha20poly1305_ietf_encrypt(out.data(), nullptr, plain.data(), plain.size(), aad.data(), aad.size(),
                                               nullptr, nonce.data(), key.data());
}

bool xchacha20_open(std::span<const uint8_t, 32> key, std::span<const uint8_t, kXChaChaNonceSize> nonce, Bytes aad,
                    Bytes sealed, MutableBytes out) {
    if (sealed.size() < kXChaChaTagSize) return false;
    QANAT_ASSERT(out.size() == sealed.size() - kXChaChaTagSize);
    if (crypto_aead_xchacha20poly1305_ietf_decrypt(out.data(), nullptr, nullptr, sealed.data(), sealed.size(),
                                                   aad.data(), aad.size(), nonce.data(), key.data()) == 0)
        return true;
    if (!out.empty()) sodium_memzero(out.data(), out.size());
    return false;
}

}  // namespace qanat::crypto
