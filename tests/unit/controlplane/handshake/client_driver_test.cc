// ClientDriver: nodes come and go, and what the plan may contain when some of them fail.
#include "controlplane/handshake/client_driver.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/unit/controlplane/handshake/client_net.h"

namespace qanat::controlplane {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;
using testing::ElementsAre;
using testing::IsEmpty;

TEST_F(Net, NodesComeAndGo) {
    for (uint32_t i = 0; i < 4; ++i) make_node(i);
    client_->set_nodes({spec(0), spec(1)}, now_);
    run();
    EXPECT_THAT(dialled_, IsEmpty()) << "nothing before start()";
    client_->start(now_);
    run();
    EXPECT_THAT(routable(), ElementsAre(0, 1));
    const uint64_t kept = session_of(1);
    const uint64_t gone = session_of(0);

    log_.clear();
    events_.clear();
    client_->set_nodes({spec(1), spec(3)}, now_);
    run();
    EXPECT_THAT(routable(), ElementsAre(1, 3));
    EXPECT_FALSE(client_->knows(0));
    EXPECT_FALSE(client_->is_up(0));
    const auto removed = sent<ring::RemoveSession>();
    ASSERT_EQ(removed.size(), 2u) << "once per engine";
    EXPECT_EQ(removed[0].session_id, gone);
    EXPECT_EQ(removed[0].node_lost, 0);
    EXPECT_EQ(sent<ring::ControlClose>().size(), 1u);
    EXPECT_THAT(events_, ElementsAre(std::pair(0u, Event::down), std::pair(3u, Event::up)));
    EXPECT_NE(kept, 0u);
    EXPECT_EQ(client_->session_address(3), endpoint(3));

    // The same again is nothing.
    log_.clear();
    client_->set_nodes({spec(3), spec(1)}, now_);
    run();
    EXPECT_THAT(log_, IsEmpty());

    client_->set_nodes({}, now_);
    run();
    EXPECT_THAT(client_->numbers(), IsEmpty());
}

TEST_F(Net, ANumberWithAnotherIdIsAnotherNode) {
    make_node(0);
    make_node(5);
    client_->start(now_);
    client_->set_nodes({spec(0)}, now_);
    run();
    NodeSpec other = spec(5);
    other.number = 0;
    client_->set_nodes({other}, now_);
    run();
    EXPECT_EQ(client_->status(0).id, other.id);
    EXPECT_TRUE(client_->is_up(0));
    EXPECT_EQ(sent<ring::RemoveSession>().size(), 2u);
}

TEST_F(Net, EventsAboutNobodyAreNothing) {
    make_node(0);
    client_->start(now_);
    client_->set_nodes({spec(0)}, now_);
    run();
    log_.clear();
    for (const uint64_t connection :
         {ring::kOutgoingConnectionBit, ring::kOutgoingConnectionBit | 77, ~uint64_t{0}, uint64_t{1} << 48}) {
        ring::ControlOpened opened{};
        opened.connection = connection;
        client_->on_opened(0, opened, now_);
        ring::ControlData data{};
        data.connection = connection;
        data.size = 1;
        client_->on_data(0, data, now_);
        ring::ControlClosed closed{};
        closed.connection = connection;
        client_->on_closed(0, closed, now_);
    }
    hop_failed(5, 6, ring::HopStage::connect);
    EXPECT_TRUE(client_->is_up(0));
    EXPECT_THAT(log_, IsEmpty());
}

TEST_F(Net, FailuresInARowEjectAndASuccessRestores) {
    make_node(0);
    make_node(1);
    client_->start(now_);
    client_->set_nodes({spec(0), spec(1)}, now_);
    run();
    eject(0);
    EXPECT_THAT(routable(), ElementsAre(1));
    EXPECT_TRUE(client_->is_up(0)) << "its session stays";
    const Instant until = client_->status(0).ejected_until;
    EXPECT_GE(until - now_, Ejection::kWaitMin / 2);
    EXPECT_LE(until - now_, Ejection::kWaitMin);

    const uint64_t probes = client_->status(0).probes_sent;
    advance(std::chrono::duration_cast<Duration>(until - now_) + milliseconds(1));
    EXPECT_EQ(client_->status(0).ejection, Ejection::State::trial);
    EXPECT_EQ(client_->status(0).probes_sent, probes + 1) << "a PING with it";
    EXPECT_THAT(routable(), ElementsAre(0, 1));
    EXPECT_TRUE(client_->routable_nodes(now_)[0].trial);

    hop_failed(0, 0, ring::HopStage::response);
    EXPECT_EQ(client_->status(0).ejection, Ejection::State::ejected) << "one is enough now";
    EXPECT_GT(client_->status(0).ejected_until - now_, Ejection::kWaitMin / 2);
    advance(2 * Ejection::kWaitMin + milliseconds(1));
    stats(0, 1);
    EXPECT_EQ(client_->status(0).ejection, Ejection::State::in);
    EXPECT_FALSE(client_->routable_nodes(now_)[0].trial);
}

TEST_F(Net, FailuresBetweenSuccessesEjectNobody) {
    make_node(0);
    make_node(1);
    client_->start(now_);
    client_->set_nodes({spec(0), spec(1)}, now_);
    run();
    for (uint64_t second = 1; second <= 20; ++second) {
        for (int i = 0; i < 20; ++i) hop_failed(0, 0, ring::HopStage::response);
        advance(seconds(1));
        stats(0, second * 100, second * 20);
    }
    EXPECT_THAT(routable(), ElementsAre(0, 1));
}

TEST_F(Net, TheLastNodeIsKeptAlthoughItFails) {
    make_node(0);
    make_node(1);
    client_->start(now_);
    client_->set_nodes({spec(0), spec(1)}, now_);
    run();
    for (unsigned i = 0; i < Ejection::kFailuresMax; ++i)
        for (const uint32_t node : {0U, 1U}) hop_failed(node, node, ring::HopStage::response);
    advance(Ejection::kEvidenceTime);
    EXPECT_NE(client_->status(0).last_resort, client_->status(1).last_resort);
    const uint32_t kept = client_->status(0).last_resort ? 0 : 1;
    EXPECT_THAT(routable(), ElementsAre(kept));
    // Another node comes: it is not needed any more.
    make_node(2);
    client_->set_nodes({spec(0), spec(1), spec(2)}, now_);
    run();
    EXPECT_FALSE(client_->status(kept).last_resort);
    EXPECT_THAT(routable(), testing::Contains(2));
}

}  // namespace
}  // namespace qanat::controlplane
