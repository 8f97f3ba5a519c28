#include "dataplane/route/plan.h"

#include <gmock/gmock.h>

#include <algorithm>
#include <map>
#include <random>
#include <set>

namespace qanat::dataplane {
namespace {

using ring::HopState;
using ring::PlanHop;
using ring::PlanRule;
using testing::ElementsAre;

constexpr auto kAny = [](const PlanHop&) { return true; };
constexpr auto kNone = [](const PlanHop&) { return false; };
constexpr auto kIdle = [](uint32_t) { return 0U; };  // no stream anywhere

PlanHop hop(uint32_t node, uint32_t weight = 1, HopState state = HopState::up) {
    PlanHop result{};
    result.node = node;
    result.weight = weight;
    result.state = state;
    result.address.family = 4;
    return result;
}

PlanHop connecting(uint32_t node) {
    return hop(node, 1, HopState::connecting);
}

ring::PlanPart part_of(uint32_t version, PlanRule rule, const std::vector<PlanHop>& hops, size_t first) {
    ring::PlanPart part{};
    part.version = version;
    part.rule = rule;
    part.total = static_cast<uint32_t>(hops.size());
    part.first = static_cast<uint32_t>(first);
    part.count = static_cast<uint16_t>(std::min<size_t>(hops.size() - first, ring::kPlanHopsPerPart));
    part.response_timeout_ms = 5000;
    part.tries_max = 3;
    std::copy_n(hops.begin() + static_cast<ptrdiff_t>(first), part.count, part.hops.begin());
    return part;
}

PartOutcome install(RoutingPlan& plan, uint32_t version, PlanRule rule, const std::vector<PlanHop>& hops) {
    size_t first = 0;
    for (;;) {
        const ring::PlanPart part = part_of(version, rule, hops, first);
        const PartOutcome outcome = plan.apply(part);
        first += part.count;
        if (first >= hops.size() || outcome != PartOutcome::stored) return outcome;
    }
}

RoutingPlan plan_of(PlanRule rule, const std::vector<PlanHop>& hops) {
    RoutingPlan plan;
    EXPECT_EQ(install(plan, 1, rule, hops), PartOutcome::complete);
    return plan;
}

// How often each node comes out of `count` picks.
template <class Usable>
std::map<uint32_t, int> tally(const RoutingPlan& plan, int count, std::span<const uint32_t> tried, Usable usable) {
    std::mt19937_64 random(42);
    PickState state;
    std::map<uint32_t, int> picks;
    for (int i = 0; i < count; ++i)
        if (const PlanHop* picked = plan.pick(state, random(), tried, usable, kIdle)) ++picks[picked->node];
    return picks;
}

// Chi-squared against the expected shares, with a bound that a correct picker passes 9999 times of 10000 for up to
// 20 nodes; the seeds are fixed, so it passes always or never.
void expect_shares(const std::map<uint32_t, int>& picks, const std::map<uint32_t, double>& shares, int count) {
    double sum = 0, chi_squared = 0;
    for (const auto& [node, share] : shares) sum += share;
    for (const auto& [node, share] : shares) {
        const double expected = count * share / sum;
        const auto found = picks.find(node);
        const double difference = (found == picks.end() ? 0 : found->second) - expected;
        chi_squared += difference * difference / expected;
    }
    EXPECT_LT(chi_squared, 50.0);
    for (const auto& [node, picked] : picks) EXPECT_TRUE(shares.contains(node)) << "node " << node;
}

TEST(RoutingPlan, empty_before_and_after) {
    RoutingPlan plan;
    PickState state;
    EXPECT_EQ(plan.pick(state, 1, {}, kAny, kIdle), nullptr);
    EXPECT_FALSE(plan.any_connecting());
    for (const PlanRule rule :
         {PlanRule::random, PlanRule::round_robin, PlanRule::weighted, PlanRule::ordered, PlanRule::least_loaded}) {
        const RoutingPlan empty = plan_of(rule, {});
        EXPECT_EQ(empty.pick(state, 1, {}, kAny, kIdle), nullptr);
        EXPECT_EQ(empty.rule(), rule);
        EXPECT_EQ(empty.version(), 1U);
    }
}

TEST(RoutingPlan, settings_come_with_the_version) {
    RoutingPlan plan;
    const std::vector<PlanHop> many(ring::kPlanHopsPerPart + 1, hop(1));
    ring::PlanPart part = part_of(1, PlanRule::ordered, many, 0);
    part.response_timeout_ms = 1234;
    part.tries_max = 7;
    EXPECT_EQ(plan.apply(part), PartOutcome::stored);
    EXPECT_NE(plan.response_timeout_ms(), 1234U);
    part = part_of(1, PlanRule::random, many, ring::kPlanHopsPerPart);  // only the first part's count
    EXPECT_EQ(plan.apply(part), PartOutcome::complete);
    EXPECT_EQ(plan.response_timeout_ms(), 1234U);
    EXPECT_EQ(plan.tries_max(), 7U);
    EXPECT_EQ(plan.rule(), PlanRule::ordered);
    EXPECT_EQ(plan.hops().size(), many.size());
}

TEST(RoutingPlan, a_part_that_is_not_taken_changes_nothing) {
    RoutingPlan plan = plan_of(PlanRule::ordered, {hop(1)});
    ring::PlanPart part = part_of(1, PlanRule::random, {hop(2)}, 0);
    EXPECT_EQ(plan.apply(part), PartOutcome::stale);
    part.version = 2;
    part.rule = PlanRule{0};
    EXPECT_EQ(plan.apply(part), PartOutcome::invalid);
    part.rule = PlanRule{6};
    EXPECT_EQ(plan.apply(part), PartOutcome::invalid);
    part.rule = PlanRule::random;
    part.count = ring::kPlanHopsPerPart + 1;
    EXPECT_EQ(plan.apply(part), PartOutcome::invalid);
    part.count = 1;
    part.first = 1;
    part.total = 2;
    EXPECT_EQ(plan.apply(part), PartOutcome::out_of_order);
    PickState state;
    EXPECT_EQ(plan.pick(state, 1, {}, kAny, kIdle)->node, 1U);
    EXPECT_EQ(plan.rule(), PlanRule::ordered);
}

TEST(RoutingPlan, settings_of_a_list_that_was_dropped_are_dropped_too) {
    RoutingPlan plan = plan_of(PlanRule::ordered, {hop(1)});
    const std::vector<PlanHop> many(ring::kPlanHopsPerPart + 1, hop(2));
    EXPECT_EQ(plan.apply(part_of(2, PlanRule::random, many, 0)), PartOutcome::stored);
    EXPECT_EQ(install(plan, 3, PlanRule::round_robin, {hop(3)}), PartOutcome::complete);
    EXPECT_EQ(plan.rule(), PlanRule::round_robin);
}

TEST(RoutingPlan, only_hops_that_are_up) {
    for (const PlanRule rule :
         {PlanRule::random, PlanRule::round_robin, PlanRule::weighted, PlanRule::ordered, PlanRule::least_loaded}) {
        const RoutingPlan plan = plan_of(rule, {connecting(1), hop(2), connecting(3), hop(4), connecting(5)});
        EXPECT_TRUE(plan.any_connecting());
        EXPECT_EQ(plan.up_count(), 2U);
        EXPECT_EQ(plan.hops().size(), 5U);
        for (const auto& [node, count] : tally(plan, 200, {}, kAny)) EXPECT_TRUE(node == 2 || node == 4);

        const RoutingPlan waiting = plan_of(rule, {connecting(1)});
        PickState state;
        EXPECT_EQ(waiting.pick(state, 1, {}, kAny, kIdle), nullptr);
        EXPECT_TRUE(waiting.any_connecting());
        EXPECT_FALSE(plan_of(rule, {hop(1)}).any_connecting());
    }
}

TEST(RoutingPlan, every_rule_leaves_out_tried_and_unusable_nodes) {
    for (const PlanRule rule :
         {PlanRule::random, PlanRule::round_robin, PlanRule::weighted, PlanRule::ordered, PlanRule::least_loaded}) {
        std::vector<PlanHop> hops;
        for (uint32_t node = 0; node < 64; ++node) hops.push_back(hop(node));
        const RoutingPlan plan = plan_of(rule, hops);
        // One left: the guesses nearly always fail, the walk has to find it.
        std::vector<uint32_t> tried;
        for (uint32_t node = 0; node < 64; ++node)
            if (node != 37 && node % 2 == 1) tried.push_back(node);
        const auto usable = [](const PlanHop& entry) { return entry.node == 37; };
        EXPECT_THAT(tally(plan, 100, tried, usable), ElementsAre(std::pair(37U, 100)));
        tried.push_back(37);
        EXPECT_TRUE(tally(plan, 100, tried, usable).empty());
        EXPECT_TRUE(tally(plan, 10, {}, kNone).empty());
    }
}

TEST(RoutingPlan, ordered_takes_the_first) {
    const RoutingPlan plan = plan_of(PlanRule::ordered, {hop(9), hop(3), hop(7)});
    PickState state;
    EXPECT_EQ(plan.pick(state, 1, {}, kAny, kIdle)->node, 9U);
    EXPECT_EQ(plan.pick(state, 2, {}, kAny, kIdle)->node, 9U);
    const std::vector<uint32_t> tried{9};
    EXPECT_EQ(plan.pick(state, 3, tried, kAny, kIdle)->node, 3U);
    EXPECT_EQ(plan.pick(
                      state, 3, tried, [](const PlanHop& entry) { return entry.node != 3; }, kIdle)
                  ->node,
              7U);
    EXPECT_EQ(state.cursor, 0U);
}

TEST(RoutingPlan, round_robin_takes_turns) {
    const RoutingPlan plan = plan_of(PlanRule::round_robin, {hop(1), hop(2), hop(3)});
    PickState state;
    std::vector<uint32_t> nodes;
    for (int i = 0; i < 7; ++i) nodes.push_back(plan.pick(state, 0, {}, kAny, kIdle)->node);
    EXPECT_THAT(nodes, ElementsAre(1, 2, 3, 1, 2, 3, 1));

    // Engines that begin elsewhere.
    PickState other{2};
    EXPECT_EQ(plan.pick(other, 0, {}, kAny, kIdle)->node, 3U);
    PickState far{0xffffffff};
    EXPECT_EQ(plan.pick(far, 0, {}, kAny, kIdle)->node, 1U + 0xffffffff % 3);

    // A pick that finds nothing does not move the cursor.
    PickState still{1};
    EXPECT_EQ(plan.pick(still, 0, {}, kNone, kIdle), nullptr);
    EXPECT_EQ(plan.pick(still, 0, {}, kAny, kIdle)->node, 2U);

    // The one behind a hop that was left out gets its turn, and then the order goes on.
    PickState skipping;
    const std::vector<uint32_t> tried{1};
    EXPECT_EQ(plan.pick(skipping, 0, tried, kAny, kIdle)->node, 2U);
    EXPECT_EQ(plan.pick(skipping, 0, {}, kAny, kIdle)->node, 3U);
}

TEST(RoutingPlan, round_robin_survives_a_shorter_plan) {
    RoutingPlan plan = plan_of(PlanRule::round_robin, {hop(1), hop(2), hop(3), hop(4)});
    PickState state;
    for (int i = 0; i < 3; ++i) (void)plan.pick(state, 0, {}, kAny, kIdle);
    EXPECT_EQ(install(plan, 2, PlanRule::round_robin, {hop(8), hop(9)}), PartOutcome::complete);
    EXPECT_EQ(plan.pick(state, 0, {}, kAny, kIdle)->node, 9U);
    EXPECT_EQ(plan.pick(state, 0, {}, kAny, kIdle)->node, 8U);
}

TEST(RoutingPlan, random_is_even) {
    std::vector<PlanHop> hops;
    std::map<uint32_t, double> shares;
    for (uint32_t node = 0; node < 10; ++node) {
        hops.push_back(hop(node, node));  // weights do not count
        shares[node] = 1;
    }
    const RoutingPlan plan = plan_of(PlanRule::random, hops);
    expect_shares(tally(plan, 100000, {}, kAny), shares, 100000);

    // Also over what is left when some are not eligible, next to each other or not: no neighbour inherits their share.
    const std::vector<uint32_t> tried{2, 3, 4};
    for (const uint32_t node : {2U, 3U, 4U, 8U}) shares.erase(node);
    expect_shares(tally(plan, 100000, tried, [](const PlanHop& entry) { return entry.node != 8; }), shares, 100000);
}

TEST(RoutingPlan, random_is_even_in_the_walk_too) {
    std::vector<PlanHop> hops;
    for (uint32_t node = 0; node < 1000; ++node) hops.push_back(hop(node));
    const RoutingPlan plan = plan_of(PlanRule::random, hops);
    const std::map<uint32_t, double> shares{{0, 1}, {1, 1}, {500, 1}, {999, 1}};
    expect_shares(tally(plan, 20000, {}, [&](const PlanHop& entry) { return shares.contains(entry.node); }), shares,
                  20000);
}

TEST(RoutingPlan, random_with_consecutive_numbers_is_even) {
    // Poor randomness must not show in the result: the numbers are mixed before use.
    const RoutingPlan plan = plan_of(PlanRule::random, {hop(0), hop(1), hop(2), hop(3)});
    std::map<uint32_t, int> picks;
    PickState state;
    for (uint64_t i = 0; i < 40000; ++i) ++picks[plan.pick(state, i, {}, kAny, kIdle)->node];
    expect_shares(picks, {{0, 1}, {1, 1}, {2, 1}, {3, 1}}, 40000);
}

TEST(RoutingPlan, weighted) {
    const RoutingPlan plan =
        plan_of(PlanRule::weighted, {hop(0, 0), hop(1, 1), hop(2, 0), hop(3, 3), hop(4, 6), hop(5, 0)});
    expect_shares(tally(plan, 100000, {}, kAny), {{1, 1}, {3, 3}, {4, 6}}, 100000);
    const std::vector<uint32_t> tried{4};
    expect_shares(tally(plan, 100000, tried, kAny), {{1, 1}, {3, 3}}, 100000);
    // Only weight 0 is left: never.
    EXPECT_TRUE(tally(plan, 1000, {}, [](const PlanHop& entry) {
                    return entry.node == 0 || entry.node == 2 || entry.node == 5;
                }).empty());
    EXPECT_TRUE(tally(plan_of(PlanRule::weighted, {hop(1, 0), hop(2, 0)}), 1000, {}, kAny).empty());
}

TEST(RoutingPlan, weighted_extremes) {
    const uint32_t most = 0xffffffff;
    std::vector<PlanHop> hops(ring::kPlanHopsMax, hop(1, most));
    for (size_t i = 0; i < hops.size(); i += 2) hops[i].node = 2;
    const RoutingPlan plan = plan_of(PlanRule::weighted, hops);
    expect_shares(tally(plan, 20000, {}, kAny), {{1, 1}, {2, 1}}, 20000);
    EXPECT_THAT(tally(plan, 50, {}, [](const PlanHop& entry) { return entry.node == 2; }),
                ElementsAre(std::pair(2U, 50)));

    // A light hop beside a heavy one is found when the heavy one is out.
    const RoutingPlan uneven = plan_of(PlanRule::weighted, {hop(1, 1), hop(2, most), hop(3, 1)});
    const std::vector<uint32_t> tried{2};
    expect_shares(tally(uneven, 10000, tried, kAny), {{1, 1}, {3, 1}}, 10000);
}

template <class InFlight>
std::map<uint32_t, int> tally_loaded(const RoutingPlan& plan, int count, std::span<const uint32_t> tried,
                                     InFlight in_flight) {
    std::mt19937_64 random(43);
    PickState state;
    std::map<uint32_t, int> picks;
    for (int i = 0; i < count; ++i)
        if (const PlanHop* picked = plan.pick(state, random(), tried, kAny, in_flight)) ++picks[picked->node];
    return picks;
}

TEST(RoutingPlan, least_loaded_of_two_is_the_lighter_one) {
    const auto load = [](uint32_t node) { return node * 10; };
    EXPECT_THAT(tally_loaded(plan_of(PlanRule::least_loaded, {hop(1), hop(2)}), 500, {}, load),
                ElementsAre(std::pair(1U, 500)));
    // 30 × 11 or 28 × 11 against 10 × 31.
    const auto pair_of = [](uint32_t weight_of_one) {
        return plan_of(PlanRule::least_loaded, {hop(1, weight_of_one), hop(3, 10)});
    };
    EXPECT_THAT(tally_loaded(pair_of(30), 500, {}, load), ElementsAre(std::pair(3U, 500)));
    EXPECT_THAT(tally_loaded(pair_of(28), 500, {}, load), ElementsAre(std::pair(1U, 500)));
    // No product is too large for the comparison, and a weight of 0 is no licence to take everything.
    const auto full = [](uint32_t node) { return node == 1 ? UINT32_MAX : UINT32_MAX - 1; };
    EXPECT_THAT(tally_loaded(plan_of(PlanRule::least_loaded, {hop(1, UINT32_MAX), hop(2, UINT32_MAX)}), 100, {}, full),
                ElementsAre(std::pair(2U, 100)));
    EXPECT_THAT(tally_loaded(plan_of(PlanRule::least_loaded, {hop(1, 0), hop(2, 1)}), 100, {}, load),
                ElementsAre(std::pair(1U, 100)));
    EXPECT_THAT(tally_loaded(plan_of(PlanRule::least_loaded, {hop(3, 0), hop(2, 1)}), 100, {}, load),
                ElementsAre(std::pair(2U, 100)));
}

TEST(RoutingPlan, least_loaded_draws_two_different_hops_evenly) {
    std::vector<PlanHop> hops;
    std::map<uint32_t, double> even, by_rank;
    for (uint32_t node = 0; node < 10; ++node) {
        hops.push_back(hop(node));
        even[node] = 1;
        if (node < 9) by_rank[node] = 9 - node;  // pairs in which it is the lighter one; the heaviest is in none
    }
    const RoutingPlan plan = plan_of(PlanRule::least_loaded, hops);
    expect_shares(tally_loaded(plan, 100000, {}, kIdle), even, 100000);
    expect_shares(tally_loaded(plan, 100000, {}, [](uint32_t node) { return node; }), by_rank, 100000);

    // The ranks are those of the hops that are left: 0, 2, 9.
    const std::vector<uint32_t> tried{1, 3, 4, 5, 6, 7, 8};
    expect_shares(tally_loaded(plan, 20000, tried, [](uint32_t node) { return node; }), {{0, 2}, {2, 1}}, 20000);
    const std::vector<uint32_t> all_but_one{0, 1, 2, 3, 4, 5, 6, 7, 8};
    EXPECT_THAT(tally_loaded(plan, 100, all_but_one, [](uint32_t node) { return node; }),
                ElementsAre(std::pair(9U, 100)));
}

TEST(RoutingPlan, least_loaded_spreads_a_burst) {
    std::vector<PlanHop> hops;
    for (uint32_t node = 0; node < 20; ++node) hops.push_back(hop(node, node < 10 ? 1000 : 3000));
    const RoutingPlan plan = plan_of(PlanRule::least_loaded, hops);
    std::mt19937_64 random(44);
    PickState state;
    std::array<uint32_t, 20> load{};
    for (int i = 0; i < 4000; ++i)
        ++load[plan.pick(state, random(), {}, kAny, [&](uint32_t node) { return load[node]; })->node];
    // Nodes alike carry alike, and those that cost three times as much carry less; a third only if all were asked.
    const auto [fast_least, fast_most] = std::minmax_element(load.begin(), load.begin() + 10);
    const auto [slow_least, slow_most] = std::minmax_element(load.begin() + 10, load.end());
    EXPECT_LE(*fast_most - *fast_least, 20U);
    EXPECT_LE(*slow_most - *slow_least, 20U);
    EXPECT_LT(*slow_most * 2, *fast_least);
}

TEST(RoutingPlan, the_whole_capacity) {
    std::vector<PlanHop> hops;
    for (uint32_t node = 0; node < ring::kPlanHopsMax; ++node) hops.push_back(hop(node));
    const RoutingPlan plan = plan_of(PlanRule::round_robin, hops);
    PickState state;
    std::set<uint32_t> seen;
    for (uint32_t i = 0; i < ring::kPlanHopsMax; ++i) seen.insert(plan.pick(state, 0, {}, kAny, kIdle)->node);
    EXPECT_EQ(seen.size(), size_t{ring::kPlanHopsMax});

    RoutingPlan too_long;
    ring::PlanPart part = part_of(1, PlanRule::random, hops, 0);
    part.total = ring::kPlanHopsMax + 1;
    EXPECT_EQ(too_long.apply(part), PartOutcome::invalid);
}

TEST(RoutingPlan, random_plans_against_a_slow_reference) {
    std::mt19937_64 random(7);
    RoutingPlan plan;
    for (uint32_t version = 1; version <= 300; ++version) {
        std::vector<PlanHop> hops(random() % 100);
        for (PlanHop& entry : hops)
            entry = hop(static_cast<uint32_t>(random() % 50), static_cast<uint32_t>(random() % 3),
                        random() % 4 == 0 ? HopState::connecting : HopState::up);
        const auto rule = static_cast<PlanRule>(1 + random() % 5);
        ASSERT_EQ(install(plan, version, rule, hops), PartOutcome::complete);
        PickState state;
        for (int i = 0; i < 50; ++i) {
            std::vector<uint32_t> tried(random() % 10);
            for (uint32_t& node : tried) node = static_cast<uint32_t>(random() % 50);
            const uint64_t mask = random() & random();
            const auto usable = [&](const PlanHop& entry) { return (mask >> entry.node & 1) != 0; };
            const auto eligible = [&](const PlanHop& entry) {
                return entry.state == HopState::up && usable(entry) &&
                       (rule != PlanRule::weighted || entry.weight > 0) &&
                       std::find(tried.begin(), tried.end(), entry.node) == tried.end();
            };
            const PlanHop* picked = plan.pick(state, random(), tried, usable, kIdle);
            if (picked == nullptr) {
                ASSERT_TRUE(std::none_of(hops.begin(), hops.end(), eligible));
            } else {
                ASSERT_TRUE(eligible(*picked));
            }
        }
    }
}

}  // namespace
}  // namespace qanat::dataplane
