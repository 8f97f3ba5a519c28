// The bare ChaCha20 stream (RFC 8439, section 2.4), for the mask of the client's preamble and for nothing else: it
// hides numbers from an observer and authenticates nothing.
#pragma once

#include <cstdint>
#include <span>

namespace qanat::crypto {

// data ^= the first 16 bytes of the ChaCha20 block for (key, counter, nonce). Its own inverse.
void chacha20_xor16(std::span<uint8_t, 16> data, std::span<const uint8_t, 32> key, uint32_t counter,
                    std::span<const uint8_t, 12> nonce);

}  // namespace qanat::crypto
