// PunchAgreements: what an engine hears about its punches, from nodes that are asked over their control connections.
#include "controlplane/handshake/punch_agreements.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/unit/controlplane/handshake/client_net.h"

namespace qanat::controlplane {
namespace {

using testing::IsEmpty;

class Punched : public Net {
protected:
    Punched() {
        make_node(1);
        make_node(2);
        client_->start(now_);
    }
    void connect(NodePath path = {.via = {2}, .addrs = {}}) {
        client_->set_nodes({spec(1, {std::move(path)}), spec(2)}, now_);
        run();
        ASSERT_TRUE(client_->is_up(1));
    }
    void observe(uint32_t node = 1) {
        ring::PunchObserved event{};
        event.punch = ring::kClientPunchBit | 7;
        event.node = node;
        event.observed = to_ring(kHere);
        client_->on_punch_observed(0, event, now_);
        run();
    }
    [[nodiscard]] ring::PunchPeer peer() const {
        const auto peers = sent<ring::PunchPeer>();
        EXPECT_EQ(peers.size(), 1u);
        return peers.empty() ? ring::PunchPeer{} : peers[0];
    }

    const wire::Endpoint kHere{wire::IpAddress::v4(203, 0, 113, 5), 40000};
    const wire::Endpoint kThere{wire::IpAddress::v4(198, 51, 100, 9), 50000};
};

TEST_F(Punched, IsAgreedOverTheControlConnection) {
    connect();
    EXPECT_TRUE(client_->routable_nodes(now_)[0].punch);
    observe();
    ASSERT_EQ(punches_.size(), 1u);
    EXPECT_EQ(punches_[0].first, kHere);
    EXPECT_THAT(sent<ring::PunchPeer>(), IsEmpty());
    punches_[0].second(wire::PunchStatus::ready, kThere);
    run();
    EXPECT_EQ(peer().punch, ring::kClientPunchBit | 7);
    EXPECT_EQ(peer().start, ring::PunchStart::ready);
    EXPECT_EQ(from_ring(peer().peer), kThere);
}

TEST_F(Punched, WhatTheNodeDoesNotDoIsPassedOn) {
    connect();
    observe();
    punches_.at(0).second(wire::PunchStatus::busy, {});
    run();
    EXPECT_EQ(peer().start, ring::PunchStart::busy);
    log_.clear();
    observe();
    punches_.at(1).second(wire::PunchStatus::impossible, {});
    run();
    EXPECT_EQ(peer().start, ring::PunchStart::impossible);
}

TEST_F(Punched, AnAddressThatIsNotToBeDialledIsNotDialled) {
    connect();
    not_punched_ = kThere.ip;
    observe();
    punches_.at(0).second(wire::PunchStatus::ready, kThere);
    run();
    EXPECT_EQ(peer().start, ring::PunchStart::impossible);
}

TEST_F(Punched, WithoutAnAnswerNotThisTime) {
    connect();
    observe();
    EXPECT_LE(*client_->deadline(now_), now_ + ClientPunches::kAnswerTime);
    advance(ClientPunches::kAnswerTime);
    EXPECT_EQ(peer().start, ring::PunchStart::busy);
    punches_.at(0).second(wire::PunchStatus::ready, kThere);
    run();
    EXPECT_EQ(sent<ring::PunchPeer>().size(), 1u);
}

TEST_F(Punched, NotOnADirectPathNorPastOneThatIsPrescribed) {
    connect({.via = {}, .addrs = {address(1)}});
    EXPECT_FALSE(client_->routable_nodes(now_)[0].punch);
    observe();
    EXPECT_EQ(peer().start, ring::PunchStart::impossible);
    connect({.via = {2}, .addrs = {}, .fixed = true});
    EXPECT_EQ(client_->routable_nodes(now_)[0].via_count, 1);
    EXPECT_FALSE(client_->routable_nodes(now_)[0].punch);
    log_.clear();
    observe();
    EXPECT_EQ(peer().start, ring::PunchStart::impossible);
    EXPECT_THAT(punches_, IsEmpty());
}

TEST_F(Punched, APathThatBecomesPrescribedIsTakenAnew) {
    connect();
    connect({.via = {2}, .addrs = {}, .fixed = true});
    EXPECT_FALSE(client_->routable_nodes(now_)[0].punch);
}

TEST_F(Punched, CanBeSwitchedOff) {
    connect();
    client_->set_punch(false);
    EXPECT_FALSE(client_->routable_nodes(now_)[0].punch);
    observe();
    EXPECT_EQ(peer().start, ring::PunchStart::impossible);
}

}  // namespace
}  // namespace qanat::controlplane
