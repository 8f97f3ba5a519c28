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
    } kTable[] = {{Strategy::random, PlanRule::random}, {Strategy::round_robin, PlanRule::round_robin}};
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

TEST(Planner, FastestSharesAmongTiesWithinTenPercentOrAMillisecond) {
    const auto tied = [](int best, int other) {
        const Plan plan = make_plan(Strategy::fastest, kTimeout,
                                    std::vector<RoutableNode>{node(0, HopState::up, best), node(1, HopState::up, other),
                                                              node(2, HopState::up, 900'000)});
        EXPECT_GT(plan.hops[2].weight, 0u) << "it would never be tried";
        return plan.rule == PlanRule::weighted && plan.hops[0].weight == plan.hops[1].weight &&
               plan.hops[2].weight * 1000 < plan.hops[0].weight;
    };
    const struct {
        int best;
        int other;
        bool tied;
    } kTable[] = {{1000, 1000, true},      {1000, 2000, true},     {1000, 2001, false},
                  {0, 1000, true},         {0, 1001, false},       {10'000, 11'000, true},
                  {10'000, 11'001, false}, {50'000, 55'000, true}, {50'000, 55'001, false}};
    for (const auto& row : kTable) EXPECT_EQ(tied(row.best, row.other), row.tied) << row.best << " " << row.other;
}

TEST(Planner, ANodeOnTrialGetsASmallShare) {
    std::vector<RoutableNode> nodes{node(0, HopState::up, 10'000), node(1, HopState::up, 20'000),
                                    node(2, HopState::up, 30'000)};
    nodes[0].trial = true;
    const auto shares = [&](Strategy strategy) {
        const Plan plan = make_plan(strategy, kTimeout, nodes);
        const std::vector<uint64_t> idle(plan.hops.size(), 0);
        const std::vector<double> by_place = plan_shares(plan, idle);
        std::vector<double> by_node(plan.hops.size());
        for (size_t i = 0; i < plan.hops.size(); ++i) by_node[plan.hops[i].node] = by_place[i];
        return by_node;
    };
    EXPECT_NEAR(shares(Strategy::random)[0], 1.0 / 21, 0.001);
    EXPECT_NEAR(shares(Strategy::fastest)[0], 1.0 / 11, 0.001) << "the second one carries the rest";
    EXPECT_NEAR(shares(Strategy::fastest)[1], 10.0 / 11, 0.001);
    EXPECT_LT(shares(Strategy::least_loaded)[0], shares(Strategy::least_loaded)[1]);
    EXPECT_NEAR(shares(Strategy::round_robin)[0], 1.0 / 3, 0.001);
    // Alone, it is no worse than nothing.
    nodes.resize(1);
    for (const Strategy strategy : {Strategy::random, Strategy::fastest, Strategy::least_loaded, Strategy::round_robin})
        EXPECT_NEAR(shares(strategy)[0], 1.0, 0.001);
}

TEST(Planner, LeastLoadedWeighsLatencyByAnnouncedLoad) {
    const struct {
        std::optional<int> latency_us;
        uint16_t load;
        uint32_t weight;
    } kTable[] = {{1000, 0, 1000},     {1000, 499, 1000},      {1000, 500, 1052}, {1000, 5000, 2000},
                  {1000, 9499, 10000}, {1000, 10000, 20000},   {0, 0, 1},         {0, 10000, 20},
                  {5000, 5000, 10000}, {std::nullopt, 0, 5000}};
    std::vector<RoutableNode> nodes;
    for (const auto& row : kTable) {
        nodes.push_back(node(static_cast<uint32_t>(nodes.size()), HopState::up, row.latency_us));
        nodes.back().load = row.load;
    }
    const Plan plan = make_plan(Strategy::least_loaded, kTimeout, nodes);
    EXPECT_EQ(plan.rule, PlanRule::least_loaded);
    for (size_t i = 0; i < nodes.size(); ++i) EXPECT_EQ(plan.hops[i].weight, kTable[i].weight) << i;
}

TEST(Planner, RelayedPathsTravelWithTheHop) {
    RoutableNode relayed = node(7, HopState::up, 500);
    relayed.via_count = 2;
    relayed.via[0].node = 3;
    relayed.via[1].node = 4;
    for (const Strategy strategy :
         {Strategy::random, Strategy::fastest, Strategy::least_loaded, Strategy::round_robin}) {
        const Plan plan = make_plan(strategy, kTimeout, std::vector<RoutableNode>{relayed});
        ASSERT_EQ(plan.hops.at(0).via_count, 2u);
        EXPECT_EQ(plan.hops[0].via[1].node, 4u);
    }
}

// What plan_shares() says is what a million draws by the rules of ring::PlanRule give.
TEST(Planner, SharesAreThoseOfManyDraws) {
    std::vector<RoutableNode> nodes;
    for (const int latency : {900, 1000, 5000, 20'000, 21'000})
        nodes.push_back(node(static_cast<uint32_t>(nodes.size()), HopState::up, latency));
    nodes.push_back(node(5, HopState::connecting, 10));
    const std::vector<uint64_t> in_flight{9, 0, 3, 0, 0, 0};
    uint64_t seed = 1;
    const auto draw = [&seed](uint64_t bound) {
        seed = seed * 6364136223846793005U + 1442695040888963407U;
        return (seed >> 33) % bound;
    };
    constexpr int kDraws = 200'000;
    for (const Strategy strategy : {Strategy::random, Strategy::fastest, Strategy::least_loaded}) {
        const Plan plan = make_plan(strategy, kTimeout, nodes);
        std::vector<uint64_t> flights;
        for (const ring::PlanHop& hop : plan.hops) flights.push_back(in_flight[hop.node]);
        const std::vector<double> shares = plan_shares(plan, flights);
        std::vector<double> picked(plan.hops.size());
        uint64_t tickets = 0;
        for (const ring::PlanHop& hop : plan.hops) tickets += hop.state == HopState::up ? hop.weight : 0;
        for (int i = 0; i < kDraws; ++i) {
            size_t pick = draw(5);
            if (plan.rule == PlanRule::weighted) {
                uint64_t ticket = draw(tickets);
                for (pick = 0; ticket >= plan.hops[pick].weight; ++pick) ticket -= plan.hops[pick].weight;
            } else if (plan.rule == PlanRule::least_loaded) {
                const size_t other = (pick + 1 + draw(4)) % 5;
                const auto cost = [&](size_t of) { return plan.hops[of].weight * (flights[of] + 1); };
                if (cost(other) < cost(pick)) pick = other;
            }
            picked[pick] += 1.0 / kDraws;
        }
        double sum = 0;
        for (size_t i = 0; i < shares.size(); ++i) {
            EXPECT_NEAR(shares[i], picked[i], 0.005) << name_of(strategy) << " " << i;
            sum += shares[i];
        }
        EXPECT_NEAR(sum, 1, 1e-9);
    }
}

TEST(Planner, SharesOfSpecialPlans) {
    const auto shares = [](Strategy strategy, const std::vector<RoutableNode>& nodes) {
        const Plan plan = make_plan(strategy, kTimeout, nodes);
        return plan_shares(plan, std::vector<uint64_t>(plan.hops.size(), 0));
    };
    EXPECT_TRUE(shares(Strategy::random, {}).empty());
    EXPECT_EQ(shares(Strategy::random, {node(0, HopState::connecting)}), std::vector<double>{0});
    EXPECT_EQ(shares(Strategy::fastest, {node(0, HopState::up, 90'000), node(1, HopState::up, 10'000)}),
              (std::vector<double>{1, 0}));
    EXPECT_EQ(shares(Strategy::least_loaded, {node(0, HopState::up, 10), node(1, HopState::up, 10)}),
              (std::vector<double>{0.5, 0.5}));
}

// A latency that wanders inside the band changes no plan.
TEST(Planner, ASettledLatencyStandsStill) {
    const struct {
        int known;
        int current;
        int settled;
    } kTable[] = {{10'000, 10'500, 10'000},
                  {10'000, 10'501, 10'501},
                  {10'000, 9'500, 10'000},
                  {10'000, 9'499, 9'499},
                  {100, 600, 100},
                  {100, 601, 601},
                  {0, 500, 0},
                  {100'000, 105'000, 100'000},
                  {100'000, 105'001, 105'001}};
    EXPECT_EQ(settle_latency(std::nullopt, microseconds(7)), microseconds(7));
    for (const auto& row : kTable)
        EXPECT_EQ(settle_latency(microseconds(row.known), microseconds(row.current)), microseconds(row.settled))
            << row.known << " " << row.current;
    // Two nodes whose latencies cross again and again by 3 %.
    std::optional<microseconds> a, b;
    std::optional<Plan> sent;
    int plans = 0;
    for (int i = 0; i < 100; ++i) {
        a = settle_latency(a, microseconds(20'000 + (i % 2) * 600));
        b = settle_latency(b, microseconds(20'600 - (i % 2) * 600));
        const Plan plan = make_plan(Strategy::fastest, kTimeout,
                                    std::vector<RoutableNode>{node(0, HopState::up, static_cast<int>(a->count())),
                                                              node(1, HopState::up, static_cast<int>(b->count()))});
        if (!sent || !same_plan(*sent, plan)) ++plans;
        sent = plan;
    }
    EXPECT_EQ(plans, 1);
}

TEST(Planner, FastestWithoutMeasurementsTreatsAllAlike) {
    const Plan plan =
        make_plan(Strategy::fastest, kTimeout, std::vector<RoutableNode>{node(0, HopState::up), node(1, HopState::up)});
    EXPECT_EQ(plan.rule, PlanRule::weighted);
    EXPECT_EQ(plan.hops[0].weight, plan.hops[1].weight);
}

TEST(Planner, PartsAreWholeAndValid) {
    for (const size_t count : {0u, 1u, 8u, 9u, 10u, 18u, 19u}) {
        std::vector<RoutableNode> nodes;
        for (uint32_t i = 0; i < count; ++i) nodes.push_back(node(i, HopState::up));
        const auto parts = make_plan_parts(make_plan(Strategy::random, kTimeout, nodes), 7);
        ASSERT_EQ(parts.size(), std::max<size_t>(1, (count + ring::kPlanHopsPerPart - 1) / ring::kPlanHopsPerPart));
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
    EXPECT_TRUE(differs([](Plan& p) { p.hops[1].via_count = 1; }));
    EXPECT_TRUE(differs([](Plan& p) { p.hops[1].via[2].next.port = 1; }));
}

TEST(Planner, LatencyIsSmoothed) {
    EXPECT_EQ(smooth_latency(std::nullopt, microseconds(800)), microseconds(800));
    EXPECT_EQ(smooth_latency(microseconds(800), microseconds(1600)), microseconds(900));
    EXPECT_EQ(smooth_latency(microseconds(800), microseconds(0)), microseconds(700));
}

}  // namespace
}  // namespace qanat::controlplane
