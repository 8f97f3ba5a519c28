// Accounting: what the measured processes cost, as the kernel counts it.
//
// CPU time comes from each process's CPU clock (nanoseconds, ended threads included) and, for children that have been
// waited for, from the parent's own count of them. Loopback TCP is processed in the context of whoever sends, so the
// kernel's share is in these figures. Memory is PSS, or RSS where PSS may not be read.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <utility>
#include <vector>

namespace qanat::loadgen {

struct Usage {
    double cpu_seconds = 0;
    uint64_t memory_kib = 0;
    uint64_t processes = 0;
    uint64_t threads = 0;
};

struct Snapshot {
    uint64_t when_ns = 0;
    std::map<std::string, Usage> parts;     // by the label of the root
    std::map<std::string, Usage> programs;  // by "label/program name"
    std::vector<double> core_busy_seconds;  // since boot, per core, everybody
    uint64_t kernel_slab_kib = 0;           // of the whole machine

    [[nodiscard]] double cpu_seconds() const;
    [[nodiscard]] uint64_t memory_kib() const;
};

class Accounting {
public:
    // label=PID, as often as needed; the process and all its descendants count under the label.
    void add_root(const std::string& label_and_pid);

    [[nodiscard]] Snapshot take(bool with_memory) const;

private:
    std::vector<std::pair<std::string, int>> roots_;
};

}  // namespace qanat::loadgen
