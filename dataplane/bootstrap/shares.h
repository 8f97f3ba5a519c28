// From the caps of the process to those of one engine, and to the memory that they can cost.
#pragma once

#include <cstdint>

#include "common/ring/bootstrap.h"

namespace qanat::dataplane {

struct Shares {
    ring::DataPlaneLimits engine{};  // the caps of one engine; sessions are not divided: every engine knows all
    uint32_t chunks = 0;             // of one engine
    uint32_t pipes = 0;              // of one engine
    uint64_t memory_budget = 0;      // bytes, whole process, everything at its cap
    uint32_t streams = 0;            // of the process, after the descriptors that are to be had
};

// `descriptors` is RLIMIT_NOFILE, which counts for each engine; `memory_bytes` is the machine's memory. Every share is
// at least one; pipes there are only for a relay, and fewer of them when descriptors are scarce.
[[nodiscard]] Shares divide(const ring::DataPlaneLimits& limits, uint32_t engines, uint64_t descriptors,
                            uint64_t memory_bytes, bool relay = false);

}  // namespace qanat::dataplane
