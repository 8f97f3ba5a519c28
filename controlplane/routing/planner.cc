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
constexpr int64_t kLatencyTiePercent = 10;

ring::PlanHop make_hop(const RoutableNode& node, uint32_t weight) {
    ring::PlanHop hop{};
    hop.node = node.node;
    hop.weight = weight;
    hop.address = node.address;
    hop.state = node.state;
    return hop;
}

// Up before connecting, known latency before unknown, low before high; otherwise as configured.
bool faster(const RoutableNode& a, const RoutableNode& b) {
    if (a.state != b.state) return a.state == HopState::up;
    if (a.latency.has_value() != b.latency.has_value()) return a.latency.has_value();
    return a.latency.has_value() && *a.latency < *b.latency;
}

void plan_fastest(Plan& plan, std::span<const RoutableNode> nodes) {
    std::vector<RoutableNode> sorted(nodes.begin(), nodes.end());
    std::stable_sort(sorted.begin(), sorted.end(), faster);
    const bool measured = !sorted.empty() && sorted.front().state == HopState::up && sorted.front().latency.has_value();
    size_t tied = 0;
    for (const RoutableNode& node : sorted) {
        // With nothing measured yet, whatever is up is as good as the next.
        bool ties = node.state == sorted.front().state;
        if (measured)
            ties = ties && node.latency.has_value() &&
                   node.latency->count() * 100 <= sorted.front().latency->count() * (100 + kLatencyTiePercent);
        tied += ties ? 1 : 0;
        plan.hops.push_back(make_hop(node, ties ? kWeightEqual : kWeightLast));
    }
    plan.rule = tied > 1 ? PlanRule::weighted : PlanRule::ordered;
}

}  // namespace

bool same_plan(const Plan& a, const Plan& b) {
    const auto same_hop = [](const ring::PlanHop& x, const ring::PlanHop& y) {
        return x.node == y.node && x.weight == y.weight && x.state == y.state && x.address.ip == y.address.ip &&
               x.address.port == y.address.port && x.address.family == y.address.family;
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
            return plan;
        case Strategy::round_robin:
            plan.rule = PlanRule::round_robin;
            break;
        case Strategy::random:
            plan.rule = PlanRule::random;
            break;
        case Strategy::least_loaded:
            plan.rule = PlanRule::random;
            break;
    }
    for (const RoutableNode& node : nodes) plan.hops.push_back(make_hop(node, kWeightEqual));
    return plan;
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

}  // namespace qanat::controlplane
