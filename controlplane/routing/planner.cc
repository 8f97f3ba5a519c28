#include "controlplane/routing/planner.h"

#include <algorithm>
#include <cstring>

#include "common/base/assert.h"

namespace qanat::controlplane {
namespace {

using ring::HopState;
using ring::PlanRule;

constexpr uint32_t kTriesMax = 3;
constexpr uint32_t kWeightEqual = 1'000'000;
// The engines never pick a weight of 0, not even when everything else has been tried.
constexpr uint32_t kWeightLast = 1;
// Of a node on trial, beside kWeightEqual: enough to see within some streams whether it is well again.
constexpr uint32_t kWeightTrial = kWeightEqual / 10;
constexpr uint32_t kTrialCost = 10;
constexpr int64_t kLatencyTiePercent = 10;
constexpr std::chrono::microseconds kLatencyTie = std::chrono::milliseconds(1);

constexpr uint64_t kLoadFull = 10000;
// The announced load counts in such steps, so that plans stand still while it moves a little, and up to this bound.
constexpr uint64_t kLoadStep = 500;
constexpr uint64_t kLoadMax = 9500;

ring::PlanHop make_hop(const RoutableNode& node, uint32_t weight) {
    ring::PlanHop hop{};
    hop.node = node.node;
    hop.weight = weight;
    hop.address = node.address;
    hop.state = node.state;
    hop.via_count = node.via_count;
    hop.via = node.via;
    hop.punch = node.punch && node.via_count > 0 ? 1 : 0;
    return hop;
}

// Up before connecting, known latency before unknown, low before high; otherwise as configured.
bool faster(const RoutableNode& a, const RoutableNode& b) {
    if (a.state != b.state) return a.state == HopState::up;
    if (a.latency.has_value() != b.latency.has_value()) return a.latency.has_value();
    return a.latency.has_value() && *a.latency < *b.latency;
}

bool ties(std::chrono::microseconds latency, std::chrono::microseconds best) {
    return latency <= best + std::max(best * kLatencyTiePercent / 100, kLatencyTie);
}

void plan_fastest(Plan& plan, std::span<const RoutableNode> nodes) {
    std::vector<RoutableNode> sorted(nodes.begin(), nodes.end());
    std::stable_sort(sorted.begin(), sorted.end(), faster);
    // A node on trial is no measure for the others: should it fail, what they carry would be theirs alone.
    const auto best = std::find_if(sorted.begin(), sorted.end(), [](const RoutableNode& node) { return !node.trial; });
    const bool measured = best != sorted.end() && best->state == HopState::up && best->latency.has_value();
    size_t sharing = 0;
    for (const RoutableNode& node : sorted) {
        // With nothing measured yet, whatever is up is as good as the next.
        bool shares = node.state == sorted.front().state;
        if (measured) shares = shares && node.latency.has_value() && ties(*node.latency, *best->latency);
        sharing += shares ? 1 : 0;
        const uint32_t weight = node.trial && best != sorted.end() ? kWeightTrial : kWeightEqual;
        plan.hops.push_back(make_hop(node, shares ? weight : kWeightLast));
    }
    plan.rule = sharing > 1 ? PlanRule::weighted : PlanRule::ordered;
}

// What one more stream costs there: the latency, scaled by how little of the node is left.
uint32_t cost(const RoutableNode& node, std::chrono::microseconds latency) {
    const uint64_t load = std::min(node.load / kLoadStep * kLoadStep, kLoadMax);
    uint64_t cost = static_cast<uint64_t>(std::max<int64_t>(latency.count(), 1)) * kLoadFull / (kLoadFull - load);
    if (node.trial) cost *= kTrialCost;
    return static_cast<uint32_t>(std::clamp<uint64_t>(cost, 1, UINT32_MAX));
}

void plan_least_loaded(Plan& plan, std::span<const RoutableNode> nodes) {
    plan.rule = PlanRule::least_loaded;
    // What has not been measured yet is taken for no better than the worst.
    std::chrono::microseconds worst{1};
    for (const RoutableNode& node : nodes) worst = std::max(worst, node.latency.value_or(worst));
    for (const RoutableNode& node : nodes)
        plan.hops.push_back(make_hop(node, cost(node, node.latency.value_or(worst))));
}

void plan_random(Plan& plan, std::span<const RoutableNode> nodes) {
    const auto trials = std::count_if(nodes.begin(), nodes.end(), [](const RoutableNode& node) { return node.trial; });
    plan.rule = trials == 0 ? PlanRule::random : PlanRule::weighted;
    for (const RoutableNode& node : nodes)
        plan.hops.push_back(make_hop(node, node.trial ? kWeightTrial : kWeightEqual));
}

}  // namespace

bool same_plan(const Plan& a, const Plan& b) {
    // No padding and no pointers: the bytes are the hop.
    const auto same_hop = [](const ring::PlanHop& x, const ring::PlanHop& y) {
        return std::memcmp(&x, &y, sizeof x) == 0;
    };
    return a.rule == b.rule && a.response_timeout_ms == b.response_timeout_ms && a.tries_max == b.tries_max &&
           std::equal(a.hops.begin(), a.hops.end(), b.hops.begin(), b.hops.end(), same_hop);
}

Plan make_plan(Strategy strategy, Duration timeout, std::span<const RoutableNode> nodes) {
    QANAT_ASSERT(nodes.size() <= ring::kPlanHopsMax);
    Plan plan;
    plan.response_timeout_ms = static_cast<uint32_t>(std::clamp<int64_t>(timeout.count(), 1, UINT32_MAX));
    plan.tries_max = static_cast<uint32_t>(std::min<size_t>(kTriesMax, nodes.size() + 1));
    switch (strategy) {
        case Strategy::fastest:
            plan_fastest(plan, nodes);
            break;
        case Strategy::round_robin:
            plan.rule = PlanRule::round_robin;
            for (const RoutableNode& node : nodes) plan.hops.push_back(make_hop(node, kWeightEqual));
            break;
        case Strategy::random:
            plan_random(plan, nodes);
            break;
        case Strategy::least_loaded:
            plan_least_loaded(plan, nodes);
            break;
    }
    return plan;
}

std::vector<double> plan_shares(const Plan& plan, std::span<const uint64_t> in_flight) {
    QANAT_ASSERT(in_flight.size() == plan.hops.size());
    std::vector<double> shares(plan.hops.size(), 0);
    std::vector<size_t> up;
    double weights = 0;
    for (size_t i = 0; i < plan.hops.size(); ++i) {
        if (plan.hops[i].state != HopState::up) continue;
        up.push_back(i);
        weights += plan.hops[i].weight;
    }
    if (up.empty()) return shares;
    switch (plan.rule) {
        case PlanRule::random:
        case PlanRule::round_robin:
            for (const size_t i : up) shares[i] = 1.0 / static_cast<double>(up.size());
            break;
        case PlanRule::weighted:
            for (const size_t i : up) shares[i] = weights > 0 ? plan.hops[i].weight / weights : 0;
            break;
        case PlanRule::ordered:
            shares[up.front()] = 1;
            break;
        case PlanRule::least_loaded: {
            if (up.size() == 1) {
                shares[up.front()] = 1;
                break;
            }
            const auto cost_of = [&](size_t i) {
                return static_cast<double>(plan.hops[i].weight) * static_cast<double>(in_flight[i] + 1);
            };
            const double pair = 2.0 / (static_cast<double>(up.size()) * static_cast<double>(up.size() - 1));
            for (size_t a = 0; a < up.size(); ++a) {
                for (size_t b = a + 1; b < up.size(); ++b) {
                    const double first = cost_of(up[a]), second = cost_of(up[b]);
                    shares[up[a]] += first < second ? pair : first > second ? 0 : pair / 2;
                    shares[up[b]] += second < first ? pair : second > first ? 0 : pair / 2;
                }
            }
            break;
        }
    }
    return shares;
}

std::vector<ring::PlanPart> make_plan_parts(const Plan& plan, uint32_t version) {
    std::vector<ring::PlanPart> parts;
    size_t first = 0;
    do {
        ring::PlanPart part{};
        part.version = version;
        part.total = static_cast<uint32_t>(plan.hops.size());
        part.first = static_cast<uint32_t>(first);
        part.count = static_cast<uint16_t>(std::min<size_t>(plan.hops.size() - first, ring::kPlanHopsPerPart));
        part.rule = plan.rule;
        part.response_timeout_ms = plan.response_timeout_ms;
        part.tries_max = plan.tries_max;
        std::copy_n(plan.hops.begin() + static_cast<ptrdiff_t>(first), part.count, part.hops.begin());
        first += part.count;
        parts.push_back(part);
    } while (first < plan.hops.size());
    return parts;
}

std::chrono::microseconds smooth_latency(std::optional<std::chrono::microseconds> known,
                                         std::chrono::microseconds sample) {
    if (!known) return sample;
    return *known + (sample - *known) / 8;
}

std::chrono::microseconds settle_latency(std::optional<std::chrono::microseconds> known,
                                         std::chrono::microseconds current) {
    if (!known) return current;
    const auto moved = current > *known ? current - *known : *known - current;
    return moved > std::max(*known / 20, std::chrono::microseconds(500)) ? current : *known;
}

}  // namespace qanat::controlplane
