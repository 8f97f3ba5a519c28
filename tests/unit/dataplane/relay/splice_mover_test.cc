// The splice mover between two TCP connections (and socket pairs): every byte arrives once and in order, whichever way
// it went, however full the sink was; ends are passed on, failures told apart; nothing that was leased is kept.

#include "dataplane/relay/splice_mover.h"

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
#include <optional>
#include <random>
#include <string>
#include <vector>

#include "common/base/unique_fd.h"
#include "dataplane/engine/socket.h"

namespace qanat::dataplane {
namespace {

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

void reset(UniqueFd& fd) {
    const linger now{.l_onoff = 1, .l_linger = 0};
    ::setsockopt(fd.get(), SOL_SOCKET, SO_LINGER, &now, sizeof now);
    fd.reset();
}

// Writes what fits; returns how much that was.
size_t write_to(int fd, std::string_view text) {
    size_t sent = 0;
    while (sent < text.size()) {
        const ssize_t count = ::send(fd, text.data() + sent, text.size() - sent, MSG_NOSIGNAL);
        if (count < 0) break;
        sent += static_cast<size_t>(count);
    }
    return sent;
}

// What is there, at most `size` bytes.
std::string read_up_to(int fd, size_t size) {
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
constexpr int kPatienceMs = 2000;

bool ready(int fd, short events, int patience_ms = 0) {
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
std::string read_text(int fd, size_t size) {
    std::string text;
    while (text.size() < size && ready(fd, POLLIN, kPatienceMs)) {
        const std::string part = read_up_to(fd, size - text.size());
        if (part.empty()) break;
        text += part;
    }
    return text;
}

bool has_ended(int fd) {
    char byte;
    return ready(fd, POLLIN, kPatienceMs) && ::recv(fd, &byte, 1, MSG_PEEK) == 0;
}

std::string text_of(size_t size) {
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

// --------------------------------------------------------------------------------------------- every way, every socket

enum class Memory { pipes_and_chunks, pipes, chunks, one_chunk };

class EveryWay : public SpliceMover, public ::testing::WithParamInterface<std::tuple<Kind, Memory>> {
protected:
    EveryWay() {
        const Memory memory = std::get<1>(GetParam());
        if (memory == Memory::chunks || memory == Memory::one_chunk) take_all_pipes();
        if (memory == Memory::pipes || memory == Memory::one_chunk) take_all_chunks();
        if (memory == Memory::one_chunk) give_back_a_chunk();
    }
    [[nodiscard]] static Kind kind() { return std::get<0>(GetParam()); }

    // Sends `text` in pieces of up to `piece` bytes, reads up to `piece_read` at a time and only when the lane waits.
    std::string transfer(Relay& relay, const std::string& text, size_t piece, size_t piece_read) {
        std::string received;
        size_t sent = 0;
        bool ended = false;
        std::mt19937 random(1);
        while (true) {
            const size_t size = std::min(text.size() - sent, 1 + random() % piece);
            sent += write_to(relay.writer(), std::string_view(text).substr(sent, size));
            if (sent == text.size() && !ended) {
                ::shutdown(relay.writer(), SHUT_WR);
                ended = true;
            }
            const Move result = settle(relay);
            if (result == Move::finished) break;
            if (result != Move::wait_source && result != Move::wait_sink) {
                ADD_FAILURE() << static_cast<int>(result);
                break;
            }
            if (result == Move::wait_sink || random() % 4 == 0) received += read_up_to(relay.reader(), piece_read);
        }
        return received + read_text(relay.reader(), text.size() - received.size());
    }
};

TEST_P(EveryWay, BringsEveryByteAndThenTheEnd) {
    struct Case {
        size_t size, piece, piece_read;
    };
    for (const Case& c : {Case{0, 1, 1}, Case{1, 1, 1}, Case{3000, 1, 100}, Case{200'000, 3000, 5000},
                          Case{2'000'000, 200'000, 300'000}, Case{500'000, 100'000, 20'000}}) {
        restart();
        Relay relay(kind());
        const std::string text = text_of(c.size);
        ASSERT_TRUE(transfer(relay, text, c.piece, c.piece_read) == text) << c.size;
        ASSERT_TRUE(has_ended(relay.reader())) << c.size;
        EXPECT_TRUE(lane_.done);
        EXPECT_EQ(lane_.bytes, c.size);
        EXPECT_FALSE(lane_.waits_for_sink());
    }
}

TEST_P(EveryWay, AFullSinkStopsReading) {
    Relay relay(kind());
    const std::string text = clog(relay);
    const uint64_t taken = lane_.bytes;
    for (int i = 0; i < 3; ++i) ASSERT_EQ(move(relay), Move::wait_sink);
    EXPECT_EQ(lane_.bytes, taken);
    std::string received;
    EXPECT_TRUE(eventually([&] {
        received += read_up_to(relay.reader(), 1000);
        const Move result = settle(relay);
        EXPECT_TRUE(result == Move::wait_sink || result == Move::wait_source);
        return received.size() == text.size();
    }));
    EXPECT_TRUE(received == text);
}

TEST_P(EveryWay, TheEndWaitsForWhatCameBefore) {
    Relay relay(kind());
    const std::string text = clog(relay);
    ::shutdown(relay.writer(), SHUT_WR);
    EXPECT_EQ(move(relay), Move::wait_sink);
    EXPECT_FALSE(lane_.done);
    std::string received;
    EXPECT_TRUE(eventually([&] {
        received += read_up_to(relay.reader(), 4096);
        return settle(relay) == Move::finished;
    }));
    received += read_text(relay.reader(), text.size() - received.size());
    EXPECT_TRUE(received == text);
    EXPECT_TRUE(has_ended(relay.reader()));
}

TEST_P(EveryWay, ASinkThatGoesAwayIsASinkThatFailed) {
    Relay relay(kind());
    clog(relay);
    reset(relay.out.far);
    EXPECT_TRUE(eventually([&] { return move(relay) != Move::wait_sink; }));
    EXPECT_EQ(last_, Move::sink_failed);
    lane_.release(pipes_, chunks_);
    lane_.release(pipes_, chunks_);
}

TEST_P(EveryWay, AResetOfTheSourceIsNotAnEnd) {
    if (kind() == Kind::unix_pair) return;
    Relay relay(kind());
    write_to(relay.writer(), text_of(50'000));
    reset(relay.in.near);
    EXPECT_TRUE(eventually([&] {
        read_up_to(relay.reader(), 100'000);
        const Move result = settle(relay);
        return result != Move::wait_source && result != Move::wait_sink;
    }));
    EXPECT_EQ(last_, Move::source_failed);
    EXPECT_FALSE(lane_.done);
    EXPECT_FALSE(ended_and_empty(relay.reader()));
}

TEST_P(EveryWay, SmallMessagesLeaveAtOnceAndOnTheirOwn) {
    Relay relay(kind());
    for (int i = 0; i < 200; ++i) {
        const std::string text = text_of(static_cast<size_t>(1 + i));
        relay.deliver(text);
        ASSERT_EQ(move(relay), Move::wait_source);
        ASSERT_EQ(read_text(relay.reader(), text.size()), text);
    }
}

TEST_P(EveryWay, AllowancesAreKeptToTheByte) {
    for (const size_t size : {size_t{2}, size_t{1000}, kSpliceMin, kSpliceMin + 1, size_t{30'000}}) {
        for (const bool bulk : {false, true}) {
            for (const size_t allowance : {size - 1, size, size + 1}) {
                restart();
                lane_.bulk = bulk;
                Relay relay(Kind::tcp);
                const std::string text = text_of(size);
                relay.deliver(text);
                size_t left = allowance;
                Move result = Move::yield;
                while (left > 0 && result == Move::yield) {
                    const uint64_t before = lane_.bytes;
                    result = move(relay, left);
                    ASSERT_LE(lane_.bytes - before, left);
                    left -= lane_.bytes - before;
                }
                ASSERT_EQ(lane_.bytes, std::min(size, allowance)) << size;
                ASSERT_EQ(result, allowance > size ? Move::wait_source : Move::yield) << size << ' ' << allowance;
                ASSERT_EQ(move(relay, 0), Move::yield);
                ASSERT_EQ(lane_.bytes, std::min(size, allowance));
                ASSERT_TRUE(read_text(relay.reader(), std::min(size, allowance)) == text.substr(0, allowance));
            }
        }
    }
}

TEST_P(EveryWay, WithoutAnAllowanceWhatIsLeftGoesOn) {
    Relay relay(kind());
    clog(relay);
    const uint64_t taken = lane_.bytes;
    std::string received;
    EXPECT_TRUE(eventually([&] {
        received += read_up_to(relay.reader(), 100'000);
        return move(relay, 0) != Move::wait_sink;
    }));
    received += read_text(relay.reader(), taken - received.size());
    EXPECT_EQ(last_, Move::yield);
    EXPECT_EQ(lane_.bytes, taken);
    EXPECT_EQ(received.size(), taken);
}

// Splicing stops in front of urgent data for ever, and takes a FIN behind them for an end of what came before.
TEST_P(EveryWay, UrgentDataNeitherLoopNorCutOff) {
    if (kind() == Kind::unix_pair) return;
    for (const bool bulk : {false, true}) {
        restart();
        lane_.bulk = bulk;
        Relay relay(Kind::tcp);
        write_to(relay.writer(), "before");
        ASSERT_EQ(::send(relay.writer(), "!", 1, MSG_OOB), 1);
        write_to(relay.writer(), "behind");
        ::shutdown(relay.writer(), SHUT_WR);
        ASSERT_TRUE(ready(relay.source(), POLLRDHUP, kPatienceMs));
        Move result = settle(relay);
        if (result == Move::wait_memory) {
            // Without a pipe or with, only copying gets past them.
            give_back_a_chunk();
            (void)move(relay);
            result = settle(relay);
            take_all_chunks();
        }
        EXPECT_EQ(result, Move::finished);
        EXPECT_EQ(read_text(relay.reader(), 12), "beforebehind");
        EXPECT_TRUE(has_ended(relay.reader()));
    }
}

std::string name_of(const ::testing::TestParamInfo<std::tuple<Kind, Memory>>& info) {
    constexpr const char* kKinds[] = {"tcp", "tcp_small_buffers", "unix"};
    constexpr const char* kMemory[] = {"pipes_and_chunks", "pipes", "chunks", "one_chunk"};
    return std::string(kKinds[static_cast<size_t>(std::get<0>(info.param))]) + "_with_" +
           kMemory[static_cast<size_t>(std::get<1>(info.param))];
}
INSTANTIATE_TEST_SUITE_P(Sockets, EveryWay,
                         ::testing::Combine(::testing::Values(Kind::tcp, Kind::tcp_small, Kind::unix_pair),
                                            ::testing::Values(Memory::pipes_and_chunks, Memory::pipes, Memory::chunks,
                                                              Memory::one_chunk)),
                         name_of);

// ------------------------------------------------------------------------------------------------- which way and when

TEST_F(SpliceMover, BulkIsSplicedAndSmallIsCopied) {
    Relay relay(Kind::tcp, Kind::tcp_small);
    become_bulk(relay);
    clog(relay);
    EXPECT_TRUE(lane_.bulk);
    EXPECT_GT(lane_.in_pipe, 0u);
    EXPECT_EQ(chunks_.used(), 0u);
    EXPECT_EQ(pipes_.available(), pipes_.capacity() - 1);
    uint64_t received = kSpliceMin;
    EXPECT_TRUE(eventually([&] {
        received += read_up_to(relay.reader(), 1 << 20).size();
        return settle(relay) == Move::wait_source && received == lane_.bytes;
    }));
    EXPECT_EQ(pipes_.available(), pipes_.capacity());  // waiting for the source it holds nothing

    relay.deliver("small");
    EXPECT_EQ(settle(relay), Move::wait_source);
    EXPECT_FALSE(lane_.bulk);
    EXPECT_EQ(read_text(relay.reader(), 5), "small");
}

TEST_F(SpliceMover, WhatIsBulkBeginsAtTheLimit) {
    for (const size_t size : {kSpliceMin - 1, kSpliceMin, kSpliceMin + 1}) {
        for (const bool bulk : {false, true}) {
            restart();
            lane_.bulk = bulk;
            Relay relay(Kind::tcp);
            relay.deliver(text_of(size));
            (void)move(relay);
            EXPECT_EQ(lane_.bulk, size >= kSpliceMin) << size;
        }
    }
}

TEST_F(SpliceMover, OneBurstAtATime) {
    Relay relay(Kind::unix_pair);
    const std::string text = text_of(kPipeBytes + 20'000);
    for (Connection* connection : {&relay.in, &relay.out}) {
        const int size = 1 << 20;
        ::setsockopt(connection->near.get(), SOL_SOCKET, SO_SNDBUF, &size, sizeof size);
    }
    relay.deliver(text);
    EXPECT_EQ(move(relay), Move::yield);
    EXPECT_EQ(lane_.bytes, kSpliceMin);
    EXPECT_EQ(move(relay), Move::yield);
    EXPECT_EQ(lane_.bytes, kSpliceMin + kPipeBytes);
}

TEST_F(SpliceMover, WithoutAnyMemoryItWaitsAndReadsNothing) {
    Relay relay(Kind::tcp);
    take_all_pipes();
    take_all_chunks();
    relay.deliver("text");
    EXPECT_EQ(move(relay), Move::wait_memory);
    EXPECT_EQ(lane_.bytes, 0u);
    give_back_a_chunk();
    EXPECT_EQ(move(relay), Move::wait_source);
    EXPECT_EQ(read_text(relay.reader(), 4), "text");

    take_all_chunks();
    relay.deliver("more");
    EXPECT_EQ(move(relay), Move::wait_memory);
    pipes_.release(taken_pipes_.back());
    taken_pipes_.pop_back();
    EXPECT_EQ(move(relay), Move::wait_source);
    EXPECT_EQ(read_text(relay.reader(), 4), "more");
}

// The last chunk is not asked for more than it holds.
TEST_F(SpliceMover, ASinkThatTakesNothingFitsIntoOneChunk) {
    Relay relay(Kind::tcp, Kind::tcp_small);
    take_all_pipes();
    while (write_to(relay.sink(), text_of(100'000)) > 0) {
    }
    lane_.bulk = true;
    take_all_chunks();
    give_back_a_chunk();
    relay.deliver(text_of(50'000));
    EXPECT_EQ(move(relay), Move::wait_sink);
    EXPECT_EQ(chunks_.available(), 0u);
    EXPECT_LE(lane_.bytes, kChunkSize);
}

// Every segment a slot: the pipe is full with few bytes.
TEST_F(SpliceMover, TinySegmentsThatFillThePipesSlots) {
    Relay relay(Kind::tcp);
    take_all_chunks();
    lane_.bulk = true;
    const std::string text = text_of(3000);
    for (const char& byte : text) ASSERT_EQ(::send(relay.writer(), &byte, 1, 0), 1);
    EXPECT_EQ(settle(relay), Move::wait_source);
    EXPECT_TRUE(read_text(relay.reader(), text.size()) == text);
}

TEST_F(SpliceMover, AnEmptySourceAfterAYieldIsNoReasonToCopy) {
    Relay relay(Kind::tcp);
    become_bulk(relay);
    EXPECT_EQ(lane_.dry_splices, 1);
    take_all_chunks();
    relay.deliver("more");
    EXPECT_EQ(move(relay), Move::wait_source);
    EXPECT_EQ(read_text(relay.reader(), 4), "more");
}

// ------------------------------------------------------------------------------------------------------ other streams

TEST_F(SpliceMover, WhatOneStreamLeavesInAPipeNoOtherStreamGets) {
    PipePool one(1, kPipeBytes);
    for (const bool sink_is_reset : {false, true}) {
        Relay relay(Kind::tcp, Kind::tcp_small);
        SpliceLane lane;
        lane.bulk = true;
        const auto move_a = [&] {
            return splice_some(lane, {one, chunks_, burst_}, relay.source(), relay.sink(), SIZE_MAX);
        };
        ASSERT_TRUE(eventually([&] {
            relay.deliver(std::string(50'000, 'a'));
            return move_a() == Move::wait_sink;
        }));
        ASSERT_GT(lane.in_pipe, 0u);
        ASSERT_EQ(one.available(), 0u);
        if (sink_is_reset) {
            reset(relay.out.far);
            ASSERT_TRUE(eventually([&] { return move_a() == Move::sink_failed; }));
        }
        lane.release(one, chunks_);
        ASSERT_EQ(one.available(), 1u);

        Relay next(Kind::tcp);
        SpliceLane next_lane;
        next_lane.bulk = true;
        const std::string text = text_of(40'000);
        next.deliver(text);
        (void)splice_some(next_lane, {one, chunks_, burst_}, next.source(), next.sink(), SIZE_MAX);
        ASSERT_TRUE(read_text(next.reader(), next_lane.bytes) == text.substr(0, next_lane.bytes));
        ASSERT_EQ(one.available(), 1u);
    }
}

TEST_F(SpliceMover, MoreStalledStreamsThanPipes) {
    constexpr size_t kStreams = 7;
    std::vector<std::unique_ptr<Relay>> relays;
    std::vector<SpliceLane> lanes(kStreams);
    std::vector<std::string> sent(kStreams);
    for (size_t i = 0; i < kStreams; ++i) {
        relays.push_back(std::make_unique<Relay>(Kind::tcp, Kind::tcp_small));
        lanes[i].bulk = true;
        ASSERT_TRUE(eventually([&] {
            const std::string text = text_of(30'000 + i);
            sent[i] += text.substr(0, write_to(relays[i]->writer(), text));
            return move(lanes[i], *relays[i]) == Move::wait_sink;
        }));
    }
    EXPECT_EQ(pipes_.available(), 0u);
    EXPECT_GT(chunks_.used(), 0u);
    for (size_t i = 0; i < kStreams; ++i) {
        std::string received;
        EXPECT_TRUE(eventually([&] {
            received += read_up_to(relays[i]->reader(), 1 << 20);
            (void)move(lanes[i], *relays[i]);
            return received.size() == sent[i].size() && !lanes[i].waits_for_sink();
        }));
        EXPECT_TRUE(received == sent[i]) << i;
    }
    EXPECT_EQ(pipes_.available(), pipes_.capacity());
    EXPECT_EQ(chunks_.used(), 0u);
}

TEST_F(SpliceMover, EachDirectionEndsByItself) {
    Relay relay(Kind::tcp);  // the other direction is from out.near to in.far
    SpliceLane back;
    const auto move_back = [&] {
        return splice_some(back, {pipes_, chunks_, burst_}, relay.sink(), relay.source(), SIZE_MAX);
    };
    relay.deliver("question");
    ::shutdown(relay.writer(), SHUT_WR);
    EXPECT_EQ(settle(relay), Move::finished);
    EXPECT_EQ(read_text(relay.reader(), 8), "question");
    EXPECT_TRUE(has_ended(relay.reader()));

    EXPECT_EQ(move_back(), Move::wait_source);
    const std::string answer = text_of(150'000);
    std::string received;
    size_t sent = 0;
    EXPECT_TRUE(eventually([&] {
        sent += write_to(relay.reader(), std::string_view(answer).substr(sent));
        if (sent == answer.size()) ::shutdown(relay.reader(), SHUT_WR);
        const Move result = move_back();
        received += read_up_to(relay.writer(), answer.size());
        return result == Move::finished;
    }));
    received += read_text(relay.writer(), answer.size() - received.size());
    EXPECT_TRUE(received == answer);
    EXPECT_TRUE(back.done);
}

// ------------------------------------------------------------------------------------------------- bytes at the start

TEST_F(SpliceMover, WhatWasReadBeforeGoesFirst) {
    for (const size_t size : {size_t{0}, size_t{1}, size_t{kChunkSize} - 1, size_t{kChunkSize}}) {
        restart();
        Relay relay(Kind::tcp);
        const std::string first = text_of(size);
        splice_first(lane_, chunks_, as_bytes(first));
        EXPECT_EQ(lane_.bytes, size);
        relay.deliver("then this");
        ::shutdown(relay.writer(), SHUT_WR);
        EXPECT_EQ(settle(relay), Move::finished);
        EXPECT_EQ(lane_.bytes, size + 9);
        EXPECT_TRUE(read_text(relay.reader(), size + 9) == first + "then this");
    }
}

TEST_F(SpliceMover, WhatWasReadBeforeWaitsForAFullSink) {
    Relay relay(Kind::tcp_small);
    const std::string filler = text_of(1 << 20).substr(0, write_to(relay.sink(), text_of(1 << 20)));
    splice_first(lane_, chunks_, as_bytes("first"));
    relay.deliver("second");
    EXPECT_EQ(move(relay), Move::wait_sink);
    EXPECT_EQ(lane_.bytes, 5u);
    EXPECT_TRUE(read_text(relay.reader(), filler.size()) == filler);
    EXPECT_TRUE(ready(relay.sink(), POLLOUT, kPatienceMs));
    EXPECT_EQ(settle(relay), Move::wait_source);
    EXPECT_EQ(read_text(relay.reader(), 11), "firstsecond");
}

}  // namespace
}  // namespace qanat::dataplane
