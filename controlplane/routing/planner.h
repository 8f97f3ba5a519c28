// The planner: strategy, nodes and what is known about them → the routing plan that every engine executes by itself.
// Pure: the same input gives the same plan, so a plan is sent again only when it differs.
//
//   random        each node that is up with the same chance
//   round-robin   the nodes that are up in turn
//   fastest       the nodes within 10 % of the lowest latency share the streams; the others serve retries, in order of
//                 latency
//   least-loaded  for now like random: the engines do not weigh streams in flight yet
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

#include "common/base/duration.h"
#include "common/ring/messages.h"
#include "controlplane/config/config.h"

namespace qanat::controlplane {

// A node that streams may use, or may wait for. Nodes that are down are left out by the caller.
struct RoutableNode {
    uint32_t node = 0;  // its number in the rings
    ring::RingEndpoint address{};
    ring::HopState state = ring::HopState::connecting;
    std::optional<std::chrono::microseconds> latency;  // smoothed round trip; not known before the first PONG
};

struct Plan {
    ring::PlanRule rule = ring::PlanRule::random;
    uint32_t response_timeout_ms = 0;
    uint32_t tries_max = 1;
    std::vector<ring::PlanHop> hops;
};

// Field by field; PlanHop is a plain ring struct without operators.
[[nodiscard]] bool same_plan(const Plan& a, const Plan& b);

// Hops come in the order of `nodes`, under fastest in the order of latency. At most ring::kPlanHopsMax nodes.
[[nodiscard]] Plan make_plan(Strategy strategy, Duration timeout, std::span<const RoutableNode> nodes);

// The plan as it travels: at least one part, also for a plan without hops.
[[nodiscard]] std::vector<ring::PlanPart> make_plan_parts(const Plan& plan, uint32_t version);

// The latency kept per node: an eighth of each new sample, as TCP does (RFC 6298).
[[nodiscard]] std::chrono::microseconds smooth_latency(std::optional<std::chrono::microseconds> known,
                                                       std::chrono::microseconds sample);

}  // namespace qanat::controlplane
