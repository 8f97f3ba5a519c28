#include "dataplane/route/plan.h"

#include <algorithm>

namespace qanat::dataplane {
namespace {

bool known(ring::PlanRule rule) {
    switch (rule) {
        case ring::PlanRule::random:
        case ring::PlanRule::round_robin:
        case ring::PlanRule::weighted:
        case ring::PlanRule::ordered:
        case ring::PlanRule::least_loaded:
            return true;
    }
    return false;
}

}  // namespace

RoutingPlan::RoutingPlan() : parts_(ring::kPlanHopsMax) {
    up_.reserve(ring::kPlanHopsMax);
    weight_to_.reserve(ring::kPlanHopsMax);
}

PartOutcome RoutingPlan::apply(const ring::PlanPart& part) {
    if (part.count > part.hops.size() || !known(part.rule)) {
        parts_.abandon();
        return PartOutcome::invalid;
    }
    const PartOutcome outcome =
        parts_.accept(part.version, part.total, part.first, std::span(part.hops).first(part.count));
    const bool taken = outcome == PartOutcome::stored || outcome == PartOutcome::complete;
    if (taken && part.first == 0) next_settings_ = {part.rule, part.response_timeout_ms, part.tries_max};
    if (outcome == PartOutcome::complete) {
        settings_ = next_settings_;
        index_hops();
    }
    return outcome;
}

void RoutingPlan::index_hops() {
    up_.clear();
    weight_to_.clear();
    connecting_count_ = 0;
    uint64_t weight = 0;
    const std::span<const ring::PlanHop> hops = parts_.items();
    for (size_t i = 0; i < hops.size(); ++i) {
        if (hops[i].state == ring::HopState::connecting) ++connecting_count_;
        if (hops[i].state != ring::HopState::up) continue;
        up_.push_back(static_cast<uint16_t>(i));
        weight_to_.push_back(weight += hops[i].weight);
    }
}

uint64_t RoutingPlan::next_random(uint64_t& state) {
    state += 0x9e3779b97f4a7c15;
    uint64_t z = state;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
    z = (z ^ z >> 27) * 0x94d049bb133111eb;
    return z ^ z >> 31;
}

// The high half of the product. Its bias is bound / 2^64: nothing, for the sum of 16384 weights of 32 bits.
uint64_t RoutingPlan::below(uint64_t random, uint64_t bound) {
    __extension__ using Wide = unsigned __int128;
    return static_cast<uint64_t>(static_cast<Wide>(random) * bound >> 64);
}

uint64_t RoutingPlan::share(size_t place) const {
    return settings_.rule == ring::PlanRule::weighted ? up(place).weight : 1;
}

size_t RoutingPlan::place_of_ticket(uint64_t ticket) const {
    if (settings_.rule != ring::PlanRule::weighted) return ticket;
    // A hop of weight 0 ends where the one before it ends, so upper_bound never stops at it.
    return static_cast<size_t>(std::upper_bound(weight_to_.begin(), weight_to_.end(), ticket) - weight_to_.begin());
}

}  // namespace qanat::dataplane
