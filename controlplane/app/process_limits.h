// What this process asks of the kernel for itself, before the data plane inherits it.
#pragma once

#include <cstdint>
#include <optional>

#include <sys/types.h>

namespace qanat::controlplane {

// No core dumps, and no other process may read our memory (PR_SET_DUMPABLE): it holds the network key. SIGPIPE is
// ignored.
void harden_process();

// Room for `wanted` open files, as far as it is to be had: the soft limit becomes the hard one, and root raises the
// hard one too. A hard limit below 4096 is taken as meant and left alone.
void raise_descriptor_limit(uint64_t wanted);

// Locked memory without limit, where root allows it to itself: each engine's io_uring takes a third of a MiB, and the
// kernel's usual 8 MiB are for all processes of one user.
void raise_locked_memory_limit();

// Descriptors in use by a process, and our limit. The threads of the data plane each have a table of their own, and the
// limit is for each; the fullest one is told. nullopt: not ours to see.
[[nodiscard]] std::optional<uint64_t> count_descriptors(pid_t pid);
[[nodiscard]] uint64_t descriptor_limit();

}  // namespace qanat::controlplane
