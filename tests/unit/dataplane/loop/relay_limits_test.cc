// What a relay allows each of its members: streams, connections on offer, bytes per second.

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <string>
#include <thread>
#include <vector>

#include "tests/unit/dataplane/loop/relay_pair.h"

namespace qanat::dataplane {
namespace {

using ring::EndReason;
using testing::ended;
using testing::eventually;
using testing::kAsker;
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
using Clock = std::chrono::steady_clock;

TEST(Relay, StreamsOfAMemberAreLimited) {
    RelayEngines relay(2);
    ring::RelaySettings settings = testing::kUnlimited;
    settings.streams_max = 2;
    relay.set(settings);
    std::vector<Pair> pairs;
    pairs.push_back(open_pair(relay, 0, 0));
    pairs.push_back(open_pair(relay, 1, 0));  // counted together
    RawStream node = relay.offer(kNode);
    for (const uint32_t engine : {0u, 1u}) {
        RawStream late = relay.connect(kAsker, engine);
        late.socket().send(RelayEngines::forward(late, kNode));
        EXPECT_EQ(late.response(), StreamStatus::relay_limit);
    }
    RawStream other = relay.connect(0xcc);
    other.socket().send(RelayEngines::forward(other, kNode));
    EXPECT_EQ(other.response(), StreamStatus::ok);
    taken(node);
    pairs[1].asker.socket().reset();
    EXPECT_EQ(pairs[1].node.socket().receive_end(), ECONNRESET);
    Pair again = open_pair(relay, 1, 1);
}

TEST(Relay, OffersOfAMemberAreLimited) {
    RelayEngines relay(2);
    ring::RelaySettings settings = testing::kUnlimited;
    settings.offers_max = 2;
    relay.set(settings);
    RawStream first = relay.offer(kNode, 0);
    RawStream second = relay.offer(kNode, 1);
    RawStream late = relay.connect(kNode, 1);
    late.socket().send(late.request(wire::RequestKind::offer));
    EXPECT_EQ(late.response(), StreamStatus::relay_limit);
    RawStream asker = relay.connect(kAsker);
    asker.socket().send(RelayEngines::forward(asker, kNode));
    taken(first);  // no longer on offer
    RawStream third = relay.offer(kNode, 1);
    second.socket().close();
    EXPECT_TRUE(eventually([&] { return relay.counters(1).relay_offered.load() == 1; }));
    RawStream fourth = relay.offer(kNode, 0);
}

TEST(Relay, BeyondItsStreamsItRefuses) {
    auto limits = testing::small_limits();
    limits.streams = 2;
    RelayEngines relay(2, limits);
    Pair pair = open_pair(relay, 0, 1);
    // The connection that was taken gives its own place back a moment later.
    ASSERT_TRUE(eventually([&] { return relay.counters(1).streams_active.load() == 1; }));
    RawStream first = relay.offer(kNode, 1);
    RawStream over = relay.connect(kNode, 1);
    over.socket().send(over.request(wire::RequestKind::offer));
    EXPECT_EQ(over.response(), StreamStatus::at_capacity);
    over.socket().close();
    // A moved stream needs a slot there before the connection that it takes gives back its own.
    RawStream asker = relay.connect(kAsker, 0);
    asker.socket().send(RelayEngines::forward(asker, kNode));
    EXPECT_EQ(asker.response(), StreamStatus::at_capacity);
    EXPECT_TRUE(eventually([&] { return relay.counters(1).relay_refused.load() == 2; }));
    RawStream local = relay.connect(kAsker, 1);
    pair.asker.socket().reset();
    EXPECT_TRUE(eventually([&] { return relay.counters(1).streams_active.load() == 1; }));
    local.socket().send(RelayEngines::forward(local, kNode));
    EXPECT_EQ(local.response(), StreamStatus::ok);
    taken(first);  // it was given back
}

TEST(Relay, AMembersStreamsShareItsByteRate) {
    RelayEngines relay(2);
    ring::RelaySettings settings = testing::kUnlimited;
    settings.bytes_per_second = 2'000'000;
    relay.set(settings);
    std::vector<Pair> pairs;
    for (const uint32_t engine : {0u, 1u}) pairs.push_back(open_pair(relay, engine, engine));
    const std::string data = random_text(2'000'000, 7);
    const auto start = Clock::now();
    std::array<std::chrono::duration<double>, 2> took{};
    std::atomic<int> intact{0};
    std::vector<std::thread> threads;
    for (size_t i = 0; i < pairs.size(); ++i) {
        threads.emplace_back([&, i] {
            pairs[i].asker.socket().send(data);
            pairs[i].asker.socket().shut_down();
        });
        threads.emplace_back([&, i] {
            intact += pairs[i].node.socket().receive_all() == data;
            took[i] = Clock::now() - start;
        });
    }
    for (std::thread& thread : threads) thread.join();
    EXPECT_EQ(intact, 2);
    // Four megabytes less a bucket of half a megabyte.
    EXPECT_GE(std::max(took[0], took[1]).count(), 1.6);
    EXPECT_GT(relay.counters(0).relay_throttled.load(), 0u);
}

// On one engine, whose timers know both lanes.
TEST(Relay, ABulkStreamLeavesTheOthersOfItsMemberTheirShare) {
    RelayEngines relay;
    ring::RelaySettings settings = testing::kUnlimited;
    settings.bytes_per_second = 1'000'000;
    relay.set(settings);
    Pair bulk = open_pair(relay);
    Pair small = open_pair(relay);
    std::atomic<bool> stop = false;
    std::thread sender([&] {
        const std::string block(65536, 'x');
        while (!stop && ::send(bulk.node.socket().fd(), block.data(), block.size(), MSG_NOSIGNAL) > 0) continue;
    });
    std::thread receiver([&] {
        std::array<char, 65536> block;
        while (!stop && ::recv(bulk.asker.socket().fd(), block.data(), block.size(), 0) > 0) continue;
    });
    EXPECT_TRUE(eventually([&] { return relay.counters().relay_throttled.load() > 4; }));
    small.node.socket().send("ping");
    EXPECT_EQ(small.asker.socket().receive(4), "ping");
    stop = true;
    ::shutdown(bulk.node.socket().fd(), SHUT_RDWR);
    ::shutdown(bulk.asker.socket().fd(), SHUT_RDWR);
    sender.join();
    receiver.join();
}

TEST(Relay, ARaisedByteRateCountsAtOnce) {
    RelayEngines relay;
    ring::RelaySettings settings = testing::kUnlimited;
    settings.bytes_per_second = 1'000;  // a full pipe costs four minutes
    relay.set(settings);
    Pair pair = open_pair(relay);
    const std::string data = random_text(600'000, 9);
    std::thread sender([&] {
        pair.asker.socket().send(data);
        pair.asker.socket().shut_down();
    });
    EXPECT_TRUE(eventually([&] { return relay.counters().relay_throttled.load() > 0; }));
    settings.bytes_per_second = 100'000'000;
    relay.set(settings);
    EXPECT_EQ(pair.node.socket().receive_all(), data);
    sender.join();
}

TEST(Relay, AThrottledEngineRests) {
    RelayEngines relay;
    ring::RelaySettings settings = testing::kUnlimited;
    settings.bytes_per_second = 10'000;
    relay.set(settings);
    Pair pair = open_pair(relay);
    std::thread sender([&] { pair.asker.socket().send(random_text(300'000, 3)); });
    EXPECT_TRUE(eventually([&] { return relay.counters().relay_throttled.load() > 0; }));
    EXPECT_LE(restlessness(relay.engine()), kRestful);
    pair.node.socket().reset();  // noticed at the latest when it may write again
    sender.join();
    EXPECT_TRUE(eventually([&] { return ended(relay.engine(), EndReason::application_reset) == 1; }));
}

}  // namespace
}  // namespace qanat::dataplane
