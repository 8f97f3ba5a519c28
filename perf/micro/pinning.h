// Cores for benchmarks that have two sides.
#pragma once

#include <sched.h>

#include <cstddef>

namespace qanat::perf {

// The calling thread to the n-th core that this process may use, or the last one.
inline void pin_to(size_t n) {
    static const cpu_set_t allowed = [] {
        cpu_set_t set;
        CPU_ZERO(&set);
        sched_getaffinity(0, sizeof set, &set);
        return set;
    }();
    cpu_set_t one;
    CPU_ZERO(&one);
    for (size_t core = 0, found = 0; core < CPU_SETSIZE && found <= n; ++core) {
        if (!CPU_ISSET(core, &allowed)) continue;
        CPU_ZERO(&one);
        CPU_SET(core, &one);
        ++found;
    }
    sched_setaffinity(0, sizeof one, &one);
}

}  // namespace qanat::perf
