// The hop of splice.cc by io_uring: IORING_OP_SPLICE from the source into a pipe, linked to one from the pipe into the
// sink, both submitted at once.
//
// The kernel never does this operation in place: it hands each one to a worker thread of the process (io-wq). So s/GB
// and an iteration's time have the CPU time of all threads in them; "own" is the submitting thread's. Workers run on
// any core unless told otherwise, so beside the load; "own_core" keeps them on the hop's, the only one that an engine
// may count as its own. "plain_ring" has them there as well, and none of the engine's flags on the ring: with those the
// second operation of a pair starts only after the submitting thread has seen the first one end.
#include <benchmark/benchmark.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>

#include <array>
#include <cerrno>
#include <cstdlib>

#include "dataplane/engine/pipe_pool.h"
#include "perf/micro/bench_ring.h"
#include "perf/micro/hop.h"

namespace qanat::perf {
namespace {

using namespace dataplane;

enum class Workers { anywhere, own_core };

enum Operation : uint64_t { kPoll, kFill, kDrain, kOperations };

// Queues chains of operations. They complete with `lane * kOperations + operation`.
class Splicer {
public:
    Splicer(Workers workers, unsigned flags) : ring_(flags) {
        if (workers == Workers::anywhere || !ring_.open()) return;
        cpu_set_t own;
        ::sched_getaffinity(0, sizeof own, &own);  // the caller is pinned
        if (io_uring_register_iowq_aff(ring_.get(), sizeof own, &own) != 0) std::abort();
    }
    [[nodiscard]] BenchRing& ring() { return ring_; }

    // What is queued next starts when `fd` is ready.
    void poll(size_t lane, int fd, unsigned events) {
        io_uring_sqe* const sqe = ring_.next_sqe();
        io_uring_prep_poll_add(sqe, fd, events);
        queue(sqe, lane, kPoll, IOSQE_IO_LINK | IOSQE_CQE_SKIP_SUCCESS);
    }
    // Linked hard: a splice of fewer bytes than asked for counts as failed, and would cancel the drain. How many bytes
    // there are is not known before.
    void fill(size_t lane, int source, int pipe, unsigned size) {
        splice(lane, kFill, source, pipe, size, IOSQE_IO_HARDLINK);
    }
    void drain(size_t lane, int pipe, int sink, unsigned size) { splice(lane, kDrain, pipe, sink, size, 0); }

private:
    void splice(size_t lane, Operation operation, int from, int to, unsigned size, unsigned flags) {
        io_uring_sqe* const sqe = ring_.next_sqe();
        io_uring_prep_splice(sqe, from, -1, to, -1, size, SPLICE_F_MOVE | SPLICE_F_NONBLOCK);
        queue(sqe, lane, operation, flags);
    }
    static void queue(io_uring_sqe* sqe, size_t lane, Operation operation, unsigned flags) {
        sqe->flags |= static_cast<uint8_t>(flags);
        sqe->user_data = lane * kOperations + operation;
    }

    BenchRing ring_;
};

void uring_hop_message(benchmark::State& state, Workers workers, unsigned flags) {
    pin_to(0);
    Messages messages(static_cast<size_t>(state.range(0)));
    Splicer splicer(workers, flags);
    if (!splicer.ring().open()) return state.SkipWithError("no io_uring");
    PipePool pipes(1, 256 * 1024);
    const PipeIndex pipe = pipes.acquire();
    if (pipe == kNoPipe) return state.SkipWithError("no pipe");
    measure_messages(state, messages, [&] {
        splicer.fill(0, messages.source(), pipes.write_end(pipe), pipes.size(pipe));
        splicer.drain(0, pipes.read_end(pipe), messages.sink(), pipes.size(pipe));
        for (unsigned ended = 0; ended < 2;) {
            splicer.ring().turn(true, [&](const io_uring_cqe& cqe) {
                ++ended;
                messages.through(cqe.res);
            });
        }
    });
}

// All streams at once, each with at most one chain. Waits for what splice_some waits for.
class UringHop {
public:
    UringHop(const HopLoad& load, Splicer& splicer, uint32_t pipe_bytes)
        : load_(load), splicer_(splicer), pipes_(kStreams, pipe_bytes) {
        for (size_t i = 0; i < kStreams; ++i) {
            lanes_[i].pipe = pipes_.acquire();
            if (lanes_[i].pipe == kNoPipe) std::abort();
            read(i, true);
        }
    }

    void step() {
        const uint64_t goal = bytes_ + kStep;
        while (bytes_ < goal) {
            splicer_.ring().turn(true, [this](const io_uring_cqe& cqe) {
                const size_t i = cqe.user_data / kOperations;
                switch (cqe.user_data % kOperations) {
                    case kFill:
                        return filled(i, cqe.res);
                    case kDrain:
                        return drained(i, cqe.res);
                    default:
                        std::abort();  // polls say something only when they fail
                }
            });
        }
    }
    [[nodiscard]] uint64_t bytes() const { return bytes_; }
    [[nodiscard]] uint64_t moves() const { return moves_; }

private:
    struct Lane {
        PipeIndex pipe = kNoPipe;
        uint32_t in_pipe = 0;
        bool burst_full = false;
    };

    void read(size_t i, bool wait) {
        const PipeIndex pipe = lanes_[i].pipe;
        if (wait) splicer_.poll(i, load_.source(i), POLLIN);
        splicer_.fill(i, load_.source(i), pipes_.write_end(pipe), pipes_.size(pipe));
        write(i);
        ++moves_;
    }
    void write(size_t i) {
        const PipeIndex pipe = lanes_[i].pipe;
        splicer_.drain(i, pipes_.read_end(pipe), load_.sink(i), pipes_.size(pipe));
    }

    void filled(size_t i, int32_t result) {
        if (result == 0 || (result < 0 && result != -EAGAIN)) std::abort();
        const uint32_t count = result > 0 ? static_cast<uint32_t>(result) : 0;
        lanes_[i].in_pipe = count;
        lanes_[i].burst_full = count >= pipes_.size(lanes_[i].pipe) / 4096 * 1448;  // as splice_some has it
        bytes_ += count;
    }
    void drained(size_t i, int32_t result) {
        if (result < 0 && result != -EAGAIN) std::abort();
        Lane& lane = lanes_[i];
        if (result > 0) lane.in_pipe -= static_cast<uint32_t>(result);
        if (lane.in_pipe == 0) return read(i, !lane.burst_full);
        ++moves_;
        splicer_.poll(i, load_.sink(i), POLLOUT);
        write(i);
    }

    const HopLoad& load_;
    Splicer& splicer_;
    PipePool pipes_;
    std::array<Lane, kStreams> lanes_;
    uint64_t bytes_ = 0;
    uint64_t moves_ = 0;
};

void uring_hop_bulk(benchmark::State& state, Workers workers, unsigned flags) {
    const HopLoad load;
    pin_to(0);
    Splicer splicer(workers, flags);
    if (!splicer.ring().open()) return state.SkipWithError("no io_uring");
    UringHop hop(load, splicer, static_cast<uint32_t>(state.range(0)) * 1024);
    measure_bulk(state, load, hop);
}

void register_messages(benchmark::internal::Benchmark* benchmark) {
    for (const int64_t size : {64, 16384, 65536}) benchmark->Arg(size);
    benchmark->UseManualTime();
}
void register_bulk(benchmark::internal::Benchmark* benchmark) {
    benchmark->ArgName("pipe_KiB")->Arg(256)->Arg(512)->UseRealTime();
}
constexpr unsigned kPlain = 0;
BENCHMARK_CAPTURE(uring_hop_message, anywhere, Workers::anywhere, BenchRing::kEngineFlags)->Apply(register_messages);
BENCHMARK_CAPTURE(uring_hop_message, own_core, Workers::own_core, BenchRing::kEngineFlags)->Apply(register_messages);
BENCHMARK_CAPTURE(uring_hop_message, plain_ring, Workers::own_core, kPlain)->Apply(register_messages);
BENCHMARK_CAPTURE(uring_hop_bulk, anywhere, Workers::anywhere, BenchRing::kEngineFlags)->Apply(register_bulk);
BENCHMARK_CAPTURE(uring_hop_bulk, own_core, Workers::own_core, BenchRing::kEngineFlags)->Apply(register_bulk);
BENCHMARK_CAPTURE(uring_hop_bulk, plain_ring, Workers::own_core, kPlain)->Apply(register_bulk);

}  // namespace
}  // namespace qanat::perf
