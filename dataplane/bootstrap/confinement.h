// What an engine's thread may still ask of the kernel once it runs.
#pragma once

#include "common/base/result.h"

namespace qanat::dataplane {

// Installs a system call filter on the calling thread: what moving bytes between TCP sockets needs, and nothing else.
// No file can be opened, no program started, no socket made but for TCP over IPv4 and IPv6, no memory made executable;
// what is not allowed fails with EPERM. The engine's io_uring has its own list (Uring::open), because a ring's
// operations do not pass through this filter.
//
// Needs no_new_privs (drop_privileges). For good: it ends with the thread. Does nothing, and says so with false, on
// architectures other than x86-64 and arm64, and under sanitizers, which need more.
[[nodiscard]] Result<bool> confine_thread();

}  // namespace qanat::dataplane
