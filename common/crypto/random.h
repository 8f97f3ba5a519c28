// Randomness from the kernel. Pure modules take their random bytes as arguments; this is for those who call them.
#pragma once

#include "common/base/bytes.h"

namespace qanat::crypto {

// Fills `out` from getrandom(2): one system call per 256 bytes or less, no state in the process (so nothing to reseed
// after fork). Blocks only before the kernel's generator is seeded, early in boot. Cannot fail: a kernel without
// getrandom ends the process.
void random_bytes(MutableBytes out);

}  // namespace qanat::crypto
