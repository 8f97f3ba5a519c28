// The compression function of SHA-256 with the x86 SHA extensions. Internal to sha256.cc.
#pragma once

#include <cstddef>
#include <cstdint>

namespace qanat::crypto {

// Folds `count` blocks of 64 bytes into the eight state words. Only if has_sha_hardware(); does nothing on other
// architectures, where that is never true.
void sha256_blocks_x86(uint32_t* state, const uint8_t* blocks, size_t count);

}  // namespace qanat::crypto
