// What a relay's hop costs: splice(2) through a pipe beside recv and send through the burst buffer, over loopback TCP.
//
// hop_message: one message at a time through the two calls themselves, in one thread: from which size on splicing pays.
// hop_bulk: the splice mover between a process that sends and receives as fast as it can, on the next core, and itself;
// s/GB is this thread's CPU time. The kernel handles loopback packets in the sender's context, so the sink's share of
// TCP is in it.
#include <arpa/inet.h>
#include <benchmark/benchmark.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdlib>
#include <vector>

#include "common/base/unique_fd.h"
#include "dataplane/relay/splice_mover.h"
#include "perf/micro/pinning.h"

namespace qanat::perf {
namespace {

using namespace dataplane;

// Two ends of a non-blocking TCP connection.
struct Connection {
    Connection() {
        const UniqueFd listener(::socket(AF_INET, SOCK_STREAM, 0));
        sockaddr_in address{};
        address.sin_family = AF_INET;
        address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        socklen_t size = sizeof address;
        ::bind(listener.get(), reinterpret_cast<const sockaddr*>(&address), size);
        ::listen(listener.get(), 1);
        ::getsockname(listener.get(), reinterpret_cast<sockaddr*>(&address), &size);
        near.reset(::socket(AF_INET, SOCK_STREAM, 0));
        if (::connect(near.get(), reinterpret_cast<const sockaddr*>(&address), size) != 0) std::abort();
        far.reset(::accept(listener.get(), nullptr, nullptr));
        for (const int fd : {near.get(), far.get()}) {
            const int yes = 1;
            ::setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
            ::fcntl(fd, F_SETFL, O_NONBLOCK);
        }
    }
    UniqueFd near;
    UniqueFd far;
};

double cpu_s(clockid_t clock) {
    timespec now{};
    ::clock_gettime(clock, &now);
    return static_cast<double>(now.tv_sec) + static_cast<double>(now.tv_nsec) * 1e-9;
}
double thread_cpu_s() {
    return cpu_s(CLOCK_THREAD_CPUTIME_ID);
}

// ------------------------------------------------------------------------------------------------------- messages

class Messages {
public:
    explicit Messages(size_t size) : message_(size, 1) {}

    void send() { through(::send(in_.near.get(), message_.data(), message_.size(), 0)); }
    void receive() {
        size_t have = 0;
        while (have < message_.size()) {
            const ssize_t count = ::recv(out_.far.get(), message_.data(), message_.size(), 0);
            if (count > 0) have += static_cast<size_t>(count);
        }
    }
    [[nodiscard]] int source() const { return in_.far.get(); }
    [[nodiscard]] int sink() const { return out_.near.get(); }
    // Whole messages only, or their size would not be what is measured.
    void through(ssize_t count) {
        if (count != static_cast<ssize_t>(message_.size())) ++partial_;
    }
    [[nodiscard]] size_t partial() const { return partial_; }

private:
    Connection in_;
    Connection out_;
    std::vector<uint8_t> message_;
    size_t partial_ = 0;
};

enum class Way { copy, splice };

void hop_message(benchmark::State& state, Way way) {
    pin_to(0);
    const auto size = static_cast<size_t>(state.range(0));
    Messages messages(size);
    BurstBuffer burst;
    PipePool pipes(1, 256 * 1024);
    const PipeIndex pipe = pipes.acquire();
    if (pipe == kNoPipe) return state.SkipWithError("no pipe");
    const auto hop = [&] {
        constexpr unsigned kFlags = SPLICE_F_MOVE | SPLICE_F_NONBLOCK;
        if (way == Way::copy) {
            messages.through(::recv(messages.source(), burst.data(), kCopyMax, 0));
            messages.through(::send(messages.sink(), burst.data(), size, 0));
        } else {
            messages.through(
                ::splice(messages.source(), nullptr, pipes.write_end(pipe), nullptr, pipes.size(pipe), kFlags));
            messages.through(::splice(pipes.read_end(pipe), nullptr, messages.sink(), nullptr, size, kFlags));
        }
    };
    for (auto _ : state) {
        messages.send();
        const double before = thread_cpu_s();
        hop();
        state.SetIterationTime(thread_cpu_s() - before);
        messages.receive();
    }
    if (messages.partial() > 0) state.SkipWithError("a message did not go through in one piece");
    state.SetBytesProcessed(state.iterations() * state.range(0));
}

void register_messages(benchmark::internal::Benchmark* benchmark) {
    for (const int64_t size : {64, 1024, 4096, 8192, 16384, 32768, 65536}) benchmark->Arg(size);
    benchmark->UseManualTime();
}
BENCHMARK_CAPTURE(hop_message, copy, Way::copy)->Apply(register_messages);
BENCHMARK_CAPTURE(hop_message, splice, Way::splice)->Apply(register_messages);

// ----------------------------------------------------------------------------------------------------------- bulk

constexpr size_t kStreams = 4;
constexpr uint64_t kStep = 64 << 20;

struct BulkStream {
    Connection in;
    Connection out;
    [[nodiscard]] int source() const { return in.far.get(); }
    [[nodiscard]] int sink() const { return out.near.get(); }
};

// Another process that fills the sources and empties the sinks.
class Load {
public:
    Load() : child_(::fork()) {
        if (child_ == 0) run();
    }
    ~Load() {
        ::kill(child_, SIGKILL);
        ::waitpid(child_, nullptr, 0);
    }
    Load(const Load&) = delete;
    Load& operator=(const Load&) = delete;
    [[nodiscard]] double cpu_used_s() const {
        clockid_t clock{};
        return ::clock_getcpuclockid(child_, &clock) == 0 ? cpu_s(clock) : 0;
    }
    [[nodiscard]] const BulkStream& stream(size_t i) const { return streams_[i]; }

private:
    [[noreturn]] void run() {
        ::prctl(PR_SET_PDEATHSIG, SIGKILL);
        pin_to(1);
        std::vector<uint8_t> buffer(256 * 1024);
        std::vector<pollfd> ends;
        for (const BulkStream& stream : streams_) {
            ends.push_back({.fd = stream.in.near.get(), .events = POLLOUT, .revents = 0});
            ends.push_back({.fd = stream.out.far.get(), .events = POLLIN, .revents = 0});
        }
        while (::poll(ends.data(), ends.size(), -1) > 0) {
            for (const pollfd& end : ends) {
                if ((end.revents & POLLOUT) != 0) (void)!::send(end.fd, buffer.data(), buffer.size(), MSG_NOSIGNAL);
                // Thrown away without a copy, so that the hop has more to do than its load.
                if ((end.revents & POLLIN) != 0) (void)!::recv(end.fd, nullptr, kStep, MSG_TRUNC);
            }
        }
        ::_exit(0);
    }

    std::array<BulkStream, kStreams> streams_;
    pid_t child_;
};

// The lanes of all streams, run in turn as an engine does.
class Hop {
public:
    Hop(const Load& load, uint32_t pipes, uint32_t pipe_bytes) : load_(load), pipes_(pipes, pipe_bytes) {
        waits_.fill({.fd = -1, .events = 0, .revents = 0});
    }
    ~Hop() {
        for (SpliceLane& lane : lanes_) lane.release(pipes_, chunks_);
    }
    Hop(const Hop&) = delete;
    Hop& operator=(const Hop&) = delete;

    // Moves at least kStep bytes.
    void step() {
        const uint64_t goal = bytes() + kStep;
        while (bytes() < goal) {
            const bool yielded = std::any_of(waits_.begin(), waits_.end(), [](const pollfd& w) { return w.fd < 0; });
            ::poll(waits_.data(), waits_.size(), yielded ? 0 : -1);
            for (size_t i = 0; i < kStreams; ++i)
                if (waits_[i].fd < 0 || waits_[i].revents != 0) move(i);
        }
    }
    [[nodiscard]] uint64_t bytes() const {
        uint64_t sum = 0;
        for (const SpliceLane& lane : lanes_) sum += lane.bytes;
        return sum;
    }
    [[nodiscard]] uint64_t moves() const { return moves_; }

private:
    void move(size_t i) {
        const BulkStream& stream = load_.stream(i);
        ++moves_;
        switch (splice_some(lanes_[i], {pipes_, chunks_, burst_}, stream.source(), stream.sink(), SIZE_MAX)) {
            case Move::wait_source:
                waits_[i] = {.fd = stream.source(), .events = POLLIN, .revents = 0};
                break;
            case Move::wait_sink:
                waits_[i] = {.fd = stream.sink(), .events = POLLOUT, .revents = 0};
                break;
            case Move::yield:
                waits_[i].fd = -1;
                break;
            default:
                std::abort();
        }
    }

    const Load& load_;
    PipePool pipes_;
    ChunkPool chunks_{256};
    BurstBuffer burst_;
    std::array<SpliceLane, kStreams> lanes_;
    std::array<pollfd, kStreams> waits_;
    uint64_t moves_ = 0;
};

// Argument: KiB of a pipe, 0 = the pool is empty and all is copied.
void hop_bulk(benchmark::State& state) {
    const Load load;
    pin_to(0);
    const auto pipe_bytes = static_cast<uint32_t>(state.range(0)) * 1024;
    Hop hop(load, pipe_bytes > 0 ? kStreams : 0, pipe_bytes);
    for (int i = 0; i < 4; ++i) hop.step();  // until the sockets' buffers have grown
    const uint64_t bytes_before = hop.bytes();
    const uint64_t moves_before = hop.moves();
    const double cpu_before = thread_cpu_s();
    const double load_before = load.cpu_used_s();
    for (auto _ : state) hop.step();
    const auto moved = static_cast<double>(hop.bytes() - bytes_before);
    const double cpu = thread_cpu_s() - cpu_before;
    state.counters["s/GB"] = cpu / moved * 1e9;
    state.counters["both"] = (cpu + load.cpu_used_s() - load_before) / moved * 1e9;
    state.counters["KiB/move"] = moved / 1024 / static_cast<double>(hop.moves() - moves_before);
    state.SetBytesProcessed(static_cast<int64_t>(moved));
}
BENCHMARK(hop_bulk)->ArgName("pipe_KiB")->Arg(0)->Arg(64)->Arg(128)->Arg(256)->Arg(512)->Arg(1024)->UseRealTime();

}  // namespace
}  // namespace qanat::perf
