// RoutingPlan: the engine's copy of the control plane's routing decision, and the choice of a hop for one stream. The
// strategy lives in the control plane; here its result, a list and one of five simple rules, is carried out, so that a
// new stream waits for no other process.
//
// Pure: randomness comes in as an argument. Nothing allocates after construction.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "common/ring/messages.h"
#include "dataplane/route/versioned_parts.h"

namespace qanat::dataplane {

// What an engine remembers between picks. Engines that begin at different places spread their first streams.
struct PickState {
    uint32_t cursor = 0;  // round_robin: where the next search begins
};

class RoutingPlan {
public:
    // Reserves two lists of ring::kPlanHopsMax hops and their index: about 1.2 MiB.
    RoutingPlan();

    // Parts come in order; the new version takes effect when it is whole. See PartOutcome for what is ignored. Rule,
    // timeout and tries are those of the version's first part.
    PartOutcome apply(const ring::PlanPart& part);

    // To be called when a new control plane has attached.
    void accept_any_version() { parts_.accept_any_version(); }

    // One hop for one stream, or null if none is eligible. Eligible is a hop that is up, whose node is not in
    // `tried_nodes` and for which `usable(hop)` is true; `usable` is a pure question and may be asked twice.
    // `in_flight(node)` is the number of streams that go through the node now.
    //
    //   random       every eligible hop is equally likely
    //   round_robin  the first eligible one from state.cursor on, which then moves behind it
    //   weighted     likelihood proportional to the weight; weight 0 is never picked
    //   ordered      the first eligible one
    //   least_loaded of two eligible hops, drawn evenly, the one with the smaller weight × (in_flight + 1); a weight of
    //                0 counts as 1
    //
    // `random`: 64 fresh random bits. The pointer is valid until apply() answers `complete`.
    //
    // Cost: random and least_loaded O(1), weighted O(log n), round_robin O(1) while few hops are not eligible; ordered
    // walks to the first eligible one. At worst, when few or none are eligible, two walks over the list: n · (usable +
    // tried).
    template <class Usable, class InFlight>
    [[nodiscard]] const ring::PlanHop* pick(PickState& state, uint64_t random, std::span<const uint32_t> tried_nodes,
                                            Usable&& usable, InFlight&& in_flight) const;

    // A handshake with some hop is on its way: with nothing up, waiting a little makes sense.
    [[nodiscard]] bool any_connecting() const { return connecting_count_ > 0; }

    [[nodiscard]] std::span<const ring::PlanHop> hops() const { return parts_.items(); }
    [[nodiscard]] size_t up_count() const { return up_.size(); }
    [[nodiscard]] uint32_t version() const { return parts_.version(); }
    [[nodiscard]] ring::PlanRule rule() const { return settings_.rule; }
    [[nodiscard]] uint32_t response_timeout_ms() const { return settings_.response_timeout_ms; }
    [[nodiscard]] uint32_t tries_max() const { return settings_.tries_max; }

    // SplitMix64: even, and nobody's secret.
    static uint64_t next_random(uint64_t& state);

private:
    // Guesses before the exact walk. While half of the hops are eligible, 255 of 256 picks need no walk.
    static constexpr unsigned kGuessesMax = 8;

    struct Settings {
        ring::PlanRule rule = ring::PlanRule::random;
        uint32_t response_timeout_ms = 10'000;
        uint32_t tries_max = 1;
    };

    [[nodiscard]] static uint64_t below(uint64_t random, uint64_t bound);  // 0 … bound − 1
    [[nodiscard]] const ring::PlanHop& up(size_t place) const { return parts_.items()[up_[place]]; }
    [[nodiscard]] uint64_t share(size_t place) const;  // of the lottery: the weight, or 1 with rule random
    [[nodiscard]] size_t place_of_ticket(uint64_t ticket) const;
    void index_hops();

    template <class Eligible>
    [[nodiscard]] const ring::PlanHop* pick_from(PickState& state, Eligible& eligible) const;
    template <class Eligible>
    [[nodiscard]] const ring::PlanHop* pick_by_lot(uint64_t random, Eligible& eligible) const;
    template <class Eligible, class InFlight>
    [[nodiscard]] const ring::PlanHop* pick_less_loaded(uint64_t random, Eligible& eligible, InFlight& in_flight) const;

    VersionedParts<ring::PlanHop> parts_;
    Settings settings_;                // of the version in force
    Settings next_settings_;           // of the one that is being put together
    std::vector<uint16_t> up_;         // the hops that are up, by index
    std::vector<uint64_t> weight_to_;  // of up_, with rule weighted: sum of the weights up to and with this one
    size_t connecting_count_ = 0;
};

static_assert(ring::kPlanHopsMax <= 65536);

// -------------------------------------------------------------------------------------------------- implementation

template <class Usable, class InFlight>
const ring::PlanHop* RoutingPlan::pick(PickState& state, uint64_t random, std::span<const uint32_t> tried_nodes,
                                       Usable&& usable, InFlight&& in_flight) const {
    if (up_.empty()) return nullptr;
    auto eligible = [&](const ring::PlanHop& hop) {
        for (uint32_t tried : tried_nodes)
            if (tried == hop.node) return false;
        return static_cast<bool>(usable(hop));
    };
    PickState from_the_top;
    switch (settings_.rule) {
        case ring::PlanRule::random:
        case ring::PlanRule::weighted:
            return pick_by_lot(random, eligible);
        case ring::PlanRule::least_loaded:
            return pick_less_loaded(random, eligible, in_flight);
        case ring::PlanRule::round_robin:
            return pick_from(state, eligible);
        case ring::PlanRule::ordered:
            return pick_from(from_the_top, eligible);
    }
    return nullptr;
}

template <class Eligible>
const ring::PlanHop* RoutingPlan::pick_from(PickState& state, Eligible& eligible) const {
    const size_t count = up_.size();
    size_t place = state.cursor % count;
    for (size_t looked_at = 0; looked_at < count; ++looked_at) {
        const ring::PlanHop& hop = up(place);
        place = place + 1 == count ? 0 : place + 1;
        if (!eligible(hop)) continue;
        state.cursor = static_cast<uint32_t>(place);
        return &hop;
    }
    return nullptr;
}

// Guesses first. A guess that is thrown away takes nothing from the others, so the result is drawn evenly from the
// eligible ones; the walk that follows draws from exactly the same distribution.
template <class Eligible>
const ring::PlanHop* RoutingPlan::pick_by_lot(uint64_t random, Eligible& eligible) const {
    const bool weighted = settings_.rule == ring::PlanRule::weighted;
    const uint64_t tickets = weighted ? weight_to_.back() : up_.size();
    if (tickets == 0) return nullptr;
    for (unsigned guess = 0; guess < kGuessesMax; ++guess) {
        const ring::PlanHop& hop = up(place_of_ticket(below(next_random(random), tickets)));
        if (eligible(hop)) return &hop;
    }
    uint64_t eligible_tickets = 0;
    for (size_t place = 0; place < up_.size(); ++place)
        if (share(place) > 0 && eligible(up(place))) eligible_tickets += share(place);
    if (eligible_tickets == 0) return nullptr;
    uint64_t ticket = below(next_random(random), eligible_tickets);
    for (size_t place = 0; place < up_.size(); ++place) {
        if (share(place) == 0 || !eligible(up(place))) continue;
        if (ticket < share(place)) return &up(place);
        ticket -= share(place);
    }
    return nullptr;  // only if `usable` changed its mind between the walks
}

// The power of two choices: nearly as even as asking all, without a herd that follows the one least loaded node.
template <class Eligible, class InFlight>
const ring::PlanHop* RoutingPlan::pick_less_loaded(uint64_t random, Eligible& eligible, InFlight& in_flight) const {
    const ring::PlanHop* first = pick_by_lot(next_random(random), eligible);
    if (first == nullptr || up_.size() == 1) return first;
    auto other = [&](const ring::PlanHop& hop) { return &hop != first && eligible(hop); };
    const ring::PlanHop* second = pick_by_lot(next_random(random), other);
    if (second == nullptr) return first;
    const auto cost = [&](const ring::PlanHop& hop) {
        return uint64_t{hop.weight == 0 ? 1 : hop.weight} * (uint64_t{in_flight(hop.node)} + 1);
    };
    return cost(*second) < cost(*first) ? second : first;
}

}  // namespace qanat::dataplane
