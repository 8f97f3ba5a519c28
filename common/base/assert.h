// QANAT_ASSERT: our own mistakes end the process at once, in release builds too.
//
// Only for what no input can cause: a broken invariant, a call out of order. Never for anything a peer, the kernel, a
// file or the other plane can bring about; those are Results.
#pragma once

namespace qanat {

// Prints "file:line: broken invariant: what" to stderr and aborts. Async-signal-safe, does not allocate.
[[noreturn]] void assertion_failed(const char* file, int line, const char* what) noexcept;

}  // namespace qanat

#define QANAT_ASSERT(condition)                                        \
    do {                                                               \
        if (!(condition)) [[unlikely]]                                 \
            ::qanat::assertion_failed(__FILE__, __LINE__, #condition); \
    } while (false)
