// Connections that a node keeps ready at a relay, with the test in the relay's place; and what comes through them, from
// a real client engine.

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
using testing::EnginePair;
using testing::FakeNode;
using testing::FakeTunnel;
using testing::socks_request;
using wire::RequestKind;
using wire::StreamStatus;
using namespace std::chrono_literals;

constexpr uint64_t kRelaySession = 2001;
constexpr uint32_t kRelayNumber = 3;
constexpr std::array<uint8_t, 16> kSource{0x51, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16};

class Offers : public ::testing::Test {
protected:
    Offers() { pair.exit.tell(testing::pair_session(kRelaySession, kRelayNumber)); }

    void offer(uint16_t minimum, uint16_t maximum) {
        ring::Offer command{};
        command.node = kRelayNumber;
        command.minimum = minimum;
        command.maximum = maximum;
        command.address = testing::loopback(relay.port());
        pair.exit.tell(command);
    }
    FakeTunnel accept_offer() {
        FakeTunnel tunnel = relay.accept();
        EXPECT_EQ(tunnel.request.kind, RequestKind::offer);
        return tunnel;
    }
    FakeTunnel accept_parked() {
        FakeTunnel tunnel = accept_offer();
        tunnel.answer(StreamStatus::parked);
        return tunnel;
    }
    static std::string taken(FakeTunnel& tunnel, uint16_t waiting = 0, size_t size = wire::kTakenRecordSize) {
        std::array<uint8_t, wire::kTakenSize> content;
        (void)wire::encode_taken(content, {.source = kSource, .waiting = waiting});
        return testing::text_of(
            tunnel.side.seal(content, wire::ContentType::control, wire::padding_for(0, content.size(), size)));
    }
    bool parked_becomes(uint64_t count) {
        for (int i = 0; i < 1000; ++i) {
            if (pair.exit.counters().offers_parked == count) return true;
            std::this_thread::sleep_for(2ms);
        }
        return false;
    }
    ring::OfferState state_with(const std::function<bool(const ring::OfferState&)>& holds) {
        while (true) {
            const auto state = pair.exit.expect<ring::OfferState>();
            if (holds(state)) return state;
        }
    }

    EnginePair pair;
    FakeNode relay{testing::pair_session(kRelaySession, kRelayNumber)};
};

// A stream of a client, which dials the test instead of the node, and the first flight that it sent.
struct ClientStream {
    ClientStream(EnginePair& pair, uint16_t target_port, TestListener& instead_of_node) {
        app = TestSocket::connect(pair.socks_port);
        app.send(socks_request(target_port));
        tunnel = instead_of_node.accept();
        flight = tunnel.receive(wire::kRequestFlightMultiple);
    }
    TestSocket app;
    TestSocket tunnel;
    std::string flight;
};

TEST_F(Offers, NothingIsOfferedWithoutASession) {
    pair.exit.tell(ring::RemoveSession{.session_id = kRelaySession, .node_lost = 0, .zero = {}});
    offer(1, 4);
    EXPECT_FALSE(relay.is_called(100));
    pair.exit.tell(testing::pair_session(kRelaySession + 1, kRelayNumber));
    EXPECT_TRUE(relay.is_called(1000));
}

TEST_F(Offers, TheMinimumWaitsAndIsReported) {
    offer(3, 8);
    std::vector<FakeTunnel> offered;
    for (int i = 0; i < 3; ++i) offered.push_back(accept_parked());
    EXPECT_TRUE(parked_becomes(3));
    EXPECT_FALSE(relay.is_called(100));
    const auto state = state_with([](const auto& now) { return now.parked == 3; });
    EXPECT_EQ(state.node, kRelayNumber);
    EXPECT_EQ(state.error, 0);
    EXPECT_EQ(state.taken, 0u);
    EXPECT_EQ(pair.exit.counters().streams_active, 0u);
}

TEST_F(Offers, WhatStandsBehindTakenBecomesAStreamHoweverItIsSplit) {
    TestListener listener;
    TestListener instead_of_node;
    pair.route_to(instead_of_node.port());
    offer(1, 8);
    const size_t whole = wire::kResponseFlightMultiple + wire::kRequestFlightMultiple;
    std::vector<size_t> splits{1, 4, 5, 6, 255, 256, 257, whole - 1, whole};
    for (size_t split = 30; split < whole; split += 61) splits.push_back(split);
    for (const size_t split : splits) {
        FakeTunnel offered = accept_parked();
        ASSERT_TRUE(parked_becomes(1));
        ClientStream stream(pair, listener.port(), instead_of_node);
        const std::string bytes = taken(offered) + stream.flight;
        ASSERT_EQ(bytes.size(), whole);
        offered.socket.send(bytes.substr(0, split));
        std::this_thread::sleep_for(3ms);
        offered.socket.send(bytes.substr(split));
        TestSocket target = listener.accept();
        stream.tunnel.send(offered.socket.receive(wire::kResponseFlightMultiple));
        ASSERT_EQ(stream.app.receive(6), std::string("\x05\x00\x05\x00\x00\x01", 6)) << split;
        stream.app.send("ping");
        offered.socket.send(stream.tunnel.receive(4 + wire::kRecordOverhead));
        ASSERT_EQ(target.receive(4), "ping") << split;
        target.send("pong");
        stream.tunnel.send(offered.socket.receive(4 + wire::kRecordOverhead));
        stream.app.receive(6);
        ASSERT_EQ(stream.app.receive(4), "pong") << split;
    }
    EXPECT_EQ(pair.exit.counters().offers_taken, splits.size());
    EXPECT_EQ(pair.exit.counters().streams_total, splits.size());
}

TEST_F(Offers, TakenMayComeTogetherWithParked) {
    TestListener listener;
    TestListener instead_of_node;
    pair.route_to(instead_of_node.port());
    offer(1, 8);
    FakeTunnel offered = accept_offer();
    ClientStream stream(pair, listener.port(), instead_of_node);
    const std::string parked = testing::text_of(offered.side.answer(StreamStatus::parked));
    offered.socket.send(parked + taken(offered) + stream.flight);
    TestSocket target = listener.accept();
    EXPECT_EQ(offered.socket.receive(wire::kResponseFlightMultiple).size(), wire::kResponseFlightMultiple);
}

TEST_F(Offers, AnEndBehindTheFirstFlightDoesNotLoseIt) {
    offer(1, 8);
    FakeTunnel offered = accept_parked();
    ASSERT_TRUE(parked_becomes(1));
    offered.socket.send(taken(offered));
    offered.socket.close();
    FakeTunnel next = accept_parked();
    ASSERT_TRUE(parked_becomes(1));
    EXPECT_EQ(pair.exit.counters().offers_taken, 1u);
}

TEST_F(Offers, AHandshakeBehindTakenHasTheSourceForItsAddress) {
    offer(1, 8);
    for (const size_t split : {1UL, 256UL, 300UL, 768UL}) {
        FakeTunnel offered = accept_parked();
        ASSERT_TRUE(parked_becomes(1));
        std::string msg1(ring::kHandshakeSize, 'm');
        msg1[0] = 1;
        const std::string bytes = taken(offered) + msg1;
        offered.socket.send(bytes.substr(0, split));
        std::this_thread::sleep_for(3ms);
        offered.socket.send(bytes.substr(split));
        const auto accepted = pair.exit.expect<ring::ControlAccepted>();
        EXPECT_EQ(testing::text_of(accepted.bytes), msg1);
        EXPECT_EQ(accepted.peer.ip, kSource);
        EXPECT_EQ(accepted.peer.family, 6);
        EXPECT_EQ(accepted.peer.port, 0);
        ring::ControlSend answer{};
        answer.connection = accepted.connection;
        answer.size = 5;
        answer.authenticated = 1;
        std::copy_n("hello", 5, answer.bytes.begin());
        pair.exit.tell(answer);
        EXPECT_EQ(offered.socket.receive(5), "hello");
    }
}

TEST_F(Offers, WhoSaysNothingBehindTakenGoesTheSilentPath) {
    offer(1, 8);
    FakeTunnel offered = accept_parked();
    ASSERT_TRUE(parked_becomes(1));
    std::this_thread::sleep_for(300ms);  // the deadline counts from TAKEN
    const auto start = std::chrono::steady_clock::now();
    offered.socket.send(taken(offered) + "GET / HTTP/1.0\r\n\r\n");
    EXPECT_EQ(offered.socket.receive(1), "");
    EXPECT_GE(std::chrono::steady_clock::now() - start, 900ms);
}

TEST_F(Offers, AsManyAsTheRelayCouldPlaceAreOpenedAtOnce) {
    offer(1, 6);
    FakeTunnel offered = accept_parked();
    ASSERT_TRUE(parked_becomes(1));
    offered.socket.send(taken(offered, 3));
    std::vector<FakeTunnel> next;
    for (int i = 0; i < 4; ++i) next.push_back(accept_parked());
    ASSERT_TRUE(parked_becomes(4));
    EXPECT_FALSE(relay.is_called(100));
    next[0].socket.send(taken(next[0], 1000));
    for (int i = 0; i < 3; ++i) next.push_back(accept_parked());
    ASSERT_TRUE(parked_becomes(6));
    EXPECT_FALSE(relay.is_called(100)) << "more than the maximum";
    EXPECT_EQ(state_with([](const auto& now) { return now.parked == 6; }).taken, 2u);
}

TEST_F(Offers, ARefusalIsReportedAndNotRepeatedAtOnce) {
    offer(2, 4);
    accept_offer().answer(StreamStatus::relay_limit);
    accept_offer().answer(StreamStatus::relay_limit);
    const auto start = std::chrono::steady_clock::now();
    EXPECT_EQ(state_with([](const auto& now) { return now.status != 0; }).status,
              static_cast<uint8_t>(StreamStatus::relay_limit));
    FakeTunnel again = accept_parked();
    EXPECT_GE(std::chrono::steady_clock::now() - start, 300ms);
    FakeTunnel other = accept_parked();
    const auto state = state_with([](const auto& now) { return now.parked == 2; });
    EXPECT_EQ(state.status, 0);
    EXPECT_EQ(state.error, 0);
}

TEST_F(Offers, ARelayThatIsAwayIsReported) {
    const uint16_t port = relay.port();
    relay.close();
    ring::Offer command{};
    command.node = kRelayNumber;
    command.minimum = 2;
    command.maximum = 4;
    command.address = testing::loopback(port);
    pair.exit.tell(command);
    const auto state = pair.exit.expect<ring::OfferState>();
    EXPECT_EQ(state.error, ECONNREFUSED);
    EXPECT_EQ(state.parked, 0u);
}

TEST_F(Offers, OneThatTheRelayEndsIsReplaced) {
    offer(1, 4);
    FakeTunnel first = accept_parked();
    ASSERT_TRUE(parked_becomes(1));
    first.socket.close();
    FakeTunnel second = accept_parked();
    ASSERT_TRUE(parked_becomes(1));
    second.socket.send("no record at all");
    FakeTunnel third = accept_parked();
    ASSERT_TRUE(parked_becomes(1));
    third.socket.send(taken(third, 0, 2 * wire::kTakenRecordSize));
    FakeTunnel fourth = accept_parked();
    EXPECT_TRUE(parked_becomes(1));
    EXPECT_EQ(pair.exit.counters().offers_taken, 0u);
}

TEST_F(Offers, NoMoreAreWantedWithMaximumZero) {
    offer(2, 4);
    FakeTunnel first = accept_parked();
    FakeTunnel second = accept_parked();
    ASSERT_TRUE(parked_becomes(2));
    offer(0, 0);
    EXPECT_TRUE(parked_becomes(0));
    EXPECT_EQ(first.socket.receive_end(), 0);
    EXPECT_EQ(second.socket.receive_end(), 0);
    EXPECT_FALSE(relay.is_called(100));
    offer(1, 1);
    FakeTunnel third = accept_parked();
    EXPECT_TRUE(parked_becomes(1));
}

TEST_F(Offers, ANewSessionOrAddressReplacesThem) {
    offer(1, 4);
    FakeTunnel first = accept_parked();
    ASSERT_TRUE(parked_becomes(1));
    FakeNode moved(testing::pair_session(kRelaySession + 1, kRelayNumber));
    pair.exit.tell(testing::pair_session(kRelaySession + 1, kRelayNumber));
    ring::Offer command{};
    command.node = kRelayNumber;
    command.minimum = 1;
    command.maximum = 4;
    command.address = testing::loopback(moved.port());
    pair.exit.tell(command);
    EXPECT_EQ(first.socket.receive_end(), 0);
    FakeTunnel second = moved.accept();
    second.answer(StreamStatus::parked);
    ASSERT_TRUE(parked_becomes(1));
    pair.exit.tell(ring::RemoveSession{.session_id = kRelaySession, .node_lost = 0, .zero = {}});
    EXPECT_FALSE(moved.is_called(50));
    pair.exit.tell(ring::RemoveSession{.session_id = kRelaySession + 1, .node_lost = 0, .zero = {}});
    EXPECT_EQ(second.socket.receive_end(), 0);
    EXPECT_TRUE(parked_becomes(0));
}

TEST_F(Offers, DrainClosesThemAtOnce) {
    offer(2, 4);
    FakeTunnel first = accept_parked();
    FakeTunnel second = accept_parked();
    ASSERT_TRUE(parked_becomes(2));
    pair.exit.tell(ring::Drain{});
    pair.exit.expect<ring::Drained>();
    EXPECT_EQ(first.socket.receive_end(), 0);
    EXPECT_TRUE(parked_becomes(0));
}

}  // namespace
}  // namespace qanat::dataplane
