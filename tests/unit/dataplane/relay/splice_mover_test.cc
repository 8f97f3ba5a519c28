// The splice mover: which way bytes go and when, beside other streams, and with bytes that were read before.

#include "dataplane/relay/splice_mover.h"

#include <gtest/gtest.h>
#include <poll.h>
#include <sys/socket.h>

#include <string>
#include <vector>

#include "tests/unit/dataplane/relay/splice_relay.h"

namespace qanat::dataplane {
namespace {

using testing::Connection;
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
