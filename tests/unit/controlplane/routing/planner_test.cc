#include "controlplane/routing/planner.h"

#include <gtest/gtest.h>

#include "common/ring/codec.h"

namespace qanat::controlplane {
namespace {

using ring::HopState;
using ring::PlanRule;
using std::chrono::microseconds;

RoutableNode node(uint32_t number, HopState state, std::optional<int> latency_us = std::nullopt) {
    RoutableNode made;
    made.node = number;
    made.address.family = 4;
    made.address.ip = {127, 0, 0, static_cast<uint8_t>(number)};
    made.address.port = 4000;
    made.state = state;
    if (latency_us) made.latency = microseconds(*latency_us);
    return made;
}

std::vector<uint32_t> order(const Plan& plan) {
    std::vector<uint32_t> numbers;
    for (const ring::PlanHop& hop : plan.hops) numbers.push_back(hop.node);
    return numbers;
}

constexpr Duration kTimeout = std::chrono::seconds(10);

TEST(Planner, SimpleStrategiesKeepTheOrderAndWeighAlike) {
    const std::vector<RoutableNode> nodes{node(0, HopState::up, 900), node(2, HopState::connecting),
                                          node(1, HopState::up, 100)};
    const struct {
        Strategy strategy;
        PlanRule rule;
    } kTable[] = {{Strategy::random, PlanRule::random},
                  {Strategy::round_robin, PlanRule::round_robin},
                  {Strategy::least_loaded, PlanRule::random}};
    for (const auto& row : kTable) {
        const Plan plan = make_plan(row.strategy, kTimeout, nodes);
        EXPECT_EQ(plan.rule, row.rule);
        EXPECT_EQ(order(plan), (std::vector<uint32_t>{0, 2, 1}));
        EXPECT_EQ(plan.response_timeout_ms, 10000u);
        EXPECT_EQ(plan.tries_max, 3u);
        EXPECT_EQ(plan.hops[1].state, HopState::connecting);
        EXPECT_EQ(plan.hops[0].weight, plan.hops[2].weight);
    }
}

TEST(Planner, TriesGrowWithTheHopsUpToThree) {
    for (size_t count = 0; count < 5; ++count) {
        const std::vector<RoutableNode> nodes(count, node(0, HopState::up));
        EXPECT_EQ(make_plan(Strategy::random, kTimeout, nodes).tries_max, std::min<size_t>(3, count + 1));
    }
}

TEST(Planner, FastestIsOrderedByLatency) {
    const Plan plan = make_plan(Strategy::fastest, kTimeout,
                                std::vector<RoutableNode>{node(0, HopState::up, 5000), node(1, HopState::up, 1000),
                                                          node(2, HopState::connecting, 10), node(3, HopState::up)});
    EXPECT_EQ(plan.rule, PlanRule::ordered);
    EXPECT_EQ(order(plan), (std::vector<uint32_t>{1, 0, 3, 2}));
}

TEST(Planner, FastestSharesAmongTiesWithinTenPercent) {
    const auto tied = [](int other) {
        const Plan plan = make_plan(Strategy::fastest, kTimeout,
                                    std::vector<RoutableNode>{node(0, HopState::up, 1000), node(1, HopState::up, other),
                                                              node(2, HopState::up, 9000)});
        EXPECT_GT(plan.hops[2].weight, 0u) << "it would never be tried";
        return plan.rule == PlanRule::weighted && plan.hops[0].weight == plan.hops[1].weight &&
               plan.hops[2].weight * 1000 < plan.hops[0].weight;
    };
    EXPECT_TRUE(tied(1000));
    EXPECT_TRUE(tied(1099));
    EXPECT_TRUE(tied(1100));
    EXPECT_FALSE(tied(1101));
}

TEST(Planner, FastestWithoutMeasurementsTreatsAllAlike) {
    const Plan plan =
        make_plan(Strategy::fastest, kTimeout, std::vector<RoutableNode>{node(0, HopState::up), node(1, HopState::up)});
    EXPECT_EQ(plan.rule, PlanRule::weighted);
    EXPECT_EQ(plan.hops[0].weight, plan.hops[1].weight);
}

TEST(Planner, PartsAreWholeAndValid) {
    for (const size_t count : {0u, 1u, 29u, 30u, 31u, 60u, 61u}) {
        std::vector<RoutableNode> nodes;
        for (uint32_t i = 0; i < count; ++i) nodes.push_back(node(i, HopState::up));
        const auto parts = make_plan_parts(make_plan(Strategy::random, kTimeout, nodes), 7);
        ASSERT_EQ(parts.size(), std::max<size_t>(1, (count + 29) / 30));
        uint32_t next = 0;
        for (const ring::PlanPart& part : parts) {
            EXPECT_EQ(part.version, 7u);
            EXPECT_EQ(part.total, count);
            EXPECT_EQ(part.first, next);
            for (uint32_t i = 0; i < part.count; ++i) EXPECT_EQ(part.hops[i].node, next + i);
            next += part.count;
            const Bytes bytes(static_cast<const uint8_t*>(static_cast<const void*>(&part)), sizeof part);
            EXPECT_EQ(ring::validate(ring::PlanPart::kType, bytes), ring::CodecError::none);
        }
        EXPECT_EQ(next, count);
    }
}

TEST(Planner, SamePlanSeesEveryField) {
    const std::vector<RoutableNode> nodes{node(0, HopState::up), node(1, HopState::up)};
    const Plan plan = make_plan(Strategy::random, kTimeout, nodes);
    EXPECT_TRUE(same_plan(plan, make_plan(Strategy::random, kTimeout, nodes)));
    const auto differs = [&](auto change) {
        Plan other = plan;
        change(other);
        return !same_plan(plan, other);
    };
    EXPECT_TRUE(differs([](Plan& p) { p.rule = PlanRule::ordered; }));
    EXPECT_TRUE(differs([](Plan& p) { p.response_timeout_ms = 1; }));
    EXPECT_TRUE(differs([](Plan& p) { p.tries_max = 1; }));
    EXPECT_TRUE(differs([](Plan& p) { p.hops.pop_back(); }));
    EXPECT_TRUE(differs([](Plan& p) { p.hops[1].node = 9; }));
    EXPECT_TRUE(differs([](Plan& p) { p.hops[1].weight = 9; }));
    EXPECT_TRUE(differs([](Plan& p) { p.hops[1].state = HopState::connecting; }));
    EXPECT_TRUE(differs([](Plan& p) { p.hops[1].address.port = 1; }));
    EXPECT_TRUE(differs([](Plan& p) { p.hops[1].address.ip[15] = 1; }));
    EXPECT_TRUE(differs([](Plan& p) { p.hops[1].address.family = 6; }));
}

TEST(Planner, LatencyIsSmoothed) {
    EXPECT_EQ(smooth_latency(std::nullopt, microseconds(800)), microseconds(800));
    EXPECT_EQ(smooth_latency(microseconds(800), microseconds(1600)), microseconds(900));
    EXPECT_EQ(smooth_latency(microseconds(800), microseconds(0)), microseconds(700));
}

}  // namespace
}  // namespace qanat::controlplane
