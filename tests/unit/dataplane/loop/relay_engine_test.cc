// A whole engine as a relay (PROTOCOL.md section 6): what it is asked for and how it answers, until it ends.

#include <gtest/gtest.h>

#include <chrono>
#include <string>
#include <thread>
#include <vector>

#include "tests/unit/dataplane/loop/relay_pair.h"

namespace qanat::dataplane {
namespace {

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
using testing::random_text;
using testing::RawStream;
using testing::RelayEngines;
using testing::taken;
using wire::StreamStatus;
using namespace std::chrono_literals;

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

}  // namespace
}  // namespace qanat::dataplane
