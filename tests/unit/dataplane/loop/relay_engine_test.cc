// Whole engines as a relay, between members that this test drives byte by byte (PROTOCOL.md section 6).

#include <gtest/gtest.h>
#include <sys/resource.h>

#include <atomic>
#include <chrono>
#include <fstream>
#include <random>
#include <thread>

#include "dataplane/stream/stream.h"
#include "tests/support/relay_engines.h"
#include "tests/support/sockets.h"
#include "tests/support/streams.h"

namespace qanat::dataplane {
namespace {

using ::qanat::testing::TestListener;
using ::qanat::testing::TestSocket;
using ring::EndReason;
using testing::ended;
using testing::eventually;
using testing::RawStream;
using testing::RelayEngines;
using wire::StreamStatus;
using namespace std::chrono_literals;
using Clock = std::chrono::steady_clock;

constexpr uint8_t kAsker = 0xaa;
constexpr uint8_t kNode = 0xbb;

std::string random_text(size_t size, unsigned seed) {
    std::mt19937_64 random(seed);
    std::string text(size, '\0');
    for (char& c : text) c = static_cast<char>(random());
    return text;
}

wire::Taken taken(RawStream& offered) {
    const auto content = offered.next_record();
    if (!content) throw std::runtime_error("no TAKEN");
    EXPECT_EQ(offered.record_size(), 256u);
    const auto message = wire::decode_taken(as_bytes(*content));
    if (!message) throw std::runtime_error("not TAKEN");
    return *message;
}

ring::MemberResult answer(uint64_t query, ring::MemberStatus status, uint16_t port = 0) {
    ring::MemberResult result{};
    result.query = query;
    result.status = status;
    if (port != 0) result.address = testing::loopback(port);
    return result;
}

// Both ends of a stream through the relay.
struct Pair {
    RawStream asker;
    RawStream node;
};

Pair open_pair(RelayEngines& relay, uint32_t asker_engine = 0, uint32_t node_engine = 0,
               const std::string& early = "") {
    RawStream node = relay.offer(kNode, node_engine);
    RawStream asker = relay.connect(kAsker, asker_engine);
    asker.socket().send(RelayEngines::forward(asker, kNode) + early);
    taken(node);
    EXPECT_EQ(asker.response(), StreamStatus::ok);
    return {std::move(asker), std::move(node)};
}

void expect_carries(TestSocket& a, TestSocket& b) {
    a.send("to and");
    EXPECT_EQ(b.receive(6), "to and");
    b.send("fro");
    EXPECT_EQ(a.receive(3), "fro");
}

// The engine writes a counter a moment after the sockets tell.
bool becomes(const ring::Counter& counter, uint64_t value) {
    return eventually([&] { return counter.load() == value; });
}

uint64_t restlessness(testing::LoneEngine& engine) {
    const uint64_t before = engine.counters().loops.load();
    std::this_thread::sleep_for(500ms);
    return engine.counters().loops.load() - before;
}
constexpr uint64_t kRestful = 150;

TEST(Relay, RefusesUntilItIsToldToRelay) {
    RelayEngines relay;
    ring::RelaySettings off = testing::kUnlimited;
    off.enabled = 0;
    relay.set(off);
    RawStream asker = relay.connect(kAsker);
    asker.socket().send(RelayEngines::forward(asker, kNode));
    EXPECT_EQ(asker.response(), StreamStatus::kind_not_supported);
    RawStream node = relay.connect(kNode);
    node.socket().send(node.request(wire::RequestKind::offer));
    EXPECT_EQ(node.response(), StreamStatus::kind_not_supported);
    EXPECT_TRUE(eventually([&] { return relay.counters().relay_refused.load() == 2; }));
    asker.socket().close();
    node.socket().close();
    EXPECT_TRUE(eventually([&] { return ended(relay.engine(), EndReason::relay_refused) == 2; }));
}

TEST(Relay, AnOfferedConnectionIsTakenAndCarriesBothWays) {
    RelayEngines relay;
    RawStream node = relay.offer(kNode);
    EXPECT_EQ(node.record_size() + wire::kNodePreambleSize, 256u);
    EXPECT_TRUE(becomes(relay.counters().relay_offered, 1u));
    RawStream asker = relay.connect(kAsker);
    const std::string request = RelayEngines::forward(asker, kNode);
    EXPECT_EQ(request.size(), 512u);
    asker.socket().send(request + "behind the FORWARD");
    EXPECT_EQ(taken(node).waiting, 0u);
    EXPECT_EQ(node.socket().receive(18), "behind the FORWARD");
    EXPECT_EQ(asker.response(), StreamStatus::ok);
    EXPECT_EQ((asker.record_size() + wire::kNodePreambleSize) % 256, 0u);
    expect_carries(asker.socket(), node.socket());
    EXPECT_TRUE(becomes(relay.counters().relay_offered, 0u));
    EXPECT_TRUE(becomes(relay.counters().relay_streams, 1u));
    asker.socket().shut_down();
    EXPECT_EQ(node.socket().receive_all(), "");
    node.socket().send("late");
    node.socket().shut_down();
    EXPECT_EQ(asker.socket().receive_all(), "late");
    EXPECT_TRUE(eventually([&] { return ended(relay.engine(), EndReason::completed) == 1; }));
    EXPECT_TRUE(becomes(relay.counters().relay_streams, 0u));
    EXPECT_TRUE(becomes(relay.counters().relay_total, 1u));
    EXPECT_TRUE(becomes(relay.counters().relay_bytes, 18u + 6 + 3 + 4));
    EXPECT_TRUE(becomes(relay.counters().streams_active, 0u));
}

TEST(Relay, ASourceTellsMembersApartAndNothingElse) {
    RelayEngines relay;
    std::vector<RawStream> streams;
    const auto source_of = [&](uint8_t member) {
        RawStream node = relay.offer(kNode);
        RawStream asker = relay.connect(member);
        asker.socket().send(RelayEngines::forward(asker, kNode));
        const auto source = taken(node).source;
        streams.push_back(std::move(node));
        streams.push_back(std::move(asker));
        return source;
    };
    const auto first = source_of(kAsker);
    EXPECT_EQ(source_of(kAsker), first);
    EXPECT_NE(source_of(0xac), first);
    std::array<uint8_t, 16> plain;
    plain.fill(kAsker);
    EXPECT_NE(first, plain);
}

TEST(Relay, TheFirstFlightMayBeSplitAnywhere) {
    RelayEngines relay;
    for (size_t split = 1; split < 552; split += split < 500 ? 7 : 1) {
        RawStream node = relay.offer(kNode);
        RawStream asker = relay.connect(kAsker);
        const std::string early = random_text(40, static_cast<unsigned>(split));
        const std::string flight = RelayEngines::forward(asker, kNode) + early;
        asker.socket().send(flight.substr(0, split));
        std::this_thread::sleep_for(1ms);
        asker.socket().send(flight.substr(split));
        taken(node);
        ASSERT_EQ(node.socket().receive(early.size()), early) << split;
        ASSERT_EQ(asker.response(), StreamStatus::ok) << split;
    }
}

// More than fits behind the FORWARD at once.
TEST(Relay, ALongFirstFlightArrivesWhole) {
    for (const uint32_t engine : {0u, 1u}) {
        RelayEngines relay(2);
        for (const size_t size : {1535u, 1536u, 1537u, 20'000u, 300'000u}) {
            const std::string early = random_text(size, static_cast<unsigned>(size));
            Pair pair = open_pair(relay, 0, engine, early);
            EXPECT_TRUE(pair.node.socket().receive(size) == early) << size;
        }
    }
}

TEST(Relay, AParkedConnectionCanForward) {
    RelayEngines relay;
    RawStream node = relay.offer(kNode);
    RawStream asker = relay.connect(kAsker);
    asker.socket().send(asker.request(wire::RequestKind::park));
    EXPECT_EQ(asker.response(), StreamStatus::parked);
    asker.socket().send(RelayEngines::forward(asker, kNode) + "x");
    taken(node);
    EXPECT_EQ(asker.response(), StreamStatus::ok);
    EXPECT_EQ(asker.record_size() % 256, 0u);
    EXPECT_EQ(node.socket().receive(1), "x");
}

// The preamble is out already; the wait for the next node passes the moment at which it would be announced.
TEST(Relay, AParkedConnectionCanForwardAndWait) {
    RelayEngines relay;
    RawStream asker = relay.connect(kAsker);
    asker.socket().send(asker.request(wire::RequestKind::park));
    EXPECT_EQ(asker.response(), StreamStatus::parked);
    asker.socket().send(RelayEngines::forward(asker, kNode) + "x");
    std::this_thread::sleep_for(400ms);
    RawStream node = relay.offer(kNode);
    const auto question = relay.engine().expect<ring::MemberWanted>();
    ring::MemberResult answer{};
    answer.query = question.query;
    answer.status = ring::MemberStatus::reserved;
    relay.engine().tell(answer);
    taken(node);
    EXPECT_EQ(asker.response(), StreamStatus::ok);
    EXPECT_EQ(node.socket().receive(1), "x");
}

TEST(Relay, NothingMayFollowAnOffer) {
    RelayEngines relay;
    RawStream node = relay.connect(kNode);
    node.socket().send(node.request(wire::RequestKind::offer) + "x");
    EXPECT_EQ(node.response(), StreamStatus::general_failure);
}

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

TEST(Relay, DrainRefusesWhoWaitsAndLetsWhoRunsFinish) {
    RelayEngines relay;
    Pair running = open_pair(relay);
    RawStream waiting = relay.connect(kAsker);
    waiting.socket().send(RelayEngines::forward(waiting, 0xdd));
    const auto asked = relay.engine().expect<ring::MemberWanted>();
    RawStream offered = relay.offer(kNode);
    relay.engine().tell(ring::Drain{});
    EXPECT_EQ(waiting.response(), StreamStatus::draining);
    EXPECT_EQ(offered.socket().receive_end(), 0);
    EXPECT_TRUE(eventually([&] { return ended(relay.engine(), EndReason::parked_expired) == 1; }));
    relay.engine().tell(answer(asked.query, ring::MemberStatus::reserved));  // too late
    waiting.socket().close();
    expect_carries(running.asker.socket(), running.node.socket());
    running.asker.socket().shut_down();
    running.node.socket().shut_down();
    EXPECT_EQ(running.node.socket().receive_end(), 0);
    relay.engine().expect<ring::Drained>();
    EXPECT_EQ(ended(relay.engine(), EndReason::completed), 1u);
}

TEST(Relay, NoLongerARelayItClosesWhatIsOnOffer) {
    RelayEngines relay;
    Pair running = open_pair(relay);
    RawStream offered = relay.offer(kNode);
    ring::RelaySettings off = testing::kUnlimited;
    off.enabled = 0;
    relay.set(off);
    EXPECT_EQ(offered.socket().receive_end(), 0);
    expect_carries(running.asker.socket(), running.node.socket());
}

TEST(Relay, AnOfferedConnectionOutlivesItsSession) {
    RelayEngines relay;
    RawStream node = relay.offer(kNode);
    relay.engine().tell(ring::RemoveSession{.session_id = 2000 + kNode, .node_lost = 0, .zero = {}});
    RawStream asker = relay.connect(kAsker);
    asker.socket().send(RelayEngines::forward(asker, kNode));
    taken(node);
    EXPECT_EQ(asker.response(), StreamStatus::ok);
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
