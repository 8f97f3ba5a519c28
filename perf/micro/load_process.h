// The other side of a benchmark, in a process of its own on the next core, so that its CPU time is nobody else's.
#pragma once

#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "perf/micro/pinning.h"

namespace qanat::perf {

inline double cpu_s(clockid_t clock) {
    timespec now{};
    ::clock_gettime(clock, &now);
    return static_cast<double>(now.tv_sec) + static_cast<double>(now.tv_nsec) * 1e-9;
}
inline double thread_cpu_s() {
    return cpu_s(CLOCK_THREAD_CPUTIME_ID);
}
// With the kernel's worker threads for this process's io_urings; load processes have clocks of their own.
inline double process_cpu_s() {
    return cpu_s(CLOCK_PROCESS_CPUTIME_ID);
}

class LoadProcess {
public:
    // `run` is not expected to return: the destructor ends the process.
    template <class Run>
    explicit LoadProcess(Run run) : child_(::fork()) {
        if (child_ != 0) return;
        ::prctl(PR_SET_PDEATHSIG, SIGKILL);
        pin_to(1);
        run();
        ::_exit(1);
    }
    ~LoadProcess() {
        ::kill(child_, SIGKILL);
        ::waitpid(child_, nullptr, 0);
    }
    LoadProcess(const LoadProcess&) = delete;
    LoadProcess& operator=(const LoadProcess&) = delete;

    [[nodiscard]] double cpu_used_s() const {
        clockid_t clock{};
        return ::clock_getcpuclockid(child_, &clock) == 0 ? cpu_s(clock) : 0;
    }

private:
    pid_t child_;
};

}  // namespace qanat::perf
