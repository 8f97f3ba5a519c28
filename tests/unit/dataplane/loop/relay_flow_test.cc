// Bytes through a relay: in bulk, against readers that stand still, from many members at once, and what that costs.

#include <gtest/gtest.h>
#include <sys/resource.h>

#include <atomic>
#include <chrono>
#include <fstream>
#include <string>
#include <thread>
#include <vector>

#include "dataplane/stream/stream.h"
#include "tests/unit/dataplane/loop/relay_pair.h"

namespace qanat::dataplane {
namespace {

using ::qanat::testing::TestSocket;
using ring::EndReason;
using testing::becomes;
using testing::ended;
using testing::eventually;
using testing::kNode;
using testing::kRestful;
using testing::open_pair;
using testing::Pair;
using testing::random_text;
using testing::RawStream;
using testing::RelayEngines;
using testing::restlessness;
using testing::taken;
using wire::StreamStatus;
using namespace std::chrono_literals;
using Clock = std::chrono::steady_clock;

class Bulk : public ::testing::TestWithParam<uint32_t> {};

TEST_P(Bulk, CarriesMegabytesBothWaysAtOnce) {
    RelayEngines relay(1, testing::small_limits(), GetParam(), 8);
    std::vector<Pair> pairs;
    for (int i = 0; i < 4; ++i) pairs.push_back(open_pair(relay));
    const std::string up = random_text(6 << 20, 1);
    const std::string down = random_text(6 << 20, 2);
    std::atomic<int> intact{0};
    std::vector<std::thread> threads;
    for (Pair& pair : pairs) {
        TestSocket& asker = pair.asker.socket();
        TestSocket& node = pair.node.socket();
        threads.emplace_back([&] {
            asker.send(up);
            asker.shut_down();
        });
        threads.emplace_back([&] {
            node.send(down);
            node.shut_down();
        });
        threads.emplace_back([&] { intact += node.receive_all() == up; });
        threads.emplace_back([&] { intact += asker.receive_all() == down; });
    }
    for (std::thread& thread : threads) thread.join();
    EXPECT_EQ(intact, 8);
    EXPECT_TRUE(eventually([&] { return ended(relay.engine(), EndReason::completed) == 4; }));
    EXPECT_TRUE(becomes(relay.counters().relay_bytes, 4 * (up.size() + down.size())));
    EXPECT_TRUE(eventually([&] { return relay.counters().pipes_used.load() == 0; }));
    EXPECT_TRUE(eventually([&] { return relay.counters().buffers_used.load() == 0; }));
    EXPECT_EQ(relay.counters().pipe_fallbacks.load() > 0, GetParam() == 0);
}

// Eight lanes of one member, which may have half of the pipes.
INSTANTIATE_TEST_SUITE_P(Pipes, Bulk, ::testing::Values(0u, 16u),
                         [](const auto& pipes) { return std::to_string(pipes.param); });

TEST(Relay, ResetsTravelAsResets) {
    RelayEngines relay;
    Pair first = open_pair(relay);
    first.asker.socket().reset();
    EXPECT_EQ(first.node.socket().receive_end(), ECONNRESET);
    EXPECT_TRUE(eventually([&] { return ended(relay.engine(), EndReason::tunnel_reset) == 1; }));
    Pair second = open_pair(relay);
    second.node.socket().reset();
    EXPECT_EQ(second.asker.socket().receive_end(), ECONNRESET);
    EXPECT_TRUE(eventually([&] { return ended(relay.engine(), EndReason::application_reset) == 1; }));
    // Also after the other direction has ended.
    Pair third = open_pair(relay);
    third.asker.socket().shut_down();
    EXPECT_EQ(third.node.socket().receive_all(), "");
    third.asker.socket().reset();
    EXPECT_TRUE(eventually([&] { return ended(relay.engine(), EndReason::tunnel_reset) == 2; }));
}

TEST(Relay, AReaderThatStopsStopsTheSenderAndLeavesTheEngineAtRest) {
    RelayEngines relay;
    Pair pair = open_pair(relay);
    const timeval soon{.tv_sec = 0, .tv_usec = 300'000};
    size_t sent = 0;
    const std::string block(1 << 20, 'x');
    ::setsockopt(pair.asker.socket().fd(), SOL_SOCKET, SO_SNDTIMEO, &soon, sizeof soon);
    while (true) {
        const ssize_t count = ::send(pair.asker.socket().fd(), block.data(), block.size(), MSG_NOSIGNAL);
        if (count < 0) break;
        sent += static_cast<size_t>(count);
        ASSERT_LT(sent, size_t{256} << 20) << "nothing pushes back";
    }
    pair.asker.socket().shut_down();
    EXPECT_LE(restlessness(relay.engine()), kRestful);
    pair.node.socket().shut_down();  // a FIN from the sink that the lane waits for
    EXPECT_EQ(pair.asker.socket().receive_all(), "");
    EXPECT_LE(restlessness(relay.engine()), kRestful);
    EXPECT_EQ(pair.node.socket().receive_all().size(), sent);
    EXPECT_TRUE(eventually([&] { return ended(relay.engine(), EndReason::completed) == 1; }));

    Pair blocked = open_pair(relay);
    ::setsockopt(blocked.asker.socket().fd(), SOL_SOCKET, SO_SNDTIMEO, &soon, sizeof soon);
    while (::send(blocked.asker.socket().fd(), block.data(), block.size(), MSG_NOSIGNAL) > 0) {
    }
    blocked.asker.socket().reset();
    EXPECT_TRUE(eventually([&] { return ended(relay.engine(), EndReason::tunnel_reset) == 1; }));
    EXPECT_TRUE(eventually([&] { return relay.counters().pipes_used.load() == 0; }));
}

// As much as the relay and the sockets around it take.
size_t send_until_full(TestSocket& socket) {
    const std::string block(1 << 18, 'x');
    size_t sent = 0;
    for (ssize_t count = 0; (count = ::send(socket.fd(), block.data(), block.size(), MSG_NOSIGNAL | MSG_DONTWAIT)) > 0;)
        sent += static_cast<size_t>(count);
    return sent;
}

TEST(Relay, AMemberWhoseReadersStandStillLeavesTheOthersTheirShare) {
    constexpr uint32_t kPipes = 8;
    constexpr uint32_t kChunks = 64;
    constexpr uint8_t kOther = 0xcc;
    ring::DataPlaneLimits limits = testing::small_limits();
    limits.streams = 128;
    RelayEngines relay(1, limits, kPipes, kChunks);
    std::vector<Pair> stalled;
    for (int i = 0; i < 30; ++i) stalled.push_back(open_pair(relay));
    // Until nothing moves any more.
    const auto fill = [&] {
        size_t sent = 0;
        for (Pair& pair : stalled) sent += send_until_full(pair.asker.socket());
        return sent;
    };
    EXPECT_TRUE(eventually([&] {
        if (fill() > 0) return false;
        std::this_thread::sleep_for(50ms);
        return fill() == 0;
    }));
    EXPECT_LE(relay.counters().pipes_used.load(), kPipes / 2);
    EXPECT_LE(relay.counters().buffers_used.load(), kChunks / 2);
    EXPECT_GT(relay.counters().pipes_used.load() + relay.counters().buffers_used.load(), 0u);
    // Lanes that wait for their member's share look again fifty times a second, and that is all.
    EXPECT_LE(restlessness(relay.engine()), kRestful);

    RawStream node = relay.offer(kNode);
    RawStream asker = relay.connect(kOther);
    asker.socket().send(RelayEngines::forward(asker, kNode));
    taken(node);
    EXPECT_EQ(asker.response(), StreamStatus::ok);
    const std::string data = random_text(32 << 20, 5);
    std::thread sender([&] {
        asker.socket().send(data);
        asker.socket().shut_down();
    });
    const auto start = Clock::now();
    EXPECT_TRUE(node.socket().receive_all() == data);
    EXPECT_LT(Clock::now() - start, 10s);
    sender.join();

    // Readers that go on get everything.
    for (Pair& pair : stalled) pair.asker.socket().shut_down();
    std::vector<std::thread> readers;
    for (Pair& pair : stalled)
        readers.emplace_back([&] {
            (void)pair.node.socket().receive_all();
            pair.node.socket().shut_down();
        });
    for (std::thread& reader : readers) reader.join();
    EXPECT_TRUE(eventually([&] { return ended(relay.engine(), EndReason::completed) == 30; }));
    EXPECT_TRUE(eventually([&] { return relay.counters().pipes_used.load() == 0; }));
    EXPECT_TRUE(eventually([&] { return relay.counters().buffers_used.load() == 0; }));
}

TEST(Relay, WhatAStalledMemberHoldsComesBackWithAReset) {
    RelayEngines relay(1, testing::small_limits(), 2, 64);
    for (int turn = 0; turn < 3; ++turn) {
        std::vector<Pair> stalled;
        for (int i = 0; i < 4; ++i) stalled.push_back(open_pair(relay));
        for (Pair& pair : stalled) (void)send_until_full(pair.asker.socket());
        EXPECT_TRUE(eventually([&] {
            for (Pair& pair : stalled) (void)send_until_full(pair.asker.socket());
            return relay.counters().pipes_used.load() == 1;
        })) << turn;
        for (Pair& pair : stalled) pair.asker.socket().reset();
        EXPECT_TRUE(eventually([&] { return relay.counters().pipes_used.load() == 0; }));
        EXPECT_TRUE(eventually([&] { return relay.counters().buffers_used.load() == 0; }));
    }
}

size_t resident_bytes() {
    size_t total = 0;
    size_t resident = 0;
    std::ifstream("/proc/self/statm") >> total >> resident;
    return resident * 4096;
}

TEST(Relay, AnIdleStreamCostsItsSlot) {
    EXPECT_LE(sizeof(Stream), 1024u);
    rlimit descriptors{};
    ::getrlimit(RLIMIT_NOFILE, &descriptors);
    descriptors.rlim_cur = std::min<rlim_t>(descriptors.rlim_max, 8192);
    ::setrlimit(RLIMIT_NOFILE, &descriptors);
    const size_t streams = std::min<size_t>(1000, (descriptors.rlim_cur - 200) / 4);
    auto limits = testing::small_limits();
    limits.streams = 1100;
    RelayEngines relay(1, limits);
    std::vector<TestSocket> ends;
    ends.reserve(2 * streams);
    open_pair(relay);  // whatever the first one brings
    const size_t before = resident_bytes();
    for (size_t i = 0; i < streams; ++i) {
        Pair pair = open_pair(relay);
        ends.push_back(std::move(pair.asker.socket()));
        ends.push_back(std::move(pair.node.socket()));
    }
    EXPECT_TRUE(becomes(relay.counters().relay_streams, streams));
    EXPECT_TRUE(becomes(relay.counters().buffers_used, 0u));
    EXPECT_TRUE(becomes(relay.counters().pipes_used, 0u));
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
    EXPECT_LE((resident_bytes() - before) / streams, 2048u);
#else
    (void)before;
#endif
    for (size_t i = 0; i < ends.size(); i += 100) {
        ends[i].send("?");
        EXPECT_EQ(ends[i + 1].receive(1), "?");
    }
}

// Both engines, many members at once, streams that come and go: for the thread sanitizer above all.
TEST(Relay, ManyAtOnceInBothEngines) {
    RelayEngines relay(2);
    std::vector<RawStream> offers;
    std::vector<RawStream> askers;
    constexpr size_t kCount = 60;
    for (size_t i = 0; i < kCount; ++i) {
        askers.push_back(relay.connect(static_cast<uint8_t>(0x10 + i % 4), i % 2));
        offers.push_back(relay.connect(kNode, i / 2 % 2));
    }
    offers.push_back(relay.offer(kNode));  // so that the member is expected
    std::thread asking([&] {
        for (RawStream& asker : askers) asker.socket().send(RelayEngines::forward(asker, kNode) + "hello");
    });
    for (size_t i = 0; i < kCount; ++i) offers[i].socket().send(offers[i].request(wire::RequestKind::offer));
    asking.join();
    for (size_t i = 0; i < kCount; ++i) EXPECT_EQ(offers[i].response(), StreamStatus::parked);
    for (RawStream& asker : askers) EXPECT_EQ(asker.response(), StreamStatus::ok);
    EXPECT_TRUE(eventually(
        [&] { return relay.counters(0).relay_streams.load() + relay.counters(1).relay_streams.load() == kCount; }));
    EXPECT_EQ(relay.counters(0).relay_offered.load() + relay.counters(1).relay_offered.load(), 1u);
    for (RawStream& asker : askers) asker.socket().reset();
    EXPECT_TRUE(eventually(
        [&] { return relay.counters(0).relay_streams.load() + relay.counters(1).relay_streams.load() == 0; }));
}

}  // namespace
}  // namespace qanat::dataplane
