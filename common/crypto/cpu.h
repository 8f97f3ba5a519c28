// What this processor can do for the record ciphers.
#pragma once

namespace qanat::crypto {

// AES rounds and carry-less multiplication in hardware (x86: AES-NI and PCLMULQDQ; ARM: AES and PMULL). Bit 0 of the
// capabilities of a handshake is has_aes_hardware() && Aead::supports(an AES suite).
[[nodiscard]] bool has_aes_hardware();

// SHA-256 rounds in hardware, in the form that sha256.cc uses (x86 SHA extensions).
[[nodiscard]] bool has_sha_hardware();

}  // namespace qanat::crypto
