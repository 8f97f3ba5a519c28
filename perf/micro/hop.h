// What the hops of splice.cc and uring_splice.cc are given to carry, and how their cost is taken.
//
// measure_messages: one message at a time, sent and received by the hop's own thread.
// measure_bulk: streams between a process that sends and receives as fast as it can, on the next core, and itself. The
// kernel handles loopback packets in the sender's context, so the sink's share of TCP is in the hop's figure.
#pragma once

#include <benchmark/benchmark.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include <array>
#include <cstdint>
#include <cstdlib>
#include <vector>

#include "perf/micro/connection.h"
#include "perf/micro/load_process.h"

namespace qanat::perf {

// ------------------------------------------------------------------------------------------------------- messages

class Messages {
public:
    explicit Messages(size_t size) : message_(size, 1) {}

    void send() {
        through(::send(in_.near.get(), message_.data(), message_.size(), 0));
        // All of it has to be there, or a hop would move a part: on a busy machine the kernel may deliver it later.
        for (int there = 0; there < static_cast<int>(message_.size());)
            if (::ioctl(source(), FIONREAD, &there) != 0) std::abort();
    }
    void receive() {
        size_t have = 0;
        while (have < message_.size()) {
            const ssize_t count = ::recv(out_.far.get(), message_.data(), message_.size(), 0);
            if (count > 0) have += static_cast<size_t>(count);
        }
    }
    [[nodiscard]] size_t size() const { return message_.size(); }
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

// An iteration's time: this thread's between the calls of `hop`, and all that other threads of the process have used
// meanwhile. Workers go to sleep only after the hop has its answer, so theirs is taken over the whole iteration.
template <class Hop>
void measure_messages(benchmark::State& state, Messages& messages, Hop hop) {
    const auto workers_s = [] { return process_cpu_s() - thread_cpu_s(); };
    double workers_before = workers_s();
    for (auto _ : state) {
        messages.send();
        const double before = thread_cpu_s();
        hop();
        const double own = thread_cpu_s() - before;
        if (messages.partial() > 0) return state.SkipWithError("a message did not go through in one piece");
        messages.receive();
        const double workers_after = workers_s();
        state.SetIterationTime(own + workers_after - workers_before);
        workers_before = workers_after;
    }
    state.SetBytesProcessed(state.iterations() * static_cast<int64_t>(messages.size()));
}

// ----------------------------------------------------------------------------------------------------------- bulk

constexpr size_t kStreams = 4;
constexpr uint64_t kStep = 64 << 20;

// Another process that fills the sources and empties the sinks.
class HopLoad {
public:
    HopLoad() : process_([this] { run(); }) {}

    [[nodiscard]] double cpu_used_s() const { return process_.cpu_used_s(); }
    [[nodiscard]] int source(size_t i) const { return streams_[i].in.far.get(); }
    [[nodiscard]] int sink(size_t i) const { return streams_[i].out.near.get(); }

private:
    struct Stream {
        Connection in;
        Connection out;
    };

    void run() const {
        std::vector<uint8_t> buffer(256 * 1024);
        std::vector<pollfd> ends;
        for (const Stream& stream : streams_) {
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
    }

    std::array<Stream, kStreams> streams_;
    LoadProcess process_;
};

// `hop` has step(), which moves at least kStep bytes, and counts bytes() and moves().
template <class Hop>
void measure_bulk(benchmark::State& state, const HopLoad& load, Hop& hop) {
    for (int i = 0; i < 4; ++i) hop.step();  // until the sockets' buffers have grown
    const uint64_t bytes_before = hop.bytes();
    const uint64_t moves_before = hop.moves();
    const double cpu_before = process_cpu_s();
    const double own_before = thread_cpu_s();
    const double load_before = load.cpu_used_s();
    for (auto _ : state) hop.step();
    const auto moved = static_cast<double>(hop.bytes() - bytes_before);
    const double cpu = process_cpu_s() - cpu_before;
    state.counters["s/GB"] = cpu / moved * 1e9;
    state.counters["own"] = (thread_cpu_s() - own_before) / moved * 1e9;
    state.counters["both"] = (cpu + load.cpu_used_s() - load_before) / moved * 1e9;
    state.counters["KiB/move"] = moved / 1024 / static_cast<double>(hop.moves() - moves_before);
    state.SetBytesProcessed(static_cast<int64_t>(moved));
}

}  // namespace qanat::perf
