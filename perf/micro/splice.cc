// What a relay's hop costs: splice(2) through a pipe beside recv and send through the burst buffer, over loopback TCP.
//
// hop_message: one message at a time through the two calls themselves: from which size on splicing pays.
// hop_bulk: the splice mover. s/GB is the CPU time of its thread.
#include <benchmark/benchmark.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cstdlib>

#include "dataplane/relay/splice_mover.h"
#include "perf/micro/hop.h"

namespace qanat::perf {
namespace {

using namespace dataplane;

enum class Way { copy, splice };

void hop_message(benchmark::State& state, Way way) {
    pin_to(0);
    Messages messages(static_cast<size_t>(state.range(0)));
    BurstBuffer burst;
    PipePool pipes(1, 256 * 1024);
    const PipeIndex pipe = pipes.acquire();
    if (pipe == kNoPipe) return state.SkipWithError("no pipe");
    measure_messages(state, messages, [&] {
        constexpr unsigned kFlags = SPLICE_F_MOVE | SPLICE_F_NONBLOCK;
        const size_t size = messages.size();
        if (way == Way::copy) {
            messages.through(::recv(messages.source(), burst.data(), kCopyMax, 0));
            messages.through(::send(messages.sink(), burst.data(), size, 0));
        } else {
            messages.through(
                ::splice(messages.source(), nullptr, pipes.write_end(pipe), nullptr, pipes.size(pipe), kFlags));
            messages.through(::splice(pipes.read_end(pipe), nullptr, messages.sink(), nullptr, size, kFlags));
        }
    });
}

void register_messages(benchmark::internal::Benchmark* benchmark) {
    for (const int64_t size : {64, 1024, 4096, 8192, 16384, 32768, 65536}) benchmark->Arg(size);
    benchmark->UseManualTime();
}
BENCHMARK_CAPTURE(hop_message, copy, Way::copy)->Apply(register_messages);
BENCHMARK_CAPTURE(hop_message, splice, Way::splice)->Apply(register_messages);

// The lanes of all streams, run in turn as an engine does.
class Hop {
public:
    Hop(const HopLoad& load, uint32_t pipes, uint32_t pipe_bytes) : load_(load), pipes_(pipes, pipe_bytes) {
        waits_.fill({.fd = -1, .events = 0, .revents = 0});
    }
    ~Hop() {
        for (SpliceLane& lane : lanes_) lane.release(pipes_, chunks_);
    }
    Hop(const Hop&) = delete;
    Hop& operator=(const Hop&) = delete;

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
        ++moves_;
        switch (splice_some(lanes_[i], {pipes_, chunks_, burst_}, load_.source(i), load_.sink(i), SIZE_MAX)) {
            case Move::wait_source:
                waits_[i] = {.fd = load_.source(i), .events = POLLIN, .revents = 0};
                break;
            case Move::wait_sink:
                waits_[i] = {.fd = load_.sink(i), .events = POLLOUT, .revents = 0};
                break;
            case Move::yield:
                waits_[i].fd = -1;
                break;
            default:
                std::abort();
        }
    }

    const HopLoad& load_;
    PipePool pipes_;
    ChunkPool chunks_{256};
    BurstBuffer burst_;
    std::array<SpliceLane, kStreams> lanes_;
    std::array<pollfd, kStreams> waits_;
    uint64_t moves_ = 0;
};

// Argument: KiB of a pipe, 0 = the pool is empty and all is copied.
void hop_bulk(benchmark::State& state) {
    const HopLoad load;
    pin_to(0);
    const auto pipe_bytes = static_cast<uint32_t>(state.range(0)) * 1024;
    Hop hop(load, pipe_bytes > 0 ? kStreams : 0, pipe_bytes);
    measure_bulk(state, load, hop);
}
BENCHMARK(hop_bulk)->ArgName("pipe_KiB")->Arg(0)->Arg(64)->Arg(128)->Arg(256)->Arg(512)->Arg(1024)->UseRealTime();

}  // namespace
}  // namespace qanat::perf
