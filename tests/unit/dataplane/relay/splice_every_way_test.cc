// The splice mover over every kind of socket and with every kind of memory: every byte arrives once and in order,
// however full the sink was; ends are passed on, failures told apart.

#include "dataplane/relay/splice_mover.h"

#include <gtest/gtest.h>
#include <sys/socket.h>

#include <random>
#include <string>
#include <tuple>

#include "tests/unit/dataplane/relay/splice_relay.h"

namespace qanat::dataplane {
namespace {

using testing::eventually;
using testing::has_ended;
using testing::Kind;
using testing::kPatienceMs;
using testing::read_text;
using testing::read_up_to;
using testing::ready;
using testing::Relay;
using testing::reset;
using testing::SpliceMover;
using testing::text_of;
using testing::write_to;

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

}  // namespace
}  // namespace qanat::dataplane
