// Connections that a client keeps parked at its exit: real engines on both sides, or the test in the exit's place.

#include <gtest/gtest.h>

#include <chrono>
#include <functional>
#include <thread>
#include <vector>

#include "tests/support/engine_pair.h"
#include "tests/support/fake_node.h"
#include "tests/support/sockets.h"
#include "tests/support/streams.h"

namespace qanat::dataplane {
namespace {

using ::qanat::testing::TestListener;
using ::qanat::testing::TestSocket;
using testing::close_both;
using testing::EnginePair;
using testing::eventually;
using testing::FakeNode;
using testing::FakeTunnel;
using testing::LoneEngine;
using testing::open_stream;
using testing::Opened;
using testing::socks_request;
using testing::talk;
using wire::RequestKind;
using wire::StreamStatus;
using namespace std::chrono_literals;

void set_pool(LoneEngine& client, uint32_t per_node) {
    client.tell(ring::Settings{.stream_events = 0, .zero = {}, .pool_max = per_node, .pool_min_rtt_us = 0, .zero2 = 0});
}

bool parked_becomes(LoneEngine& client, uint64_t count) {
    return eventually([&] { return client.counters().pool_parked == count; });
}

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

TEST(Pool, ConnectionsOfARemovedSessionAreReplaced) {
    EnginePair pair;
    TestListener listener;
    set_pool(pair.client, 4);
    Opened first = open_stream(pair, listener);
    ASSERT_TRUE(parked_becomes(pair.client, 1));
    pair.install_session(1002);
    const uint64_t accepted = pair.exit.counters().connections_accepted;
    pair.client.tell(ring::RemoveSession{.session_id = 1001, .node_lost = 0, .zero = {}});
    ASSERT_TRUE(eventually([&] { return pair.exit.counters().connections_accepted > accepted; }));
    ASSERT_TRUE(parked_becomes(pair.client, 1));
    // The session is unknown to the exit now: only the new one can be what is parked.
    pair.exit.tell(ring::RemoveSession{.session_id = 1001, .node_lost = 0, .zero = {}});
    Opened second = open_stream(pair, listener);
    EXPECT_EQ(pair.client.counters().pool_hits, 1u);
    talk(first, "old");
    talk(second, "new");
}

TEST(Pool, ANodeEndsWhatIsParkedUnderASessionThatItForgets) {
    EnginePair pair;
    TestListener listener;
    set_pool(pair.client, 4);
    Opened first = open_stream(pair, listener);
    ASSERT_TRUE(parked_becomes(pair.client, 1));
    pair.exit.tell(ring::RemoveSession{.session_id = 1001, .node_lost = 0, .zero = {}});
    ASSERT_TRUE(parked_becomes(pair.client, 0));
    talk(first, "goes on");
}

TEST(Pool, ANewAddressMeansNewConnections) {
    EnginePair pair;
    FakeNode elsewhere(testing::pair_session(1001));
    TestListener listener;
    set_pool(pair.client, 4);
    Opened first = open_stream(pair, listener);
    ASSERT_TRUE(parked_becomes(pair.client, 1));
    pair.route_to(elsewhere.port());
    ASSERT_TRUE(parked_becomes(pair.client, 0));
    EXPECT_FALSE(elsewhere.is_called(100)) << "no stream was opened there yet";
}

TEST(Pool, AnExitThatRestartsCostsNoStream) {
    EnginePair pair;
    TestListener listener;
    set_pool(pair.client, 4);
    {
        Opened first = open_stream(pair, listener);
        ASSERT_TRUE(parked_becomes(pair.client, 1));
    }
    pair.exit.stop();
    ASSERT_TRUE(parked_becomes(pair.client, 0));

    EnginePair next;  // its exit takes the place of the one that has ended
    next.install_session(1002);
    pair.client.tell(testing::pair_session(1002));
    pair.client.tell(ring::RemoveSession{.session_id = 1001, .node_lost = 1, .zero = {}});
    pair.route_to(next.tunnel_port);
    for (int i = 0; i < 20; ++i) {
        Opened stream = open_stream(pair, listener);
        talk(stream, "after");
    }
    EXPECT_GT(pair.client.counters().pool_hits, 0u);
}

std::string first_bytes(TestSocket socket, size_t count) {
    std::string bytes(count, '\0');
    const ssize_t got = ::recv(socket.fd(), bytes.data(), count, MSG_WAITALL);
    bytes.resize(got > 0 ? static_cast<size_t>(got) : 0);
    return bytes;
}

TEST(Pool, StreamsAreOpenedWhileSessionsComeAndGo) {
    EnginePair pair;
    TestListener listener;
    set_pool(pair.client, 8);
    std::jthread control([&](const std::stop_token& stop) {
        for (uint64_t id = 1002; !stop.stop_requested(); ++id) {
            pair.install_session(id);
            std::this_thread::sleep_for(3ms);
            pair.client.tell(ring::RemoveSession{.session_id = id - 1, .node_lost = 0, .zero = {}});
            std::this_thread::sleep_for(3ms);
            pair.exit.tell(ring::RemoveSession{.session_id = id - 1, .node_lost = 0, .zero = {}});
        }
    });
    for (int i = 0; i < 300; ++i) {
        TestSocket app = TestSocket::connect(pair.socks_port);
        const std::string text = "stream " + std::to_string(1000 + i);
        app.send(socks_request(listener.port()) + text);
        // A stream that moved to another session before it had its RESPONSE may have reached the target already: that
        // connection ends without a byte.
        std::string got;
        while (got.empty()) got = first_bytes(listener.accept(), text.size());
        ASSERT_EQ(got, text);
        ASSERT_EQ(app.receive(6), std::string("\x05\x00\x05\x00\x00\x01", 6));
    }
    control.request_stop();
    EXPECT_GT(pair.client.counters().pool_hits, 0u);
}

constexpr uint32_t kRelayNode = 20;

void route_over(EnginePair& pair, uint32_t relay, uint16_t relay_port) {
    ring::PlanPart plan{};
    plan.version = 50;
    plan.total = plan.count = 1;
    plan.rule = ring::PlanRule::ordered;
    plan.response_timeout_ms = 4000;
    plan.tries_max = 2;
    plan.hops[0].node = 7;
    plan.hops[0].weight = 1;
    plan.hops[0].address = testing::loopback(relay_port);
    plan.hops[0].state = ring::HopState::up;
    plan.hops[0].via_count = 1;
    plan.hops[0].via[0] = {.node = relay, .next = testing::loopback(pair.tunnel_port)};
    pair.client.tell(plan);
}

TEST(Pool, ItReachesThroughRelays) {
    EnginePair pair;
    const auto session = testing::client_session(50, kRelayNode);
    pair.client.tell(session);
    testing::TestRelay relay(session, pair.tunnel_port);
    route_over(pair, kRelayNode, relay.port());
    set_pool(pair.client, 1);
    TestListener listener;
    {
        // This relay carries one after the other, and a stream that is reset leaves its tunnel to nobody.
        Opened first = open_stream(pair, listener);
        first.app.reset();
        EXPECT_EQ(first.target.receive_end(), ECONNRESET);
    }
    ASSERT_TRUE(parked_becomes(pair.client, 1));
    EXPECT_EQ(relay.carried(), 2);
    Opened second = open_stream(pair, listener);
    EXPECT_EQ(pair.client.counters().pool_hits, 1u);
    EXPECT_EQ(relay.carried(), 2);
    talk(second, std::string(1 << 17, 'r'));
    close_both(second);
    pair.client.tell(ring::Drain{});
    pair.client.expect<ring::Drained>();
}

TEST(Pool, ARelayWithoutSessionIsNotAsked) {
    EnginePair pair;
    FakeNode relay(testing::pair_session(50, kRelayNode));
    TestListener listener;
    set_pool(pair.client, 1);
    Opened first = open_stream(pair, listener);
    ASSERT_TRUE(parked_becomes(pair.client, 1));
    route_over(pair, kRelayNode, relay.port());
    ASSERT_TRUE(parked_becomes(pair.client, 0));
    EXPECT_FALSE(relay.is_called(100));
}

// A client whose exit is the test.
class WithFakeNode : public ::testing::Test {
protected:
    WithFakeNode() {
        set_pool(pair.client, 1);
        pair.route_to(node.port());
    }
    TestSocket ask() {
        TestSocket app = TestSocket::connect(pair.socks_port);
        app.send(socks_request(80));
        return app;
    }
    static void expect_success(TestSocket& app) { EXPECT_EQ(app.receive(4), std::string("\x05\x00\x05\x00", 4)); }
    // The first stream, by a connection of its own.
    void open_first() {
        TestSocket app = ask();
        FakeTunnel tunnel = node.accept();
        EXPECT_EQ(tunnel.request.kind, RequestKind::connect);
        tunnel.answer(StreamStatus::ok);
        expect_success(app);
    }
    FakeTunnel accept_parking() {
        FakeTunnel tunnel = node.accept();
        EXPECT_EQ(tunnel.request.kind, RequestKind::park);
        return tunnel;
    }
    FakeTunnel park() {
        FakeTunnel tunnel = accept_parking();
        tunnel.answer(StreamStatus::parked);
        return tunnel;
    }
    uint64_t stale() { return pair.client.counters().pool_stale; }

    EnginePair pair;
    FakeNode node{testing::pair_session(1001)};
};

TEST_F(WithFakeNode, ADeadParkedConnectionIsReplacedByAFreshOne) {
    open_first();
    FakeTunnel parked = park();
    ASSERT_TRUE(parked_becomes(pair.client, 1));
    TestSocket app = ask();
    EXPECT_EQ(parked.next_request().kind, RequestKind::connect);
    parked.socket.reset();
    FakeTunnel refill = accept_parking();
    FakeTunnel fresh = node.accept();
    EXPECT_EQ(fresh.request.kind, RequestKind::connect);
    fresh.answer(StreamStatus::ok);
    expect_success(app);
    EXPECT_EQ(stale(), 1u);
    EXPECT_EQ(pair.client.counters().hop_retries, 0u);
}

TEST_F(WithFakeNode, TwoDeadOnesAreEnough) {
    open_first();
    FakeTunnel parked = park();
    ASSERT_TRUE(parked_becomes(pair.client, 1));
    TestSocket app = ask();
    (void)parked.next_request();
    FakeTunnel second = park();
    ASSERT_TRUE(parked_becomes(pair.client, 1));
    parked.socket.close();  // an end is as bad as a reset
    (void)second.next_request();
    FakeTunnel third = park();
    ASSERT_TRUE(parked_becomes(pair.client, 1));
    second.socket.reset();
    FakeTunnel fresh = node.accept();
    EXPECT_EQ(fresh.request.kind, RequestKind::connect);
    fresh.answer(StreamStatus::ok);
    expect_success(app);
    EXPECT_EQ(stale(), 2u);
    EXPECT_EQ(pair.client.counters().pool_parked, 1u);
    EXPECT_EQ(pair.client.counters().hop_retries, 0u);
}

TEST_F(WithFakeNode, ASilentOneIsLeftSoonForAFreshOne) {
    open_first();
    FakeTunnel parked = park();
    ASSERT_TRUE(parked_becomes(pair.client, 1));
    const auto start = std::chrono::steady_clock::now();
    TestSocket app = ask();
    (void)parked.next_request();
    FakeTunnel refill = park();
    FakeTunnel fresh = node.accept();
    EXPECT_GE(std::chrono::steady_clock::now() - start, 1400ms);
    EXPECT_EQ(fresh.request.kind, RequestKind::connect) << "not the next one that is parked";
    EXPECT_EQ(parked.socket.receive_end(), 0);
    fresh.answer(StreamStatus::ok);
    expect_success(app);
    EXPECT_EQ(pair.client.counters().hop_retries, 0u);
}

TEST_F(WithFakeNode, HalfAResponseIsAFailureOfTheNode) {
    open_first();
    FakeTunnel parked = park();
    ASSERT_TRUE(parked_becomes(pair.client, 1));
    TestSocket app = ask();
    (void)parked.next_request();
    const auto response = parked.side.response(StreamStatus::ok);
    parked.socket.send(testing::text_of(response).substr(0, 1));
    std::this_thread::sleep_for(20ms);
    parked.socket.reset();
    EXPECT_EQ(pair.client.expect<ring::HopFailed>().stage, ring::HopStage::response);
    EXPECT_EQ(stale(), 0u);
}

TEST_F(WithFakeNode, TheResponseMayComeByteByByte) {
    open_first();
    FakeTunnel parked = park();
    ASSERT_TRUE(parked_becomes(pair.client, 1));
    TestSocket app = ask();
    (void)parked.next_request();
    const std::string response = testing::text_of(parked.side.response(StreamStatus::ok));
    EXPECT_EQ(response.size(), wire::kResponseFlightMultiple);
    for (const char byte : response) {
        parked.socket.send(std::string(1, byte));
        std::this_thread::sleep_for(200us);
    }
    expect_success(app);
}

TEST_F(WithFakeNode, OneThatHasEndedOrSpokenIsNotUsed) {
    open_first();
    FakeTunnel ended = park();
    ASSERT_TRUE(parked_becomes(pair.client, 1));
    ended.socket.close();
    ASSERT_TRUE(parked_becomes(pair.client, 0));
    FakeTunnel talks = park();
    ASSERT_TRUE(parked_becomes(pair.client, 1));
    talks.socket.send("!");
    ASSERT_TRUE(parked_becomes(pair.client, 0));
    EXPECT_EQ(talks.socket.receive_end(), ECONNRESET) << "with bytes that nobody has read";
}

TEST_F(WithFakeNode, ANodeThatDoesNotParkIsLeftInPeace) {
    open_first();
    accept_parking().answer(StreamStatus::kind_not_supported);
    EXPECT_FALSE(node.is_called(1500));
    TestSocket app = ask();
    FakeTunnel tunnel = node.accept();
    EXPECT_EQ(tunnel.request.kind, RequestKind::connect);
    tunnel.answer(StreamStatus::ok);
    expect_success(app);
    EXPECT_FALSE(node.is_called(100));
}

TEST_F(WithFakeNode, AFailureIsReportedOnceAndTriedAgainLater) {
    open_first();
    accept_parking().socket.reset();
    EXPECT_EQ(pair.client.expect<ring::HopFailed>().error, ECONNRESET);
    const auto start = std::chrono::steady_clock::now();
    FakeTunnel again = park();
    EXPECT_GE(std::chrono::steady_clock::now() - start, 300ms);
    EXPECT_TRUE(parked_becomes(pair.client, 1));
}

TEST_F(WithFakeNode, ClosingSaysGoodbye) {
    open_first();
    FakeTunnel parked = park();
    ASSERT_TRUE(parked_becomes(pair.client, 1));
    set_pool(pair.client, 0);
    std::string goodbye = parked.socket.receive(1024);
    crypto::Aead aead;
    aead.expand(parked.side.from_client.suite, parked.side.from_client.key_bytes());
    const auto record = wire::open_record(aead, parked.side.from_client,
                                          std::span(reinterpret_cast<uint8_t*>(goodbye.data()), goodbye.size()));
    ASSERT_TRUE(record);
    EXPECT_EQ(record->type, wire::ContentType::alert);
    EXPECT_EQ(testing::text_of(record->content), std::string("\x01\x00", 2));
}

TEST_F(WithFakeNode, ASessionThatGoesAwayWhileItIsUsedStartsTheStreamOver) {
    open_first();
    FakeTunnel parked = park();
    ASSERT_TRUE(parked_becomes(pair.client, 1));
    TestSocket app = ask();
    (void)parked.next_request();
    FakeTunnel refill = accept_parking();
    pair.install_session(1002);
    FakeNode next(testing::pair_session(1002));
    pair.route_to(next.port());
    pair.client.tell(ring::RemoveSession{.session_id = 1001, .node_lost = 0, .zero = {}});
    FakeTunnel fresh = next.accept();
    EXPECT_EQ(fresh.request.kind, RequestKind::connect);
    fresh.answer(StreamStatus::ok);
    expect_success(app);
}

}  // namespace
}  // namespace qanat::dataplane
