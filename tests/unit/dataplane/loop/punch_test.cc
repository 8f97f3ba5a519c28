// Direct connections through NATs, without NATs: real engines, the test in the place of the control plane, of the relay
// or of the other side. What NATs make of it is for tests/e2e/test_punch.py.

#include <gtest/gtest.h>

#include <chrono>
#include <thread>

#include "dataplane/stream/punching.h"
#include "tests/support/engine_pair.h"
#include "tests/support/sockets.h"
#include "tests/support/streams.h"
#include "tests/support/test_relay.h"

namespace qanat::dataplane {
namespace {

using ::qanat::testing::TestListener;
using ::qanat::testing::TestSocket;
using testing::accept_request;
using testing::Asked;
using testing::client_session;
using testing::EnginePair;
using testing::eventually;
using testing::LoneEngine;
using testing::loopback;
using testing::open_stream;
using testing::Opened;
using testing::socks_request;
using wire::RequestKind;
using wire::StreamStatus;
using namespace std::chrono_literals;

constexpr uint32_t kExitNode = 7;  // of EnginePair
constexpr uint32_t kRelayNode = 20;

uint16_t port_of(const TestSocket& socket) {
    sockaddr_in address{};
    socklen_t size = sizeof address;
    ::getpeername(socket.fd(), reinterpret_cast<sockaddr*>(&address), &size);
    return ntohs(address.sin_port);
}

ring::PunchPeer peer_at(uint64_t punch, uint16_t port) {
    return {.punch = punch, .start = ring::PunchStart::ready, .zero = 0, .delay_ms = 0, .peer = loopback(port)};
}

ring::PunchPeer no_peer(uint64_t punch, ring::PunchStart start) {
    return {.punch = punch, .start = start, .zero = 0, .delay_ms = 0, .peer = {}};
}

// The exit stands for the relay as well; it answers OBSERVE, and refuses to carry anything.
struct Client : EnginePair {
    Client() {
        ring::InstallSession install = client_session(50, kRelayNode);
        install.header_key.fill(0x5a);
        client.tell(install);
        install.side = ring::SessionSide::node;
        install.node = 0;
        install.header_key = {};
        exit.tell(install);
        client.tell(ring::Settings{.stream_events = 0, .zero = {}, .pool_max = 4, .pool_min_rtt_us = 0, .zero2 = 0});
        route(1);
        // The same two ports can be joined once only, and from the one to the relay's there is a connection already.
        exit.tell(ring::Listen{.listener = 2,
                               .kind = ring::ListenerKind::tunnel,
                               .check_exclusive = 1,
                               .zero = 0,
                               .address = loopback(0)});
        other_port = exit.expect<ring::ListenResult>().address.port;
    }
    void route(uint8_t punch) {
        ring::PlanPart plan{};
        plan.version = ++version_;
        plan.total = plan.count = 1;
        plan.rule = ring::PlanRule::random;
        plan.response_timeout_ms = 300;
        plan.tries_max = 1;
        plan.hops[0].node = kExitNode;
        plan.hops[0].weight = 1;
        plan.hops[0].address = loopback(tunnel_port);
        plan.hops[0].state = ring::HopState::up;
        plan.hops[0].via_count = 1;
        plan.hops[0].punch = punch;
        plan.hops[0].via[0] = {.node = kRelayNode, .next = {}};
        client.tell(plan);
    }
    // A stream, which fails: the relay does not carry it. It is demand all the same.
    void want() {
        TestSocket app = TestSocket::connect(socks_port);
        app.send(socks_request(1));
        (void)app.receive(12);
    }
    ring::PunchObserved observed() {
        want();
        return client.expect<ring::PunchObserved>();
    }

    uint16_t other_port = 0;  // where the exit can be punched to

private:
    uint32_t version_ = 100;
};

TEST(Punch, AStreamTakesTheConnectionThatWasMade) {
    Client pair;
    const auto observed = pair.observed();
    EXPECT_EQ(observed.node, kExitNode);
    EXPECT_NE(observed.punch & ring::kClientPunchBit, 0u);
    EXPECT_EQ(observed.observed.ip, loopback(0).ip);
    EXPECT_GE(observed.observed.port, 1024);
    EXPECT_EQ(pair.client.counters().punched, 0u);

    pair.client.tell(peer_at(observed.punch, pair.other_port));
    ASSERT_TRUE(eventually([&] { return pair.client.counters().punched_ready == 1; }));
    EXPECT_EQ(pair.client.counters().punched, 1u);
    EXPECT_EQ(pair.client.counters().pool_parked, 1u);
    TestListener listener;
    Opened stream = open_stream(pair, listener);
    EXPECT_EQ(pair.client.counters().punched_streams, 1u);
    EXPECT_EQ(pair.client.counters().punched_ready, 0u);
    stream.app.send("past the relay");
    EXPECT_EQ(stream.target.receive(14), "past the relay");
}

TEST(Punch, ARefusedTryIsRepeatedForAWhile) {
    Client pair;
    const auto observed = pair.observed();
    uint16_t port = 0;
    {
        TestListener nobody;
        port = nobody.port();
    }
    pair.client.tell(peer_at(observed.punch, port));
    std::this_thread::sleep_for(500ms);
    EXPECT_EQ(pair.client.counters().punch_failed, 0u);
    EXPECT_TRUE(eventually([&] { return pair.client.counters().punch_failed == 1; }));
    EXPECT_EQ(pair.client.counters().punched, 0u);
    // And not again at once, however many streams come.
    for (int i = 0; i < 5; ++i) pair.want();
    std::this_thread::sleep_for(300ms);
    EXPECT_EQ(pair.client.counters().punch_failed, 1u);
}

TEST(Punch, WhatTheOtherSideDoesNotDoIsNotTriedAgainSoon) {
    for (const auto start : {ring::PunchStart::busy, ring::PunchStart::impossible}) {
        Client pair;
        const auto observed = pair.observed();
        pair.client.tell(no_peer(observed.punch, start));
        EXPECT_TRUE(eventually([&] { return pair.client.counters().punch_failed == 1; }));
        const uint64_t accepted = pair.exit.counters().connections_accepted;
        pair.want();  // one connection, for the stream
        EXPECT_LE(pair.exit.counters().connections_accepted, accepted + 2);
    }
}

TEST(Punch, NotWhereThePlanDoesNotSaySo) {
    Client pair;
    pair.route(0);
    for (int i = 0; i < 3; ++i) pair.want();
    std::this_thread::sleep_for(200ms);
    EXPECT_EQ(pair.client.counters().punch_failed, 0u);
    EXPECT_EQ(testing::ended(pair.exit, ring::EndReason::completed), 0u) << "no OBSERVE";
}

TEST(Punch, ConnectionsAreClosedWhenThePlanForbidsThem) {
    Client pair;
    const auto observed = pair.observed();
    pair.client.tell(peer_at(observed.punch, pair.other_port));
    ASSERT_TRUE(eventually([&] { return pair.client.counters().punched_ready == 1; }));
    pair.route(0);
    EXPECT_TRUE(eventually([&] { return pair.client.counters().punched_ready == 0; }));
}

TEST(Punch, TheSessionTakesItsConnectionsWithIt) {
    Client pair;
    const auto observed = pair.observed();
    pair.client.tell(peer_at(observed.punch, pair.other_port));
    ASSERT_TRUE(eventually([&] { return pair.client.counters().punched_ready == 1; }));
    pair.client.tell(ring::RemoveSession{.session_id = 1001, .node_lost = 0, .zero = {}});
    EXPECT_TRUE(eventually([&] { return pair.client.counters().punched_ready == 0; }));
}

TEST(Punch, AnEngineThatDrainsForgetsThem) {
    Client pair;
    (void)pair.observed();
    pair.client.tell(ring::Drain{});
    (void)pair.client.expect<ring::Drained>();
    EXPECT_EQ(pair.client.counters().punched, 0u);
}

// A node, and the test in the place of its relay.
struct Node : EnginePair {
    Node() { exit.tell(session); }
    // What the relay was asked from, and its answer.
    Asked ask(uint64_t punch) {
        exit.tell(ring::Punch{.punch = punch, .relay = kRelayNode, .address = loopback(relay.port())});
        return accept_request(relay, session);
    }

    ring::InstallSession session = client_session(50, kRelayNode);
    TestListener relay;
};

TEST(Punch, ANodeConnectsFromThePortThatTheRelaySaw) {
    Node pair;
    Asked asked = pair.ask(9);
    EXPECT_EQ(asked.request.kind, RequestKind::observe);
    asked.send(asked.side.answer());
    const auto observed = pair.exit.expect<ring::PunchObserved>();
    EXPECT_EQ(observed.punch, 9u);
    EXPECT_EQ(observed.error, 0);
    TestListener peer;
    pair.exit.tell(peer_at(9, peer.port()));
    const TestSocket direct = peer.accept();
    EXPECT_EQ(port_of(direct), port_of(asked.socket));
    EXPECT_TRUE(eventually([&] { return pair.exit.counters().punched == 1; }));
    // It waits for a member to prove itself, as on any accepted connection.
    EXPECT_TRUE(eventually([&] { return pair.exit.counters().unauthenticated_active == 1; }));
}

TEST(Punch, ANodeWaitsAsLongAsItIsTold) {
    Node pair;
    Asked asked = pair.ask(9);
    asked.send(asked.side.answer());
    (void)pair.exit.expect<ring::PunchObserved>();
    TestListener peer;
    ring::PunchPeer later = peer_at(9, peer.port());
    later.delay_ms = 300;
    const auto begun = std::chrono::steady_clock::now();
    pair.exit.tell(later);
    (void)peer.accept();
    EXPECT_GE(std::chrono::steady_clock::now() - begun, 300ms);
}

TEST(Punch, ANodeSaysWhyItCannotBeSeen) {
    Node pair;
    Asked refused = pair.ask(9);
    refused.send(refused.side.answer(StreamStatus::kind_not_supported));
    EXPECT_NE(pair.exit.expect<ring::PunchObserved>().error, 0);
    {
        Asked cut = pair.ask(10);
        cut.socket.reset();
    }
    const auto lost = pair.exit.expect<ring::PunchObserved>();
    EXPECT_EQ(lost.punch, 10u);
    EXPECT_NE(lost.error, 0);
    pair.exit.tell(ring::Punch{.punch = 11, .relay = kRelayNode + 1, .address = loopback(pair.relay.port())});
    EXPECT_EQ(pair.exit.expect<ring::PunchObserved>().error, ENOTCONN);
}

TEST(Punch, ANodeHasACap) {
    Node pair;
    std::vector<Asked> asked;
    for (uint64_t punch = 0; punch < Punching::kMax; ++punch) asked.push_back(pair.ask(punch));
    pair.exit.tell(ring::Punch{.punch = 99, .relay = kRelayNode, .address = loopback(pair.relay.port())});
    const auto full = pair.exit.expect<ring::PunchObserved>();
    EXPECT_EQ(full.punch, 99u);
    EXPECT_EQ(full.error, EBUSY);
}

}  // namespace
}  // namespace qanat::dataplane
