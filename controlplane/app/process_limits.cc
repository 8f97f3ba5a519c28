#include "controlplane/app/process_limits.h"

#include <signal.h>
#include <sys/prctl.h>
#include <sys/resource.h>

#include <algorithm>
#include <filesystem>
#include <string>

namespace qanat::controlplane {

void harden_process() {
    const rlimit none{0, 0};
    ::setrlimit(RLIMIT_CORE, &none);
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
    // The leak check at exit has to read the process.
    ::prctl(PR_SET_DUMPABLE, 0);
#endif
    ::signal(SIGPIPE, SIG_IGN);
}

void raise_descriptor_limit(uint64_t wanted) {
    constexpr rlim_t kMeantBelow = 4096;  // no distribution's default is that small
    rlimit files{};
    if (::getrlimit(RLIMIT_NOFILE, &files) != 0) return;
    if (files.rlim_max >= kMeantBelow && files.rlim_max < wanted) {
        // Fails without CAP_SYS_RESOURCE, and above fs.nr_open.
        const rlimit raised{wanted, wanted};
        if (::setrlimit(RLIMIT_NOFILE, &raised) == 0) return;
    }
    files.rlim_cur = files.rlim_max;
    ::setrlimit(RLIMIT_NOFILE, &files);
}

void raise_locked_memory_limit() {
    const rlimit unlimited{RLIM_INFINITY, RLIM_INFINITY};
    if (::setrlimit(RLIMIT_MEMLOCK, &unlimited) == 0) return;
    rlimit memory{};
    if (::getrlimit(RLIMIT_MEMLOCK, &memory) != 0) return;
    memory.rlim_cur = memory.rlim_max;
    ::setrlimit(RLIMIT_MEMLOCK, &memory);
}

namespace {

std::optional<uint64_t> count_entries(const std::filesystem::path& directory) {
    std::error_code error;
    uint64_t count = 0;
    for (std::filesystem::directory_iterator entry(directory, error), end; !error && entry != end;
         entry.increment(error))
        ++count;
    if (error) return std::nullopt;
    return count;
}

}  // namespace

std::optional<uint64_t> count_descriptors(pid_t pid) {
    const auto tasks = std::filesystem::path("/proc") / std::to_string(pid) / "task";
    std::optional<uint64_t> most;
    std::error_code error;
    for (std::filesystem::directory_iterator task(tasks, error), end; !error && task != end; task.increment(error))
        most = std::max(most, count_entries(task->path() / "fd"));
    return most;
}

uint64_t descriptor_limit() {
    rlimit files{};
    return ::getrlimit(RLIMIT_NOFILE, &files) == 0 ? static_cast<uint64_t>(files.rlim_cur) : 0;
}

}  // namespace qanat::controlplane
