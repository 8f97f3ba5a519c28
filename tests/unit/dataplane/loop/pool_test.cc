// Connections that a client keeps parked at its exit, with real engines on both sides.

#include <gtest/gtest.h>

#include <chrono>
#include <string>
#include <thread>
#include <vector>

#include "tests/support/engine_pair.h"
#include "tests/support/sockets.h"
#include "tests/support/streams.h"
#include "tests/unit/dataplane/loop/parked.h"

namespace qanat::dataplane {
namespace {

using ::qanat::testing::TestListener;
using ::qanat::testing::TestSocket;
using testing::close_both;
using testing::EnginePair;
using testing::eventually;
using testing::open_stream;
using testing::Opened;
using testing::parked_becomes;
using testing::set_pool;
using testing::socks_request;
using testing::talk;
using namespace std::chrono_literals;

TEST(Pool, NothingIsKeptBeforeTheFirstStreamAndNothingWithoutTheSetting) {
    EnginePair pair;
    TestListener listener;
    set_pool(pair.client, 4);
    std::this_thread::sleep_for(100ms);
    EXPECT_EQ(pair.exit.counters().connections_accepted, 0u);
    set_pool(pair.client, 0);
    Opened first = open_stream(pair, listener);
    Opened second = open_stream(pair, listener);
    std::this_thread::sleep_for(100ms);
    EXPECT_EQ(pair.client.counters().pool_parked, 0u);
    EXPECT_EQ(pair.client.counters().pool_misses, 0u);
    EXPECT_EQ(pair.exit.counters().connections_accepted, 2u);
}

TEST(Pool, TheSecondStreamTakesAParkedConnection) {
    EnginePair pair;
    TestListener listener;
    set_pool(pair.client, 4);
    Opened first = open_stream(pair, listener);
    ASSERT_TRUE(parked_becomes(pair.client, 1));
    EXPECT_EQ(pair.client.counters().streams_active, 1u);
    EXPECT_EQ(pair.exit.counters().streams_active, 1u);
    Opened second = open_stream(pair, listener);
    EXPECT_EQ(pair.client.counters().pool_hits, 1u);
    EXPECT_EQ(pair.client.counters().pool_misses, 1u);
    talk(first, "first");
    talk(second, std::string(1 << 17, 'x'));
    close_both(second);
    close_both(first);
    ASSERT_TRUE(eventually([&] { return pair.client.counters().streams_active == 0; }));
    EXPECT_EQ(pair.client.counters().streams_total, 2u);
    EXPECT_EQ(pair.exit.counters().streams_total, 2u);
    EXPECT_EQ(pair.client.counters().pool_stale, 0u);
    EXPECT_EQ(testing::ended(pair.client, ring::EndReason::completed), 2u);
    EXPECT_GE(pair.client.counters().pool_parked, 1u);
}

TEST(Pool, EveryStreamOfManyArrivesWhole) {
    EnginePair pair;
    TestListener listener;
    set_pool(pair.client, 8);
    for (int i = 0; i < 200; ++i) {
        Opened stream = open_stream(pair, listener);
        talk(stream, "stream " + std::to_string(i));
        close_both(stream);
    }
    EXPECT_GT(pair.client.counters().pool_hits, 100u);
    EXPECT_EQ(pair.client.counters().hop_retries, 0u);
    ASSERT_TRUE(eventually([&] { return pair.client.counters().streams_active == 0; }));
}

TEST(Pool, EarlyDataBehindTheRequestArrivesOverAParkedConnection) {
    EnginePair pair;
    TestListener listener;
    set_pool(pair.client, 2);
    Opened first = open_stream(pair, listener);
    ASSERT_TRUE(parked_becomes(pair.client, 1));
    TestSocket app = TestSocket::connect(pair.socks_port);
    app.send(socks_request(listener.port()) + "early bird");
    TestSocket target = listener.accept();
    EXPECT_EQ(target.receive(10), "early bird");
    EXPECT_EQ(pair.client.counters().pool_hits, 1u);
}

TEST(Pool, ARefusalOverAParkedConnectionIsToldTheApplication) {
    EnginePair pair;
    TestListener listener;
    TestListener closed;
    const uint16_t port = closed.port();
    closed.close();
    set_pool(pair.client, 2);
    Opened first = open_stream(pair, listener);
    ASSERT_TRUE(parked_becomes(pair.client, 1));
    TestSocket app = TestSocket::connect(pair.socks_port);
    app.send(socks_request(port));
    EXPECT_EQ(app.receive(4), std::string("\x05\x00\x05\x05", 4));
    EXPECT_EQ(pair.client.counters().pool_hits, 1u);
    EXPECT_EQ(pair.client.counters().hop_retries, 0u);
}

TEST(Pool, ABurstGrowsItUpToTheMaximum) {
    EnginePair pair;
    TestListener listener;
    set_pool(pair.client, 3);
    std::vector<Opened> streams;
    std::vector<TestSocket> apps;
    for (int i = 0; i < 8; ++i) {
        apps.push_back(TestSocket::connect(pair.socks_port));
        apps.back().send(socks_request(listener.port()));
    }
    for (int i = 0; i < 8; ++i) streams.push_back({TestSocket(), listener.accept()});
    EXPECT_TRUE(parked_becomes(pair.client, 3));
    std::this_thread::sleep_for(100ms);
    EXPECT_EQ(pair.client.counters().pool_parked, 3u);
    set_pool(pair.client, 1);
    EXPECT_TRUE(parked_becomes(pair.client, 1));
    set_pool(pair.client, 0);
    EXPECT_TRUE(parked_becomes(pair.client, 0));
}

TEST(Pool, ItHasAShareOfTheStreamsAndNoMore) {
    auto limits = testing::small_limits();
    limits.streams = 16;
    EnginePair pair(crypto::Suite::aes_128_gcm, limits);
    TestListener listener;
    set_pool(pair.client, 32);
    std::vector<TestSocket> apps;
    for (int i = 0; i < 8; ++i) {
        apps.push_back(TestSocket::connect(pair.socks_port));
        apps.back().send(socks_request(listener.port()));
    }
    std::vector<TestSocket> targets;
    for (int i = 0; i < 8; ++i) targets.push_back(listener.accept());
    EXPECT_TRUE(parked_becomes(pair.client, 2));
    std::this_thread::sleep_for(100ms);
    EXPECT_EQ(pair.client.counters().pool_parked, 2u);
    // They take no place of a stream.
    for (int i = 0; i < 8; ++i) {
        apps.push_back(TestSocket::connect(pair.socks_port));
        apps.back().send(socks_request(listener.port()));
        targets.push_back(listener.accept());
        EXPECT_EQ(apps.back().receive(4), std::string("\x05\x00\x05\x00", 4));
    }
}

TEST(Pool, AtTheNodesCapParkedConnectionsMakeRoom) {
    auto limits = testing::small_limits();
    limits.streams = 16;
    EnginePair pair(crypto::Suite::aes_128_gcm, limits);
    TestListener listener;
    set_pool(pair.client, 2);
    Opened first = open_stream(pair, listener);
    ASSERT_TRUE(parked_becomes(pair.client, 1));
    std::vector<Opened> streams;
    for (int i = 0; i < 15; ++i) streams.push_back(open_stream(pair, listener));
    for (Opened& stream : streams) talk(stream, "here");
    EXPECT_EQ(pair.client.counters().hop_retries, 0u);
}

TEST(Pool, DrainWithParkedConnectionsEndsAtOnce) {
    EnginePair pair;
    TestListener listener;
    set_pool(pair.client, 4);
    Opened stream = open_stream(pair, listener);
    ASSERT_TRUE(parked_becomes(pair.client, 1));
    close_both(stream);
    ASSERT_TRUE(eventually([&] { return pair.client.counters().streams_active == 0; }));
    pair.client.tell(ring::Drain{});
    pair.client.expect<ring::Drained>();
    EXPECT_EQ(pair.client.counters().pool_parked, 0u);
    EXPECT_TRUE(eventually([&] { return testing::ended(pair.exit, ring::EndReason::parked_expired) >= 1; }));
}

TEST(Pool, ADrainingNodeEndsWhatIsParkedThere) {
    EnginePair pair;
    TestListener listener;
    set_pool(pair.client, 4);
    Opened stream = open_stream(pair, listener);
    ASSERT_TRUE(parked_becomes(pair.client, 1));
    close_both(stream);
    pair.exit.tell(ring::Drain{});
    pair.exit.expect<ring::Drained>();
    EXPECT_TRUE(parked_becomes(pair.client, 0));
}

TEST(Pool, WithoutItsControlPlaneNothingIsKept) {
    EnginePair pair;
    TestListener listener;
    set_pool(pair.client, 4);
    Opened stream = open_stream(pair, listener);
    ASSERT_TRUE(parked_becomes(pair.client, 1));
    pair.client.cut_lifeline();
    EXPECT_TRUE(parked_becomes(pair.client, 0));
    talk(stream, "goes on");
}

}  // namespace
}  // namespace qanat::dataplane
