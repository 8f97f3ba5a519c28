// Which connection to the next node a relayed stream gets, in which engine, and how long it waits for one.

#include <gtest/gtest.h>

#include <chrono>
#include <vector>

#include "tests/unit/dataplane/loop/relay_pair.h"

namespace qanat::dataplane {
namespace {

using ::qanat::testing::TestListener;
using ::qanat::testing::TestSocket;
using ring::EndReason;
using testing::answer;
using testing::becomes;
using testing::ended;
using testing::eventually;
using testing::expect_carries;
using testing::kAsker;
using testing::kNode;
using testing::open_pair;
using testing::Pair;
using testing::RawStream;
using testing::RelayEngines;
using testing::taken;
using wire::StreamStatus;
using namespace std::chrono_literals;
using Clock = std::chrono::steady_clock;

TEST(Relay, WaitsForAConnectionThatIsReserved) {
    RelayEngines relay;
    RawStream first = relay.connect(kAsker);
    RawStream second = relay.connect(kAsker);
    first.socket().send(RelayEngines::forward(first, kNode) + "1");
    const auto asked = relay.engine().expect<ring::MemberWanted>();
    EXPECT_EQ(asked.id, RelayEngines::id_of(kNode));
    EXPECT_EQ(asked.hint.family, 0);
    relay.engine().tell(answer(asked.query, ring::MemberStatus::reserved));
    second.socket().send(RelayEngines::forward(second, kNode) + "2");
    relay.engine().tell(answer(relay.engine().expect<ring::MemberWanted>().query, ring::MemberStatus::reserved));
    // The preamble goes ahead alone.
    EXPECT_TRUE(first.read_preamble());
    EXPECT_TRUE(second.read_preamble());
    RawStream node = relay.offer(kNode);
    EXPECT_EQ(taken(node).waiting, 1u);
    EXPECT_EQ(node.socket().receive(1), "1");  // who came first
    EXPECT_EQ(first.response(), StreamStatus::ok);
    EXPECT_EQ((first.record_size() + wire::kNodePreambleSize) % 256, 0u);
    RawStream other = relay.offer(kNode);
    EXPECT_EQ(taken(other).waiting, 0u);
    EXPECT_EQ(other.socket().receive(1), "2");
    EXPECT_EQ(second.response(), StreamStatus::ok);
    expect_carries(second.socket(), other.socket());
}

TEST(Relay, AMemberThatWasHereIsExpectedForAWhile) {
    RelayEngines relay;
    Pair pair = open_pair(relay);
    RawStream asker = relay.connect(kAsker);
    const auto start = Clock::now();
    asker.socket().send(RelayEngines::forward(asker, kNode));  // asks nobody
    EXPECT_EQ(asker.response(), StreamStatus::next_unreachable);
    EXPECT_GE(Clock::now() - start, 4900ms);
    EXPECT_LE(Clock::now() - start, 7s);
    RawStream again = relay.connect(kAsker);
    again.socket().send(RelayEngines::forward(again, kNode));
    EXPECT_TRUE(again.read_preamble());
    RawStream node = relay.offer(kNode);
    taken(node);
    EXPECT_EQ(again.response(), StreamStatus::ok);
    asker.socket().close();
    EXPECT_TRUE(eventually([&] { return ended(relay.engine(), EndReason::next_unreachable) == 1; }));
}

TEST(Relay, AStreamMovesToTheEngineThatHasTheConnection) {
    RelayEngines relay(2);
    Pair pair = open_pair(relay, 0, 1, "early");
    EXPECT_EQ(pair.node.socket().receive(5), "early");
    expect_carries(pair.asker.socket(), pair.node.socket());
    EXPECT_TRUE(becomes(relay.counters(0).relay_moved, 1u));
    EXPECT_TRUE(eventually([&] { return relay.counters(0).streams_active.load() == 0; }));
    EXPECT_TRUE(becomes(relay.counters(1).relay_streams, 1u));
    EXPECT_TRUE(becomes(relay.counters(1).streams_active, 1u));
    // Counted as one stream and one offered connection, wherever they have been.
    EXPECT_EQ(relay.counters(0).streams_total.load() + relay.counters(1).streams_total.load(), 2u);
    pair.asker.socket().shut_down();
    pair.node.socket().shut_down();
    EXPECT_EQ(pair.node.socket().receive_end(), 0);
    EXPECT_EQ(pair.asker.socket().receive_end(), 0);
    EXPECT_TRUE(eventually([&] { return ended(relay.engine(1), EndReason::completed) == 1; }));
}

TEST(Relay, AConnectionOfItsOwnEngineIsPreferred) {
    RelayEngines relay(2);
    RawStream near = relay.offer(kNode, 0);
    RawStream far = relay.offer(kNode, 1);
    RawStream asker = relay.connect(kAsker, 0);
    asker.socket().send(RelayEngines::forward(asker, kNode));
    taken(near);
    EXPECT_TRUE(becomes(relay.counters(0).relay_moved, 0u));
    RawStream second = relay.connect(kAsker, 0);
    second.socket().send(RelayEngines::forward(second, kNode));
    taken(far);
    EXPECT_EQ(second.response(), StreamStatus::ok);
    EXPECT_TRUE(becomes(relay.counters(0).relay_moved, 1u));
}

TEST(Relay, WhatIsOfferedInOneEngineServesWhoWaitsInAnother) {
    RelayEngines relay(2);
    std::vector<RawStream> askers;
    for (int i = 0; i < 4; ++i) {
        askers.push_back(relay.connect(kAsker, 0));
        askers.back().socket().send(RelayEngines::forward(askers.back(), kNode) + std::to_string(i));
        relay.engine().tell(answer(relay.engine().expect<ring::MemberWanted>().query, ring::MemberStatus::reserved));
    }
    for (int i = 0; i < 4; ++i) {
        RawStream node = relay.offer(kNode, 1);
        EXPECT_EQ(taken(node).waiting, 3 - i);
        EXPECT_EQ(node.socket().receive(1), std::to_string(i));
        EXPECT_EQ(askers[static_cast<size_t>(i)].response(), StreamStatus::ok);
        expect_carries(askers[static_cast<size_t>(i)].socket(), node.socket());
    }
    EXPECT_TRUE(becomes(relay.counters(0).relay_moved, 4u));
}

TEST(Relay, AnAskerThatLeftIsPassedOver) {
    RelayEngines relay(2);
    RawStream gone = relay.connect(kAsker, 0);
    gone.socket().send(RelayEngines::forward(gone, kNode));
    relay.engine().tell(answer(relay.engine().expect<ring::MemberWanted>().query, ring::MemberStatus::reserved));
    EXPECT_TRUE(gone.read_preamble());
    gone.socket().close();
    EXPECT_TRUE(eventually([&] { return ended(relay.engine(), EndReason::tunnel_reset) == 1; }));
    RawStream node = relay.offer(kNode, 1);
    RawStream asker = relay.connect(kAsker, 0);
    asker.socket().send(RelayEngines::forward(asker, kNode));
    taken(node);
    EXPECT_EQ(asker.response(), StreamStatus::ok);
}

TEST(Relay, OfferedConnectionsThatDiedAreSkipped) {
    for (const uint32_t engine : {0u, 1u}) {
        RelayEngines relay(2);
        RawStream alive = relay.offer(kNode, engine);
        RawStream closed = relay.offer(kNode, engine);
        RawStream reset = relay.offer(kNode, engine);
        RawStream talks = relay.offer(kNode, engine);
        closed.socket().close();
        reset.socket().reset();
        talks.socket().send("out of turn");
        RawStream asker = relay.connect(kAsker, 0);
        asker.socket().send(RelayEngines::forward(asker, kNode) + "x");
        taken(alive);
        EXPECT_EQ(asker.response(), StreamStatus::ok);
        EXPECT_EQ(alive.socket().receive(1), "x");
        EXPECT_TRUE(eventually([&] { return ended(relay.engine(engine), EndReason::parked_expired) == 3; }));
        EXPECT_TRUE(becomes(relay.counters(engine).relay_offered, 0u));
    }
}

TEST(Relay, DialsWhereTheControlPlaneSays) {
    RelayEngines relay;
    TestListener listener;
    RawStream asker = relay.connect(kAsker);
    const wire::Endpoint hint{.ip = wire::IpAddress::v4(192, 0, 2, 1), .port = 4000};
    asker.socket().send(RelayEngines::forward(asker, kNode, hint) + "MSG1");
    const auto asked = relay.engine().expect<ring::MemberWanted>();
    EXPECT_EQ(asked.hint.port, 4000);
    EXPECT_EQ(asked.hint.ip[0], 192);
    relay.engine().tell(answer(asked.query, ring::MemberStatus::reachable, listener.port()));
    TestSocket node = listener.accept();
    EXPECT_EQ(node.receive(4), "MSG1");
    EXPECT_EQ(asker.response(), StreamStatus::ok);
    expect_carries(asker.socket(), node);
    node.shut_down();
    EXPECT_EQ(asker.socket().receive_all(), "");
    asker.socket().send("more");
    asker.socket().shut_down();
    EXPECT_EQ(node.receive_all(), "more");
    EXPECT_TRUE(eventually([&] { return ended(relay.engine(), EndReason::completed) == 1; }));
}

TEST(Relay, AnswersOfTheControlPlaneBecomeAnswersToTheAsker) {
    RelayEngines relay;
    TestListener nobody;
    const uint16_t closed_port = nobody.port();
    nobody.close();
    const auto ask = [&](ring::MemberStatus status, uint16_t port) {
        RawStream asker = relay.connect(kAsker);
        asker.socket().send(RelayEngines::forward(asker, kNode));
        relay.engine().tell(answer(relay.engine().expect<ring::MemberWanted>().query, status, port));
        return asker.response();
    };
    EXPECT_EQ(ask(ring::MemberStatus::unknown, 0), StreamStatus::next_unknown);
    EXPECT_EQ(ask(ring::MemberStatus::busy, 0), StreamStatus::at_capacity);
    EXPECT_EQ(ask(ring::MemberStatus::reachable, closed_port), StreamStatus::next_unreachable);
    EXPECT_TRUE(eventually([&] { return ended(relay.engine(), EndReason::next_unreachable) == 2; }));
    EXPECT_TRUE(becomes(relay.counters().relay_refused, 3u));
    relay.engine().tell(answer(0xffff'0000'0007, ring::MemberStatus::unknown));  // nobody asked that
}

TEST(Relay, ANodeThatDoesNotAnswerTheDialIsGivenUp) {
    auto limits = testing::small_limits();
    limits.connect_timeout_ms = 400;
    RelayEngines relay(1, limits);
    // A listener whose queue is full drops what comes.
    TestListener full;
    ASSERT_EQ(::listen(dup(full.fd()), 0), 0);
    std::vector<TestSocket> queue;
    for (int i = 0; i < 2; ++i) {
        const int fd = ::socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
        const sockaddr_in address = ::qanat::testing::loopback_address(full.port());
        (void)::connect(fd, reinterpret_cast<const sockaddr*>(&address), sizeof address);
        queue.emplace_back(fd);
    }
    RawStream asker = relay.connect(kAsker);
    asker.socket().send(RelayEngines::forward(asker, kNode) + "unread");
    const auto query = relay.engine().expect<ring::MemberWanted>().query;
    relay.engine().tell(answer(query, ring::MemberStatus::reachable, full.port()));
    EXPECT_EQ(asker.response(), StreamStatus::next_unreachable);
    asker.socket().shut_down();
    EXPECT_TRUE(eventually([&] { return ended(relay.engine(), EndReason::next_unreachable) == 1; }));
    EXPECT_TRUE(eventually([&] { return relay.counters().streams_active.load() == 0; }));
}

}  // namespace
}  // namespace qanat::dataplane
