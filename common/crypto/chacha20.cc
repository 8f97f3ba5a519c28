#include "common/crypto/chacha20.h"

#include <sodium.h>

namespace qanat::crypto {

void chacha20_xor16(std::span<uint8_t, 16> data, std::span<const uint8_t, 32> key, uint32_t counter,
                    std::span<const uint8_t, 12> nonce) {
    crypto_stream_chacha20_ietf_xor_ic(data.data(), data.data(), data.size(), nonce.data(), counter, key.data());
}

}  // namespace qanat::crypto
