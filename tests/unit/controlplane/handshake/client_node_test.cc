// ClientNode: the session with a node over the best of its paths that works, and what is known about the node.
#include "controlplane/handshake/client_node.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/unit/controlplane/handshake/client_net.h"

namespace qanat::controlplane {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;
using testing::ElementsAre;
using testing::IsEmpty;

TEST_F(Net, AnotherAddressLeavesAWorkingSessionAlone) {
    make_node(1);
    client_->start(now_);
    client_->set_nodes({spec(1, {{.via = {}, .addrs = {address(1), address(9)}}})}, now_);
    run();
    const uint64_t session = session_of(1);
    log_.clear();
    client_->set_nodes({spec(1, {{.via = {}, .addrs = {address(7), address(1)}}})}, now_);
    run();
    EXPECT_THAT(log_, IsEmpty());
    EXPECT_EQ(routable(), std::vector<uint32_t>{1});

    // The address in use is gone: another session first, then the old one is retired.
    client_->set_nodes({spec(1, {{.via = {}, .addrs = {address(7)}}})}, now_);
    run();
    EXPECT_NE(session_of(1), session);
    EXPECT_THAT(sent<ring::RemoveSession>(), IsEmpty());
    EXPECT_EQ(client_->session_address(1), endpoint(7));
}

TEST_F(Net, ARemovedAddressWithoutAnotherThatWorksEndsTheSession) {
    make_node(1);
    client_->start(now_);
    client_->set_nodes({spec(1)}, now_);
    run();
    refused_ = {"192.0.2.7:4000"};
    client_->set_nodes({spec(1, {{.via = {}, .addrs = {address(7)}}})}, now_);
    run();
    EXPECT_FALSE(client_->is_up(1));
    EXPECT_EQ(sent<ring::RemoveSession>().size(), 2u);
}

TEST_F(Net, ABetterPathIsTriedAgainAndTakenOver) {
    make_node(1);
    make_node(2);
    refused_ = {"192.0.2.1:4000"};
    client_->start(now_);
    client_->set_nodes({spec(1, {{.via = {}, .addrs = {address(1)}}, {.via = {2}, .addrs = {}}}), spec(2)}, now_);
    run();
    ASSERT_TRUE(client_->is_up(1));
    EXPECT_EQ(client_->session_address(1), endpoint(2));
    const uint64_t relayed = session_of(1);
    dialled_.clear();
    events_.clear();
    advance(NodeSession::kImproveMin - milliseconds(1));
    EXPECT_THAT(dialled_, IsEmpty()) << "not before half a minute";
    advance(NodeSession::kImproveMin + milliseconds(1));
    EXPECT_THAT(dialled_, ElementsAre("192.0.2.1:4000")) << "only the better one";
    EXPECT_TRUE(client_->is_up(1));
    EXPECT_EQ(session_of(1), relayed);
    EXPECT_THAT(events_, IsEmpty()) << "a look in vain is no failure of the node";
    EXPECT_EQ(client_->status(1).failures, 0u);

    refused_.clear();
    advance(NodeSession::kImproveMin * 2 + milliseconds(1));
    EXPECT_NE(session_of(1), relayed);
    EXPECT_EQ(client_->session_address(1), endpoint(1));
    EXPECT_EQ(client_->status(1).path, "direct");
    EXPECT_THAT(sent<ring::RemoveSession>(), IsEmpty()) << "the old session serves until it is retired";
    EXPECT_THAT(events_, ElementsAre(std::pair(1u, Event::up)));
    dialled_.clear();
    advance(NodeSession::kImproveMin * 3);
    EXPECT_THAT(dialled_, IsEmpty()) << "there is nothing better";
}

TEST_F(Net, AFailingPathIsLeftAtOnce) {
    make_node(1);
    make_node(2);
    client_->start(now_);
    client_->set_nodes({spec(1, {{.via = {}, .addrs = {address(1)}}, {.via = {2}, .addrs = {}}}), spec(2)}, now_);
    run();
    ASSERT_EQ(client_->session_address(1), endpoint(1));
    hop_failed(1, 1, ring::HopStage::connect);
    EXPECT_EQ(client_->session_address(1), endpoint(2)) << "though the direct path would have answered";
    EXPECT_EQ(client_->status(1).ejection, Ejection::State::in);
}

TEST_F(Net, APathWhoseStreamsFailIsLeftAlthoughItsPingsAreAnswered) {
    make_node(1);
    make_node(2);
    make_node(3);
    client_->start(now_);
    client_->set_nodes({spec(1, {{.via = {2}, .addrs = {}}, {.via = {3}, .addrs = {}}}), spec(2), spec(3)}, now_);
    run();
    ASSERT_EQ(client_->session_address(1), endpoint(2));
    events_.clear();
    for (unsigned i = 0; i < Ejection::kFailuresMax; ++i) hop_failed(1, 1, ring::HopStage::response);
    advance(Ejection::kEvidenceTime);
    EXPECT_EQ(client_->session_address(1), endpoint(3));
    EXPECT_EQ(client_->status(1).ejection, Ejection::State::in) << "nothing has failed on this path";
    EXPECT_THAT(events_, ElementsAre(std::pair(1u, Event::up))) << "the old session served until then";
}

TEST_F(Net, AStoppedNodeLeavesWithinTwoIntervals) {
    make_node(0);
    client_->set_times(seconds(1), seconds(10), now_);
    client_->start(now_);
    client_->set_nodes({spec(0)}, now_);
    run();
    advance(milliseconds(1));
    ASSERT_THAT(routable(), ElementsAre(0));
    mute_ = true;
    advance(milliseconds(999));
    EXPECT_THAT(routable(), ElementsAre(0));
    log_.clear();
    advance(milliseconds(1000));
    EXPECT_THAT(routable(), IsEmpty());
    const auto removed = sent<ring::RemoveSession>();
    ASSERT_EQ(removed.size(), 2u);
    EXPECT_EQ(removed[0].node_lost, 1);
    EXPECT_EQ(client_->status(0).probes_lost, 1u);
    EXPECT_GE(client_->status(0).probes_sent, 2u);
}

TEST_F(Net, StatisticsAddUpOverEnginesAndRestarts) {
    make_node(0);
    client_->start(now_);
    client_->set_nodes({spec(0)}, now_);
    run();
    stats(0, 10, 1, 0, 0);
    stats(0, 5, 0, 0, 1);
    EXPECT_EQ(client_->status(0).traffic.opened, 15u);
    EXPECT_EQ(client_->status(0).traffic.failed, 1u);
    EXPECT_EQ(client_->status(0).traffic.in_flight, 6u);
    stats(0, 2, 0, 0, 1);  // it forgot the node meanwhile
    EXPECT_EQ(client_->status(0).traffic.opened, 17u);
    client_->reset(now_);
    port_.commands.clear();
    EXPECT_EQ(client_->status(0).traffic.opened, 17u);
    EXPECT_EQ(client_->status(0).traffic.in_flight, 0u);
    stats(7, 1);  // nobody knows it
}

TEST_F(Net, StreamsMeasureToo) {
    make_node(0);
    client_->start(now_);
    client_->set_nodes({spec(0)}, now_);
    run();
    ASSERT_TRUE(client_->status(0).latency.has_value());
    for (uint32_t i = 0; i < 100; ++i) stats(0, i + 1, 0, 80'000 + i % 2);
    EXPECT_NEAR(static_cast<double>(client_->status(0).latency->count()), 80'000, 500);
    const auto settled = client_->routable_nodes(now_)[0].latency;
    EXPECT_NEAR(static_cast<double>(settled->count()), 80'000, 4'000) << "within 5 %";
}

}  // namespace
}  // namespace qanat::controlplane
