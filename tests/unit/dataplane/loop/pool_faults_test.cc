// Parked connections at an exit that the test plays, and plays badly.

#include <gtest/gtest.h>

#include <chrono>
#include <string>
#include <thread>

#include "tests/support/engine_pair.h"
#include "tests/support/fake_node.h"
#include "tests/support/sockets.h"
#include "tests/support/streams.h"
#include "tests/unit/dataplane/loop/parked.h"

namespace qanat::dataplane {
namespace {

using ::qanat::testing::TestSocket;
using testing::EnginePair;
using testing::FakeNode;
using testing::FakeTunnel;
using testing::parked_becomes;
using testing::set_pool;
using testing::socks_request;
using wire::RequestKind;
using wire::StreamStatus;
using namespace std::chrono_literals;

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
