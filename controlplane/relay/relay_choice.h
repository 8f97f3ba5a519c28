// RelayChoice: the relays that discovery knows → those that a node is in touch with, and among them those that it keeps
// reservations at. Pure: time is an argument, randomness a seed.
//
// A node is in touch with a few more relays than it wants, so that their latency is known and a spare one is at hand.
// They are drawn by a hash of their id and the seed, so that nodes spread over the relays. Of those it reserves at the
// nearest; one that goes, refuses or stays away is replaced, and a much nearer one takes the place of a far one.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <utility>
#include <vector>

#include "controlplane/config/config.h"

namespace qanat::controlplane {

class RelayChoice {
public:
    using Time = std::chrono::steady_clock::time_point;

    static constexpr size_t kSpare = 2;
    // A relay that is of no use for so long makes room for another one, if there is one.
    static constexpr Duration kDownTime = std::chrono::seconds(30);
    // One that has refused is not asked again before that.
    static constexpr Duration kRefusedTime = std::chrono::minutes(5);
    // A reservation that works moves to a nearer relay no sooner than that after the last one did.
    static constexpr Duration kMoveInterval = std::chrono::minutes(1);

    struct Health {
        bool up = false;       // there is a session
        bool refused = false;  // no reservation there succeeds
        std::optional<std::chrono::microseconds> latency{};
    };
    struct Relay {
        PublicKey id{};
        std::vector<NodeAddress> addrs;
        bool reserve = false;  // false: a spare one

        friend bool operator==(const Relay&, const Relay&) = default;
    };

    explicit RelayChoice(uint64_t seed) : seed_(seed) {}

    // At most `count` reservations; 0: no relay is in touch.
    void set_wanted(size_t count) { wanted_ = count; }
    // All relays that may be chosen, each with addresses.
    void set_known(std::map<PublicKey, std::vector<NodeAddress>> known) { known_ = std::move(known); }

    // The relays from now on, in the order of their ids. Call it when the above have changed, when the health of one
    // may have, and every few seconds.
    [[nodiscard]] std::vector<Relay> update(Time now, const std::function<Health(const PublicKey&)>& health);

    [[nodiscard]] size_t known() const { return known_.size(); }

private:
    struct Active {
        Time bad_since{};  // if it is not usable
        std::optional<Time> refused_at{};
        bool usable = false;
        bool reserve = false;
        std::optional<std::chrono::microseconds> latency{};

        // The better, the less.
        [[nodiscard]] std::pair<bool, std::chrono::microseconds> rank() const {
            return {!usable, latency.value_or(std::chrono::microseconds::max())};
        }
    };

    // The next one to be in touch with; nullptr: all are.
    [[nodiscard]] const PublicKey* next() const;
    void stay_in_touch(Time now, size_t count);
    void choose(Time now);
    [[nodiscard]] Active* worst_reserved();
    [[nodiscard]] Active* best_spare();

    uint64_t seed_;
    size_t wanted_ = 0;
    std::map<PublicKey, std::vector<NodeAddress>> known_;
    std::map<PublicKey, Active> active_;
    std::map<PublicKey, Time> benched_;  // made room for another one, and since when they rest
    std::optional<Time> moved_at_;
};

}  // namespace qanat::controlplane
