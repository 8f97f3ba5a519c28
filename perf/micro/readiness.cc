// Readiness: what the engine's way of reading costs beside its alternatives, over loopback TCP (receivers.h has them).
//
// answer_messages: requests of 64 bytes, answered with as many, between two processes; "us" is the answering thread's
// CPU time per message. answer_alone: the same with no other thread, so that no wake-ups are in it.
// take_bulk: four streams as fast as they come, every byte read and written once where it lies, as a cipher does.
#include <benchmark/benchmark.h>
#include <poll.h>
#include <sys/socket.h>

#include <array>
#include <cstdint>
#include <cstdlib>
#include <span>
#include <string>
#include <vector>

#include "perf/micro/connection.h"
#include "perf/micro/load_process.h"
#include "perf/micro/receivers.h"

namespace qanat::perf {
namespace {

class Connections {
public:
    explicit Connections(size_t count) : connections_(count) {
        for (const Connection& connection : connections_) {
            near_.push_back({.fd = connection.near.get(), .events = 0, .revents = 0});
            far_.push_back(connection.far.get());
        }
    }
    [[nodiscard]] std::span<const int> far() const { return far_; }
    [[nodiscard]] std::vector<pollfd> near(short events) const {
        std::vector<pollfd> ends = near_;
        for (pollfd& end : ends) end.events = events;
        return ends;
    }

private:
    std::vector<Connection> connections_;
    std::vector<pollfd> near_;
    std::vector<int> far_;
};

// ------------------------------------------------------------------------------------------------------- messages

constexpr size_t kMessage = 64;
constexpr size_t kMessageBurst = 16 * 1024;
using Message = std::array<uint8_t, kMessage>;

void send_message(int fd) {
    static constexpr Message kText{};
    if (::send(fd, kText.data(), kMessage, MSG_NOSIGNAL) != kMessage) std::abort();
}
bool receive_message(int fd) {
    Message message;
    return ::recv(fd, message.data(), kMessage, 0) == kMessage;
}

enum class Answer { send, ring };

// Answers whatever a turn brings.
template <class Receiver, Answer kAnswer>
class Answerer {
public:
    explicit Answerer(std::span<const int> fds) : fds_(fds), receiver_(fds, kMessageBurst) {}

    void turn() {
        ++turns_;
        receiver_.turn([this](size_t i, MutableBytes bytes) {
            if (bytes.size() != kMessage) std::abort();
            ++messages_;
            if constexpr (kAnswer == Answer::send)
                send_message(fds_[i]);
            else
                queue_answer(i);
        });
    }
    // Answers by the ring go out with the next turn otherwise.
    void flush() {
        if constexpr (kAnswer == Answer::ring) io_uring_submit(receiver_.ring().get());
    }
    [[nodiscard]] uint64_t messages() const { return messages_; }
    [[nodiscard]] uint64_t turns() const { return turns_; }

private:
    void queue_answer(size_t i) {
        static constexpr Message kText{};
        io_uring_sqe* const sqe = receiver_.ring().next_sqe();
        io_uring_prep_send(sqe, fds_[i], kText.data(), kMessage, MSG_NOSIGNAL);
        // A failure looks like one of the receiver's, and ends the program like one.
        sqe->flags |= IOSQE_CQE_SKIP_SUCCESS;
        sqe->user_data = i;
    }

    std::span<const int> fds_;
    Receiver receiver_;
    uint64_t messages_ = 0;
    uint64_t turns_ = 0;
};

// Argument: connections, each with one request at a time.
template <class Receiver, Answer kAnswer>
void answer_messages(benchmark::State& state) {
    if (!BenchRing().open()) return state.SkipWithError("no io_uring");
    constexpr uint64_t kStep = 256;
    const Connections connections(static_cast<size_t>(state.range(0)));
    const LoadProcess load([&connections] {
        std::vector<pollfd> ends = connections.near(POLLIN);
        for (const pollfd& end : ends) send_message(end.fd);
        // Never sleeps: waking it up would be the receiver's work, and in a virtual machine ten times all the rest.
        while (::poll(ends.data(), ends.size(), 0) >= 0) {
            for (const pollfd& end : ends)
                if (end.revents != 0 && receive_message(end.fd)) send_message(end.fd);
        }
    });
    pin_to(0);
    Answerer<Receiver, kAnswer> answerer(connections.far());
    const auto step = [&] {
        const uint64_t goal = answerer.messages() + kStep;
        while (answerer.messages() < goal) answerer.turn();
    };
    step();
    const uint64_t messages_before = answerer.messages();
    const uint64_t turns_before = answerer.turns();
    const double cpu_before = thread_cpu_s();
    for (auto _ : state) step();
    const auto answered = static_cast<double>(answerer.messages() - messages_before);
    state.counters["us"] = (thread_cpu_s() - cpu_before) * 1e6 / answered;
    state.counters["per_turn"] = answered / static_cast<double>(answerer.turns() - turns_before);
}

// Argument: connections, all of which have a request when the turn begins. Answers by the ring pay for a system call
// here that would have been the next turn's.
template <class Receiver, Answer kAnswer>
void answer_alone(benchmark::State& state) {
    if (!BenchRing().open()) return state.SkipWithError("no io_uring");
    pin_to(0);
    const Connections connections(static_cast<size_t>(state.range(0)));
    Answerer<Receiver, kAnswer> answerer(connections.far());
    const std::vector<pollfd> ends = connections.near(POLLIN);
    uint64_t goal = 0;
    double cpu = 0;
    for (auto _ : state) {
        for (const pollfd& end : ends) send_message(end.fd);
        goal += ends.size();
        const double before = thread_cpu_s();
        while (answerer.messages() < goal) answerer.turn();
        answerer.flush();
        const double used = thread_cpu_s() - before;
        cpu += used;
        state.SetIterationTime(used);
        for (const pollfd& end : ends)
            while (!receive_message(end.fd)) {
            }
    }
    state.counters["us"] = cpu * 1e6 / static_cast<double>(goal);
}

// ----------------------------------------------------------------------------------------------------------- bulk

template <class Receiver>
void take_bulk(benchmark::State& state) {
    if (!BenchRing().open()) return state.SkipWithError("no io_uring");
    constexpr size_t kStreams = 4;
    constexpr uint64_t kStep = 64 << 20;
    const Connections connections(kStreams);
    const LoadProcess load([&connections] {
        const std::vector<uint8_t> buffer(256 * 1024);
        std::vector<pollfd> ends = connections.near(POLLOUT);
        while (::poll(ends.data(), ends.size(), -1) > 0) {
            for (const pollfd& end : ends)
                if (end.revents != 0) (void)!::send(end.fd, buffer.data(), buffer.size(), MSG_NOSIGNAL);
        }
    });
    pin_to(0);
    Receiver receiver(connections.far(), 256 * 1024);
    uint64_t taken = 0;
    uint64_t bursts = 0;
    const auto step = [&] {
        const uint64_t goal = taken + kStep;
        while (taken < goal) {
            receiver.turn([&](size_t, MutableBytes bytes) {
                for (uint8_t& byte : bytes) byte ^= 0x5A;
                benchmark::ClobberMemory();
                taken += bytes.size();
                ++bursts;
            });
        }
    };
    for (int i = 0; i < 4; ++i) step();  // until the sockets' buffers have grown
    const uint64_t taken_before = taken;
    const uint64_t bursts_before = bursts;
    const double cpu_before = thread_cpu_s();
    const double load_before = load.cpu_used_s();
    for (auto _ : state) step();
    const auto bytes = static_cast<double>(taken - taken_before);
    const double cpu = thread_cpu_s() - cpu_before;
    state.counters["s/GB"] = cpu / bytes * 1e9;
    state.counters["both"] = (cpu + load.cpu_used_s() - load_before) / bytes * 1e9;
    state.counters["KiB/burst"] = bytes / 1024 / static_cast<double>(bursts - bursts_before);
    state.SetBytesProcessed(static_cast<int64_t>(bytes));
}

// -------------------------------------------------------------------------------------------------------- variants

using OneShot = PollReceiver<false>;
using Multishot = PollReceiver<true>;

template <class Receiver, Answer kAnswer>
void register_messages(const std::string& way) {
    for (const int64_t connections : {1, 64}) {
        benchmark::RegisterBenchmark(("answer_messages/" + way).c_str(), answer_messages<Receiver, kAnswer>)
            ->Arg(connections)
            ->UseRealTime();
        benchmark::RegisterBenchmark(("answer_alone/" + way).c_str(), answer_alone<Receiver, kAnswer>)
            ->Arg(connections)
            ->UseManualTime();
    }
}
template <class Receiver>
void register_bulk(const std::string& way) {
    benchmark::RegisterBenchmark(("take_bulk/" + way).c_str(), take_bulk<Receiver>)->UseRealTime();
}

[[maybe_unused]] const bool kRegistered = [] {
    register_messages<OneShot, Answer::send>("poll");
    register_messages<Multishot, Answer::send>("poll_multishot");
    register_messages<RecvReceiver, Answer::send>("recv");
    register_messages<ProvidedMany, Answer::send>("recv_multishot");
    register_messages<ProvidedMany, Answer::ring>("recv_multishot_send_by_ring");
    register_bulk<OneShot>("poll");
    register_bulk<Multishot>("poll_multishot");
    register_bulk<RecvReceiver>("recv");
    register_bulk<ProvidedFew>("recv_multishot_1_MiB");
    register_bulk<ProvidedMany>("recv_multishot_8_MiB");
    return true;
}();

}  // namespace
}  // namespace qanat::perf
