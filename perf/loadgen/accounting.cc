#include "perf/loadgen/accounting.h"

#include <dirent.h>
#include <unistd.h>

#include <cstdlib>
#include <ctime>
#include <fstream>
#include <sstream>

#include "perf/loadgen/event_loop.h"
#include "perf/loadgen/fatal.h"

namespace qanat::loadgen {
namespace {

struct ProcessLine {
    int parent = 0;
    std::string name;
    uint64_t children_ticks = 0;  // of children that were waited for
    uint64_t threads = 0;
};

std::map<int, ProcessLine> all_processes() {
    std::map<int, ProcessLine> found;
    DIR* proc = opendir("/proc");
    if (proc == nullptr) return found;
    while (const dirent* entry = readdir(proc)) {
        const int pid = std::atoi(entry->d_name);
        if (pid <= 0) continue;
        std::ifstream file("/proc/" + std::to_string(pid) + "/stat");
        std::string text;
        if (!std::getline(file, text)) continue;
        const size_t open = text.find('(');
        const size_t close = text.rfind(')');
        if (open == std::string::npos || close == std::string::npos) continue;
        ProcessLine line;
        line.name = text.substr(open + 1, close - open - 1);
        std::istringstream rest(text.substr(close + 2));
        std::string field;
        for (int number = 3; rest >> field; ++number) {  // numbered as in proc(5)
            if (number == 4) line.parent = std::atoi(field.c_str());
            if (number == 16 || number == 17) line.children_ticks += std::strtoull(field.c_str(), nullptr, 10);
            if (number == 20) line.threads = std::strtoull(field.c_str(), nullptr, 10);
        }
        found[pid] = line;
    }
    closedir(proc);
    return found;
}

double cpu_clock_seconds(int pid) {
    clockid_t clock{};
    timespec time{};
    if (clock_getcpuclockid(pid, &clock) != 0 || clock_gettime(clock, &time) != 0) return 0;
    return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_nsec) * 1e-9;
}

// The value of "key: N kB" in a file of /proc; 0 when it is not there.
uint64_t kib_of(const std::string& path, const std::string& key) {
    std::ifstream file(path);
    std::string line;
    while (std::getline(file, line))
        if (line.compare(0, key.size(), key) == 0 && line.size() > key.size() && line[key.size()] == ':')
            return std::strtoull(line.c_str() + key.size() + 1, nullptr, 10);
    return 0;
}

uint64_t memory_of(int pid) {
    const std::string base = "/proc/" + std::to_string(pid);
    const uint64_t pss = kib_of(base + "/smaps_rollup", "Pss");
    return pss > 0 ? pss : kib_of(base + "/status", "VmRSS");
}

std::vector<double> busy_seconds_per_core() {
    std::vector<double> busy;
    std::ifstream file("/proc/stat");
    std::string line;
    const auto tick = 1.0 / static_cast<double>(sysconf(_SC_CLK_TCK));
    while (std::getline(file, line)) {
        if (line.compare(0, 3, "cpu") != 0 || line.size() < 4 || line[3] == ' ') continue;
        std::istringstream fields(line.substr(line.find(' ')));
        uint64_t value = 0;
        uint64_t sum = 0;
        for (int n = 0; fields >> value && n < 8; ++n)
            if (n != 3 && n != 4) sum += value;  // not idle, not iowait; stolen time counts
        busy.push_back(static_cast<double>(sum) * tick);
    }
    return busy;
}

}  // namespace

double Snapshot::cpu_seconds() const {
    double sum = 0;
    for (const auto& [label, usage] : parts) sum += usage.cpu_seconds;
    return sum;
}

uint64_t Snapshot::memory_kib() const {
    uint64_t sum = 0;
    for (const auto& [label, usage] : parts) sum += usage.memory_kib;
    return sum;
}

void Accounting::add_root(const std::string& label_and_pid) {
    const size_t equals = label_and_pid.find('=');
    const int pid = equals == std::string::npos ? 0 : std::atoi(label_and_pid.c_str() + equals + 1);
    if (pid <= 0) fatal("--account takes LABEL=PID, not " + label_and_pid);
    roots_.emplace_back(label_and_pid.substr(0, equals), pid);
}

Snapshot Accounting::take(bool with_memory) const {
    Snapshot snapshot;
    const std::map<int, ProcessLine> processes = roots_.empty() ? std::map<int, ProcessLine>{} : all_processes();
    const auto tick = 1.0 / static_cast<double>(sysconf(_SC_CLK_TCK));
    snapshot.when_ns = now_ns();
    for (const auto& [pid, line] : processes) {
        const std::string* label = nullptr;
        for (int at = pid; at > 1 && label == nullptr;) {
            for (const auto& [name, root] : roots_)
                if (root == at) label = &name;
            const auto parent = processes.find(at);
            at = parent == processes.end() ? 0 : parent->second.parent;
        }
        if (label == nullptr) continue;
        Usage usage;
        usage.cpu_seconds = cpu_clock_seconds(pid) + static_cast<double>(line.children_ticks) * tick;
        usage.processes = 1;
        usage.threads = line.threads;
        if (with_memory) usage.memory_kib = memory_of(pid);
        for (Usage* sum : {&snapshot.parts[*label], &snapshot.programs[*label + "/" + line.name]}) {
            sum->cpu_seconds += usage.cpu_seconds;
            sum->memory_kib += usage.memory_kib;
            sum->processes += usage.processes;
            sum->threads += usage.threads;
        }
    }
    snapshot.core_busy_seconds = busy_seconds_per_core();
    if (with_memory) snapshot.kernel_slab_kib = kib_of("/proc/meminfo", "Slab");
    return snapshot;
}

}  // namespace qanat::loadgen
