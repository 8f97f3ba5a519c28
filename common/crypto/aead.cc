#include "common/crypto/aead.h"

#include <sodium.h>

#include <array>
#include <cstring>

#include "common/base/assert.h"
#include "common/crypto/cpu.h"

#ifdef QANAT_HAVE_IPSEC_MB
#include <intel-ipsec-mb.h>
#endif

namespace qanat::crypto {

#ifdef QANAT_HAVE_IPSEC_MB

namespace {

// The library's table of functions for this processor, set up once per process and only read afterwards: the direct
// functions used below keep all their state in the key and in a context on the caller's stack, so engines share it.
// Null if the library refuses to run here (its self-test failed): then libsodium does what it can.
IMB_MGR* make_manager() {
    IMB_MGR* manager = alloc_mb_mgr(0);
    if (manager == nullptr) return nullptr;
    init_mb_mgr_auto(manager, nullptr);
    if (imb_get_errno(manager) == 0 && manager->used_arch >= IMB_ARCH_SSE) return manager;
    free_mb_mgr(manager);
    return nullptr;
}

const IMB_MGR* manager() {
    static const IMB_MGR* const shared = make_manager();
    return shared;
}

std::string_view arch_name(uint32_t arch) {
    switch (arch) {
        case IMB_ARCH_SSE:
            return "sse";
        case IMB_ARCH_AVX:
            return "avx";
        case IMB_ARCH_AVX2:
            return "avx2";
        case IMB_ARCH_AVX512:
            return "avx512";
        default:
            return "unknown";
    }
}

}  // namespace

bool Aead::supports(Suite suite) {
    return !needs_aes_hardware(suite) || (manager() != nullptr && has_aes_hardware());
}

std::string Aead::provider_name() {
    if (manager() == nullptr) return std::string("libsodium ") + sodium_version_string();
    return std::string("ipsec-mb ") + imb_get_version_str() + " " + std::string(arch_name(manager()->used_arch));
}

#else

bool Aead::supports(Suite suite) {
    return !needs_aes_hardware(suite);
}

std::string Aead::provider_name() {
    return std::string("libsodium ") + sodium_version_string();
}

#endif

namespace {

// libsodium runs its portable code until it has looked at the processor.
void prepare_libsodium() {
    static const int done = sodium_init();
    QANAT_ASSERT(done >= 0);
}

}  // namespace

void Aead::expand(Suite suite, Bytes key) {
    QANAT_ASSERT(key.size() == key_size(suite));
    QANAT_ASSERT(supports(suite));
    prepare_libsodium();
    suite_ = suite;
    ready_ = true;
#ifdef QANAT_HAVE_IPSEC_MB
    static_assert(sizeof(gcm_key_data) <= kStorageSize && alignof(gcm_key_data) <= 64);
    if (suite == Suite::aes_128_gcm) {
        IMB_AES128_GCM_PRE(manager(), key.data(), reinterpret_cast<gcm_key_data*>(storage_));
        return;
    }
    if (suite == Suite::aes_256_gcm) {
        IMB_AES256_GCM_PRE(manager(), key.data(), reinterpret_cast<gcm_key_data*>(storage_));
        return;
    }
#endif
    std::memcpy(storage_, key.data(), key.size());
}

void Aead::seal(Nonce nonce, Bytes aad, uint8_t* data, size_t size, uint8_t* tag) const {
    QANAT_ASSERT(ready_);
#ifdef QANAT_HAVE_IPSEC_MB
    if (const IMB_MGR* const mb = manager(); mb != nullptr) {
        if (suite_ == Suite::chacha20_poly1305) {
            chacha20_poly1305_context_data context;
            IMB_CHACHA20_POLY1305_INIT(mb, storage_, &context, nonce.data(), aad.data(), aad.size());
            IMB_CHACHA20_POLY1305_ENC_UPDATE(mb, storage_, &context, data, data, size);
            IMB_CHACHA20_POLY1305_ENC_FINALIZE(mb, &context, tag, kAeadTagSize);
            return;
        }
        gcm_context_data context;
        const auto seal_gcm = suite_ == Suite::aes_128_gcm ? mb->gcm128_enc : mb->gcm256_enc;
        seal_gcm(reinterpret_cast<const gcm_key_data*>(storage_), &context, data, data, size, nonce.data(), aad.data(),
                 aad.size(), tag, kAeadTagSize);
        return;
    }
#endif
    crypto_aead_chacha20poly1305_ietf_encrypt_detached(data, tag, nullptr, data, size, aad.data(), aad.size(), nullptr,
                                                       nonce.data(), storage_);
}

bool Aead::open(Nonce nonce, Bytes aad, uint8_t* data, size_t size, const uint8_t* tag) const {
    QANAT_ASSERT(ready_);
#ifdef QANAT_HAVE_IPSEC_MB
    if (const IMB_MGR* const mb = manager(); mb != nullptr) {
        std::array<uint8_t, kAeadTagSize> expected;
        if (suite_ == Suite::chacha20_poly1305) {
            chacha20_poly1305_context_data context;
            IMB_CHACHA20_POLY1305_INIT(mb, storage_, &context, nonce.data(), aad.data(), aad.size());
            IMB_CHACHA20_POLY1305_DEC_UPDATE(mb, storage_, &context, data, data, size);
            IMB_CHACHA20_POLY1305_DEC_FINALIZE(mb, &context, expected.data(), kAeadTagSize);
        } else {
            gcm_context_data context;
            const auto open_gcm = suite_ == Suite::aes_128_gcm ? mb->gcm128_dec : mb->gcm256_dec;
            open_gcm(reinterpret_cast<const gcm_key_data*>(storage_), &context, data, data, size, nonce.data(),
                     aad.data(), aad.size(), expected.data(), kAeadTagSize);
        }
        if (sodium_memcmp(expected.data(), tag, kAeadTagSize) == 0) return true;
        // Stops a caller that ignores the result from releasing chosen plaintext.
        if (size > 0) sodium_memzero(data, size);
        return false;
    }
#endif
    return crypto_aead_chacha20poly1305_ietf_decrypt_detached(data, nullptr, data, size, tag, aad.data(), aad.size(),
                                                              nonce.data(), storage_) == 0;
}

void Aead::wipe() {
    sodium_memzero(storage_, sizeof(storage_));
    ready_ = false;
}

}  // namespace qanat::crypto
