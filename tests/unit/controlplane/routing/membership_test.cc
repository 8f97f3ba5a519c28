#include "controlplane/routing/membership.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace qanat::controlplane {
namespace {

using std::chrono::minutes;
using std::chrono::seconds;
using testing::ElementsAre;
using testing::IsEmpty;

PublicKey id(uint32_t number) {
    PublicKey made{};
    for (size_t i = 0; i < 4; ++i) made[i] = static_cast<uint8_t>((number * 2654435761U) >> (8 * i));
    made[31] = static_cast<uint8_t>(number);
    made[30] = static_cast<uint8_t>(number >> 8);
    return made;
}

NodeAddress address(uint8_t last) {
    return {wire::Target(wire::Endpoint{wire::IpAddress::v4(192, 0, 2, last), 4000})};
}

NodeConfig configured(uint32_t number, std::vector<NodeAddress> addrs, std::vector<PeerAddress> relays = {},
                      std::vector<PeerAddress> via = {}) {
    NodeConfig node;
    node.id = id(number);
    node.addrs = std::move(addrs);
    node.relays = std::move(relays);
    node.via = std::move(via);
    return node;
}

DiscoveredNode discovered(uint32_t number) {
    DiscoveredNode node;
    node.id = id(number);
    node.addrs = {address(static_cast<uint8_t>(number))};
    return node;
}

class MembershipTest : public testing::Test {
protected:
    std::vector<NodeSpec> update() {
        return members_.update(now_, [this](uint32_t number) { return up_.contains(number); });
    }
    static const NodeSpec& of(const std::vector<NodeSpec>& specs, uint32_t number) {
        for (const NodeSpec& spec : specs)
            if (spec.id == id(number)) return spec;
        ADD_FAILURE() << "no node " << number;
        return specs.front();
    }
    static std::set<PublicKey> ids(const std::vector<NodeSpec>& specs) {
        std::set<PublicKey> found;
        for (const NodeSpec& spec : specs) found.insert(spec.id);
        return found;
    }

    Membership members_{99};
    Membership::Time now_{seconds(1000)};
    std::set<uint32_t> up_;
};

TEST_F(MembershipTest, NothingIsNobody) {
    EXPECT_THAT(update(), IsEmpty());
    EXPECT_FALSE(members_.has_reserve());
}

TEST_F(MembershipTest, DirectBeforeRelayedAndRelaysInTurn) {
    members_.set_configured({configured(1, {address(1)}, {{id(10), address(10)}, {id(11), address(11)}})});
    const auto specs = update();
    ASSERT_EQ(specs.size(), 3u);
    const NodeSpec& node = of(specs, 1);
    const uint32_t first = of(specs, 10).number;
    const uint32_t second = of(specs, 11).number;
    EXPECT_TRUE(node.routable);
    ASSERT_EQ(node.paths.size(), 3u);
    EXPECT_EQ(node.paths[0], (NodePath{{}, {address(1)}}));
    EXPECT_EQ(node.paths[1], (NodePath{{first}, {}})) << "a reservation";
    EXPECT_EQ(node.paths[2], (NodePath{{second}, {}}));
    EXPECT_FALSE(of(specs, 10).routable);
    EXPECT_THAT(of(specs, 10).paths, ElementsAre(NodePath{{}, {address(10)}}));
}

TEST_F(MembershipTest, AChainIsExactlyThatPath) {
    members_.set_configured({configured(1, {address(1)}, {}, {{id(10), address(10)}, {id(11), address(11)}})});
    const auto specs = update();
    const uint32_t first = of(specs, 10).number;
    const uint32_t second = of(specs, 11).number;
    EXPECT_THAT(of(specs, 1).paths, ElementsAre(NodePath{{first, second}, {address(1)}, true}));
    EXPECT_THAT(of(specs, 10).paths, ElementsAre(NodePath{{}, {address(10)}}));
    EXPECT_THAT(of(specs, 11).paths, ElementsAre(NodePath{{first}, {address(11)}})) << "reached through the first";
}

TEST_F(MembershipTest, ARelayThatIsConfiguredIsANodeToo) {
    members_.set_configured({configured(1, {}, {{id(2), address(22)}}), configured(2, {address(2)})});
    const auto specs = update();
    ASSERT_EQ(specs.size(), 2u);
    EXPECT_TRUE(of(specs, 2).routable);
    EXPECT_THAT(of(specs, 2).paths, ElementsAre(NodePath{{}, {address(2), address(22)}}));
    EXPECT_THAT(of(specs, 1).paths, ElementsAre(NodePath{{of(specs, 2).number}, {}}));
}

TEST_F(MembershipTest, NobodyIsItsOwnRelay) {
    members_.set_configured({configured(1, {address(1)}, {{id(1), address(1)}}),
                             configured(2, {address(2)}, {}, {{id(2), address(2)}, {id(3), address(3)}})});
    const auto specs = update();
    EXPECT_EQ(of(specs, 1).paths.size(), 1u);
    for (const NodeSpec& spec : specs)
        for (const NodePath& path : spec.paths) EXPECT_EQ(std::count(path.via.begin(), path.via.end(), spec.number), 0);
}

TEST_F(MembershipTest, DiscoveredNodesJoinAndLeave) {
    members_.set_configured({configured(1, {address(1)})});
    DiscoveredNode relay = discovered(3);
    relay.exit = false;
    relay.relay = true;
    DiscoveredNode behind = discovered(4);
    behind.addrs.clear();
    behind.relays = {{id(3), address(3)}};
    members_.set_discovered({discovered(1), discovered(2), relay, behind});
    const auto specs = update();
    EXPECT_EQ(specs.size(), 4u);
    EXPECT_FALSE(of(specs, 1).from_discovery) << "configured already";
    EXPECT_TRUE(of(specs, 2).from_discovery);
    EXPECT_FALSE(of(specs, 3).routable);
    EXPECT_THAT(of(specs, 4).paths, ElementsAre(NodePath{{of(specs, 3).number}, {}}));

    members_.set_discovered({discovered(2)});
    EXPECT_EQ(update().size(), 2u);
}

TEST_F(MembershipTest, NumbersAreStableAndRest) {
    members_.set_configured({configured(1, {address(1)}), configured(2, {address(2)})});
    const auto before = update();
    const uint32_t gone = of(before, 1).number;
    now_ += minutes(60);  // nothing happened in between
    members_.set_configured({configured(2, {address(2)}), configured(3, {address(3)})});
    const auto after = update();
    EXPECT_EQ(of(after, 2).number, of(before, 2).number);
    EXPECT_NE(of(after, 3).number, gone);

    now_ += Membership::kNumberRest - seconds(1);
    members_.set_configured({configured(1, {address(1)}), configured(4, {address(4)})});
    EXPECT_EQ(of(update(), 1).number, gone) << "back in time";
    EXPECT_NE(of(update(), 4).number, gone);

    members_.set_configured({});
    EXPECT_THAT(update(), IsEmpty());
    now_ += Membership::kNumberRest;
    members_.set_configured({configured(5, {address(5)})});
    EXPECT_EQ(of(update(), 5).number, 0u) << "the lowest that rests no more";
}

TEST_F(MembershipTest, AtMostSixtyFourAreActive) {
    const struct {
        size_t configured;
        size_t known;
        size_t active;
        bool reserve;
    } kTable[] = {{0, 63, 63, false}, {0, 64, 64, false}, {0, 65, 64, true}, {3, 61, 64, false},
                  {3, 62, 64, true},  {64, 5, 64, true},  {65, 0, 64, false}};
    for (const auto& row : kTable) {
        members_ = Membership(99);
        std::vector<NodeConfig> nodes;
        for (uint32_t i = 0; i < row.configured; ++i) nodes.push_back(configured(1000 + i, {address(1)}));
        members_.set_configured(nodes);
        std::vector<DiscoveredNode> known;
        for (uint32_t i = 0; i < row.known; ++i) known.push_back(discovered(i));
        members_.set_discovered(known);
        const auto specs = update();
        EXPECT_EQ(specs.size(), row.active);
        EXPECT_EQ(members_.has_reserve(), row.reserve);
        for (uint32_t i = 0; i < std::min<size_t>(row.configured, 64); ++i)
            EXPECT_TRUE(ids(specs).contains(id(1000 + i)));
    }
}

TEST_F(MembershipTest, TheChoiceIsStableAndDiffersBySeed) {
    std::vector<DiscoveredNode> known;
    for (uint32_t i = 0; i < 500; ++i) known.push_back(discovered(i));
    members_.set_discovered(known);
    const auto chosen = ids(update());
    Membership same(99);
    Membership other(100);
    const auto nobody = [](uint32_t) { return false; };
    same.set_discovered(known);
    other.set_discovered(known);
    EXPECT_EQ(ids(same.update(now_, nobody)), chosen);
    EXPECT_NE(ids(other.update(now_, nobody)), chosen);
    // A new announcement does not move the others.
    known.push_back(discovered(501));
    members_.set_discovered(known);
    EXPECT_EQ(ids(update()), chosen);
}

TEST_F(MembershipTest, WhatStaysDownIsExchanged) {
    std::vector<DiscoveredNode> known;
    for (uint32_t i = 0; i < 66; ++i) known.push_back(discovered(i));
    members_.set_discovered(known);
    const auto first = update();
    for (const NodeSpec& spec : first) up_.insert(spec.number);
    const uint32_t failing = first[5].number;
    const PublicKey failing_id = first[5].id;
    up_.erase(failing);
    now_ += Membership::kDownTime - seconds(1);
    EXPECT_EQ(ids(update()), ids(first));
    now_ += seconds(1);
    const auto second = update();
    EXPECT_EQ(second.size(), 64u);
    EXPECT_FALSE(ids(second).contains(failing_id));
    for (const NodeSpec& spec : second) EXPECT_NE(spec.number, failing) << "its number rests";

    // Everything fails: each of the others gets its turn before the first one comes back.
    up_.clear();
    std::set<PublicKey> tried = ids(second);
    now_ += Membership::kDownTime;
    (void)update();
    now_ += Membership::kDownTime;
    const auto third = ids(update());
    tried.insert(third.begin(), third.end());
    EXPECT_EQ(tried.size(), 66u);
}

// Anybody who holds the network key can announce that.
TEST_F(MembershipTest, EverNewNodesAndRelaysUseUpNeitherNumbersNorPlaces) {
    members_.set_configured({NodeConfig{id(1), {NodeAddress{}}, {}, {}}});
    uint32_t next = 10;
    for (int round = 0; round < 120; ++round) {
        std::vector<DiscoveredNode> known;
        for (uint32_t i = 0; i < 64; ++i) {
            known.push_back(discovered(next++));
            for (uint32_t j = 0; j < 8; ++j) known.back().relays.push_back({id(next++), NodeAddress{}});
        }
        members_.set_discovered(known);
        now_ += seconds(1);
        const auto specs = update();
        EXPECT_LE(specs.size(), Membership::kSpecsMax);
        EXPECT_TRUE(ids(specs).contains(id(1)));
    }
}

TEST_F(MembershipTest, WithoutReserveTheOnesThatAreDownStay) {
    members_.set_discovered({discovered(1), discovered(2)});
    (void)update();
    now_ += minutes(10);
    EXPECT_EQ(update().size(), 2u);
}

}  // namespace
}  // namespace qanat::controlplane
