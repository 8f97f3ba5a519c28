// SpliceMover: one lane between two connections that the test reads and writes at their far ends, with pools of which
// nothing may be kept.
#pragma once

#include <arpa/inet.h>
#include <fcntl.h>
#include <gtest/gtest.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <chrono>
#include <csignal>
#include <random>
#include <string>
#include <vector>

#include "common/base/unique_fd.h"
#include "dataplane/engine/socket.h"
#include "dataplane/relay/splice_mover.h"

namespace qanat::dataplane::testing {

enum class Kind { tcp, tcp_small, unix_pair };

// A connection of two non-blocking ends.
struct Connection {
    explicit Connection(Kind kind) {
        kind == Kind::unix_pair ? open_pair() : open_tcp(kind == Kind::tcp_small);
        for (const int fd : {near.get(), far.get()}) {
            EXPECT_EQ(::fcntl(fd, F_SETFL, O_NONBLOCK), 0);
            const int yes = 1;
            ::setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
        }
    }
    void open_pair() {
        int ends[2];
        EXPECT_EQ(::socketpair(AF_UNIX, SOCK_STREAM, 0, ends), 0);
        near.reset(ends[0]);
        far.reset(ends[1]);
    }
    void open_tcp(bool small) {
        const UniqueFd listener(::socket(AF_INET, SOCK_STREAM, 0));
        near.reset(::socket(AF_INET, SOCK_STREAM, 0));
        const int size = 4096;
        for (const int fd : {listener.get(), near.get()}) {
            if (!small) break;
            ::setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &size, sizeof size);
            ::setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &size, sizeof size);
        }
        sockaddr_in address{};
        address.sin_family = AF_INET;
        address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        socklen_t length = sizeof address;
        EXPECT_EQ(::bind(listener.get(), reinterpret_cast<const sockaddr*>(&address), length), 0);
        EXPECT_EQ(::listen(listener.get(), 1), 0);
        ::getsockname(listener.get(), reinterpret_cast<sockaddr*>(&address), &length);
        EXPECT_EQ(::connect(near.get(), reinterpret_cast<const sockaddr*>(&address), length), 0);
        far.reset(::accept(listener.get(), nullptr, nullptr));
    }
    UniqueFd near;
    UniqueFd far;
};

inline void reset(UniqueFd& fd) {
    const linger now{.l_onoff = 1, .l_linger = 0};
    ::setsockopt(fd.get(), SOL_SOCKET, SO_LINGER, &now, sizeof now);
    fd.reset();
}

// Writes what fits; returns how much that was.
inline size_t write_to(int fd, std::string_view text) {
    size_t sent = 0;
    while (sent < text.size()) {
        const ssize_t count = ::send(fd, text.data() + sent, text.size() - sent, MSG_NOSIGNAL);
        if (count < 0) break;
        sent += static_cast<size_t>(count);
    }
    return sent;
}

// What is there, at most `size` bytes.
inline std::string read_up_to(int fd, size_t size) {
    std::string text(size, '\0');
    size_t have = 0;
    while (have < size) {
        const ssize_t count = ::recv(fd, text.data() + have, size - have, 0);
        if (count <= 0) break;
        have += static_cast<size_t>(count);
    }
    text.resize(have);
    return text;
}

// The kernel delivers over loopback at once, or, when it is busy, a little later.
inline constexpr int kPatienceMs = 2000;

inline bool ready(int fd, short events, int patience_ms = 0) {
    pollfd wanted{.fd = fd, .events = events, .revents = 0};
    return ::poll(&wanted, 1, patience_ms) == 1;
}

// Takes steps until one of them is the last.
template <class Step>
[[nodiscard]] bool eventually(Step&& step) {
    const auto deadline = std::chrono::steady_clock::now() + std::chrono::milliseconds(5 * kPatienceMs);
    while (!step())
        if (std::chrono::steady_clock::now() > deadline) return false;
    return true;
}

// Exactly `size` bytes.
inline std::string read_text(int fd, size_t size) {
    std::string text;
    while (text.size() < size && ready(fd, POLLIN, kPatienceMs)) {
        const std::string part = read_up_to(fd, size - text.size());
        if (part.empty()) break;
        text += part;
    }
    return text;
}

inline bool has_ended(int fd) {
    char byte;
    return ready(fd, POLLIN, kPatienceMs) && ::recv(fd, &byte, 1, MSG_PEEK) == 0;
}

inline std::string text_of(size_t size) {
    std::string text(size, '\0');
    std::mt19937 random(static_cast<unsigned>(size));
    for (char& c : text) c = static_cast<char>(random());
    return text;
}

// One direction of a relay: what is written at in.near goes to out.far.
struct Relay {
    explicit Relay(Kind kind) : Relay(kind, kind) {}
    Relay(Kind source, Kind sink) : in(source), out(sink) {}
    [[nodiscard]] int writer() const { return in.near.get(); }
    [[nodiscard]] int source() const { return in.far.get(); }
    [[nodiscard]] int sink() const { return out.near.get(); }
    [[nodiscard]] int reader() const { return out.far.get(); }
    // Writes all of it, and waits until it has arrived.
    void deliver(std::string_view text) {
        int before = 0;
        ::ioctl(source(), FIONREAD, &before);
        ASSERT_EQ(write_to(writer(), text), text.size());
        int waiting = 0;
        for (int i = 0; i < kPatienceMs && waiting < before + static_cast<int>(text.size()); ++i) {
            if (i > 0) ::usleep(1000);
            ::ioctl(source(), FIONREAD, &waiting);
        }
        ASSERT_EQ(waiting, before + static_cast<int>(text.size()));
    }

    Connection in;
    Connection out;
};

class SpliceMover : public ::testing::Test {
protected:
    static constexpr uint32_t kPipeBytes = 64 * 1024;

    SpliceMover() { std::signal(SIGPIPE, SIG_IGN); }  // as the process does
    ~SpliceMover() override {
        lane_.release(pipes_, chunks_);
        for (const ChunkIndex chunk : taken_chunks_) chunks_.release(chunk);
        for (const PipeIndex pipe : taken_pipes_) pipes_.release(pipe);
        EXPECT_EQ(pipes_.available(), pipes_.capacity());
        EXPECT_EQ(chunks_.used(), 0u);
    }
    void take_all_pipes() {
        while (pipes_.available() > 0) taken_pipes_.push_back(pipes_.acquire());
    }
    void take_all_chunks() {
        while (chunks_.available() > 0) taken_chunks_.push_back(chunks_.acquire());
    }
    void give_back_a_chunk() {
        chunks_.release(taken_chunks_.back());
        taken_chunks_.pop_back();
    }

    void restart() {
        lane_.release(pipes_, chunks_);
        lane_ = SpliceLane{};
        last_ = Move::yield;
    }
    Move move(Relay& relay, size_t allowance = SIZE_MAX) { return last_ = move(lane_, relay, allowance); }
    Move move(SpliceLane& lane, Relay& relay, size_t allowance = SIZE_MAX) {
        const Move result = splice_some(lane, {pipes_, chunks_, burst_}, relay.source(), relay.sink(), allowance);
        EXPECT_FALSE(lane.in_pipe > 0 && !lane.backlog.empty());
        EXPECT_EQ(lane.pipe != kNoPipe, lane.in_pipe > 0);
        EXPECT_EQ(result == Move::wait_sink, lane.waits_for_sink() && result != Move::sink_failed);
        return result;
    }
    // Moves whenever what the lane waits for is there, as an engine does, until it is not.
    Move settle(Relay& relay) {
        for (int i = 0; i < 1000; ++i) {
            const bool source_ready = last_ == Move::wait_source && ready(relay.source(), POLLIN);
            const bool sink_ready = last_ == Move::wait_sink && ready(relay.sink(), POLLOUT);
            if (last_ == Move::finished) ::shutdown(relay.sink(), SHUT_WR);  // as the stream does
            if (last_ != Move::yield && !source_ready && !sink_ready) return last_;
            (void)move(relay);
        }
        ADD_FAILURE() << "no end of moving";
        return last_;
    }
    // Makes the lane believe in bulk, with nothing left over.
    void become_bulk(Relay& relay) {
        const std::string text = text_of(kSpliceMin);
        relay.deliver(text);
        std::string received;
        ASSERT_TRUE(eventually([&] {
            (void)settle(relay);
            received += read_up_to(relay.reader(), text.size());
            return received.size() == text.size();
        }));
        ASSERT_EQ(received, text);
        ASSERT_TRUE(lane_.bulk);
    }
    // Writes, without reading at the other end, until the lane waits for its sink. Returns what was written.
    std::string clog(Relay& relay) {
        std::string written;
        const std::string text = text_of(100'000);
        EXPECT_TRUE(eventually([&] {
            written += text.substr(0, write_to(relay.writer(), text));
            return settle(relay) == Move::wait_sink;
        }));
        return written;
    }

    PipePool pipes_{4, kPipeBytes};
    ChunkPool chunks_{64};
    BurstBuffer burst_;
    SpliceLane lane_;
    Move last_ = Move::yield;
    std::vector<PipeIndex> taken_pipes_;
    std::vector<ChunkIndex> taken_chunks_;
};

}  // namespace qanat::dataplane::testing
