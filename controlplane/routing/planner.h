// The planner: strategy, nodes and what is known about them → the routing plan that every engine executes by itself.
// Pure: the same input gives the same plan, so a plan is sent again only when it differs.
//
//   random        each node that is up with the same chance
//   round-robin   the nodes that are up in turn
//   fastest       the nodes within max(10 %, 1 ms) of the lowest latency share the streams; the others serve retries,
//   in
//                 order of latency
//   least-loaded  of two nodes drawn at random the one where a stream costs less: latency, scaled by the load that the
//                 node announces, times the streams in flight there (which the engines know)
//
// A node on trial gets a tenth of what it would get otherwise; in turn it is as any other.
#pragma once

#include <array>
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
    uint32_t node = 0;             // its number in the rings
    ring::RingEndpoint address{};  // of the node, or of the first relay
    uint8_t via_count = 0;
    std::array<ring::Via, ring::kViaMax> via{};
    ring::HopState state = ring::HopState::connecting;
    // Smoothed and settled round trip over the whole path; not known before the first PONG.
    std::optional<std::chrono::microseconds> latency{};
    uint16_t load = 0;   // as the node announced it, in 1/10000
    bool punch = false;  // direct connections may be punched; only with relays
    bool trial = false;  // it was left out for failing: a small share, to see whether it is well again
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

// The probability that the next stream takes each hop of the plan, for people: as the engines would pick with
// `in_flight` streams on each hop, which is only a mean over the engines.
[[nodiscard]] std::vector<double> plan_shares(const Plan& plan, std::span<const uint64_t> in_flight);

// The plan as it travels: at least one part, also for a plan without hops.
[[nodiscard]] std::vector<ring::PlanPart> make_plan_parts(const Plan& plan, uint32_t version);

// The latency kept per node: an eighth of each new sample, as TCP does (RFC 6298).
[[nodiscard]] std::chrono::microseconds smooth_latency(std::optional<std::chrono::microseconds> known,
                                                       std::chrono::microseconds sample);

// The latency that plans are made of: it follows `current` only when that has moved by more than 5 % and 500 µs, so
// that plans stand still while nothing happens.
[[nodiscard]] std::chrono::microseconds settle_latency(std::optional<std::chrono::microseconds> known,
                                                       std::chrono::microseconds current);

}  // namespace qanat::controlplane
