// Membership: the nodes that are configured and those that were discovered → the nodes to have sessions with, each with
// its paths and a stable number. Pure: time is an argument, randomness a seed.
//
// At most kActiveMax nodes that streams may leave by are active at a time: the configured ones first, then discovered
// ones, drawn by a hash of their id and the seed, so that every client has its own choice and keeps it. A discovered
// one that stays down for kDownTime makes room for another, as long as there is another.
//
// The relays that paths need are nodes of their own that no stream leaves by, unless they are configured or active as
// nodes too.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "controlplane/config/config.h"
#include "controlplane/routing/node_spec.h"

namespace qanat::controlplane {

// What discovery says about a node.
struct DiscoveredNode {
    PublicKey id{};
    std::vector<NodeAddress> addrs;   // in the order to try; may be empty behind relays
    std::vector<PeerAddress> relays;  // each holds a reservation of this node
    std::string region;
    uint16_t load = 0;  // share of its streams in use when it announced itself, in 1/10000
    bool exit = true;   // streams may leave by it
    bool relay = false;

    friend bool operator==(const DiscoveredNode&, const DiscoveredNode&) = default;
};

class Membership {
public:
    using Time = std::chrono::steady_clock::time_point;

    static constexpr size_t kActiveMax = 64;
    // With their relays. Relays that discovery names beyond that are not used.
    static constexpr size_t kSpecsMax = 256;
    // Numbers that only configured nodes get: announcements that name ever new nodes cannot use up all.
    static constexpr size_t kNumbersReserved = 1024;
    static constexpr Duration kDownTime = std::chrono::seconds(30);
    // A number is not given to another node for so long: events about the old one may still be on their way.
    static constexpr Duration kNumberRest = std::chrono::minutes(5);

    explicit Membership(uint64_t seed) : seed_(seed) {}

    void set_configured(std::vector<NodeConfig> nodes) { configured_ = std::move(nodes); }
    void set_discovered(std::vector<DiscoveredNode> nodes);

    // The nodes from now on, ascending by number. `is_up` says whether a node, by its number, has a session. Call it
    // when the configured or discovered nodes have changed, and every few seconds while has_reserve().
    [[nodiscard]] std::vector<NodeSpec> update(Time now, const std::function<bool(uint32_t)>& is_up);

    // More discovered nodes are known than may be active.
    [[nodiscard]] bool has_reserve() const { return reserve_; }
    [[nodiscard]] size_t discovered() const { return discovered_.size(); }

private:
    struct Number {
        uint32_t value = 0;
        Time last_used{};
    };
    struct Active {
        Time down_since{};
    };

    void choose(Time now, const std::function<bool(uint32_t)>& is_up);
    [[nodiscard]] uint32_t number_of(const PublicKey& id, Time now);
    void forget_numbers(Time now);
    // Discovery may name this node: it has a number, or there is one for it.
    [[nodiscard]] bool may_name(const PublicKey& id) const;
    NodeSpec& spec_of(std::map<PublicKey, NodeSpec>& specs, const PublicKey& id, Time now);
    void add_relayed_path(std::map<PublicKey, NodeSpec>& specs, const PublicKey& id, const PeerAddress& relay,
                          Time now);
    [[nodiscard]] std::vector<uint32_t> add_chain(std::map<PublicKey, NodeSpec>& specs,
                                                  const std::vector<PeerAddress>& via, Time now);

    uint64_t seed_;
    std::vector<NodeConfig> configured_;
    std::map<PublicKey, DiscoveredNode> discovered_;
    std::map<PublicKey, Active> active_;   // discovered ones that have a session, or are to have one
    std::map<PublicKey, Time> benched_;    // discovered ones that were down for too long, and since when they rest
    std::map<PublicKey, Number> numbers_;  // in use, or resting
    std::set<uint32_t> taken_;             // the same numbers
    std::vector<PublicKey> in_use_;        // since the last update()
    bool reserve_ = false;
};

}  // namespace qanat::controlplane
