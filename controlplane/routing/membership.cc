#include "controlplane/routing/membership.h"

#include <algorithm>
#include <utility>

#include "common/base/assert.h"
#include "common/ring/messages.h"
#include "controlplane/routing/draw.h"

namespace qanat::controlplane {
namespace {

void add_path(NodeSpec& spec, NodePath path) {
    if (std::find(path.via.begin(), path.via.end(), spec.number) != path.via.end()) return;  // a relay of itself
    const auto same = std::find_if(spec.paths.begin(), spec.paths.end(),
                                   [&](const NodePath& known) { return known.via == path.via; });
    if (same == spec.paths.end()) {
        spec.paths.push_back(std::move(path));
        return;
    }
    // The same way with other addresses, of a relay that several nodes name. They are tried one after the other: many
    // would only take time.
    for (NodeAddress& address : path.addrs)
        if (same->addrs.size() < kAnnounceMax &&
            std::find(same->addrs.begin(), same->addrs.end(), address) == same->addrs.end())
            same->addrs.push_back(std::move(address));
}

}  // namespace

void Membership::set_discovered(std::vector<DiscoveredNode> nodes) {
    discovered_.clear();
    for (DiscoveredNode& node : nodes) {
        const PublicKey id = node.id;
        discovered_.insert_or_assign(id, std::move(node));
    }
}

std::vector<NodeSpec> Membership::update(Time now, const std::function<bool(uint32_t)>& is_up) {
    for (const PublicKey& id : in_use_) numbers_.at(id).last_used = now;
    forget_numbers(now);
    choose(now, is_up);

    std::map<PublicKey, NodeSpec> specs;
    // Nodes before relays: a path of their own, as configured, comes before the one to them as somebody's relay.
    std::vector<const NodeConfig*> configured;
    for (const NodeConfig& node : configured_)
        if (configured.size() < kActiveMax) configured.push_back(&node);
    for (const NodeConfig* node : configured) {
        NodeSpec& spec = spec_of(specs, node->id, now);
        spec.routable = true;
        if (node->via.empty() && !node->addrs.empty()) add_path(spec, {.via = {}, .addrs = node->addrs});
    }
    for (const auto& [id, active] : active_) {
        if (!may_name(id)) continue;
        const DiscoveredNode& node = discovered_.at(id);
        NodeSpec& spec = spec_of(specs, id, now);
        spec.routable = true;
        spec.from_discovery = true;
        spec.region = node.region;
        if (!node.addrs.empty()) add_path(spec, {.via = {}, .addrs = node.addrs});
    }
    for (const NodeConfig* node : configured) {
        for (const PeerAddress& relay : node->relays) add_relayed_path(specs, node->id, relay, now);
        if (node->via.empty()) continue;
        std::vector<uint32_t> via = add_chain(specs, node->via, now);
        add_path(specs.at(node->id), {.via = std::move(via), .addrs = node->addrs, .fixed = true});
    }
    for (const auto& [id, active] : active_) {
        if (!specs.contains(id)) continue;
        for (const PeerAddress& relay : discovered_.at(id).relays)
            if (specs.contains(relay.id) || (specs.size() < kSpecsMax && may_name(relay.id)))
                add_relayed_path(specs, id, relay, now);
    }

    std::vector<NodeSpec> list;
    in_use_.clear();
    for (auto& [id, spec] : specs) {
        in_use_.push_back(id);
        list.push_back(std::move(spec));
    }
    std::sort(list.begin(), list.end(), [](const NodeSpec& a, const NodeSpec& b) { return a.number < b.number; });
    return list;
}

void Membership::choose(Time now, const std::function<bool(uint32_t)>& is_up) {
    std::set<PublicKey> configured;
    for (const NodeConfig& node : configured_) configured.insert(node.id);
    const auto eligible = [&](const PublicKey& id) {
        const auto node = discovered_.find(id);
        return node != discovered_.end() && node->second.exit && !configured.contains(id) &&
               !(node->second.addrs.empty() && node->second.relays.empty());
    };
    std::erase_if(active_, [&](const auto& entry) { return !eligible(entry.first); });
    std::erase_if(benched_, [&](const auto& entry) { return !eligible(entry.first); });

    // Those that were never benched come first, in the order of their draws, then those that rest longest.
    std::vector<std::pair<std::pair<Time, uint64_t>, PublicKey>> reserve;
    for (const auto& [id, node] : discovered_) {
        if (!eligible(id) || active_.contains(id)) continue;
        const auto benched = benched_.find(id);
        reserve.push_back({{benched == benched_.end() ? Time{} : benched->second, draw(id, seed_)}, id});
    }
    std::sort(reserve.begin(), reserve.end());
    auto next = reserve.begin();

    const size_t room = kActiveMax - std::min(configured.size(), kActiveMax);
    while (active_.size() > room) active_.erase(std::prev(active_.end()));
    for (auto it = active_.begin(); it != active_.end();) {
        const auto number = numbers_.find(it->first);
        if (number != numbers_.end() && is_up(number->second.value)) it->second.down_since = now;
        if (now - it->second.down_since < kDownTime || next == reserve.end()) {
            ++it;
            continue;
        }
        benched_[it->first] = now;
        it = active_.erase(it);
        active_[next->second] = {.down_since = now};
        benched_.erase(next->second);
        ++next;
    }
    for (; active_.size() < room && next != reserve.end(); ++next) {
        active_[next->second] = {.down_since = now};
        benched_.erase(next->second);
    }
    reserve_ = next != reserve.end();
}

void Membership::forget_numbers(Time now) {
    std::erase_if(numbers_, [&](const auto& entry) {
        if (now - entry.second.last_used < kNumberRest) return false;
        taken_.erase(entry.second.value);
        return true;
    });
}

bool Membership::may_name(const PublicKey& id) const {
    return numbers_.contains(id) || numbers_.size() < ring::kPlanHopsMax - kNumbersReserved;
}

uint32_t Membership::number_of(const PublicKey& id, Time now) {
    if (const auto known = numbers_.find(id); known != numbers_.end()) {
        known->second.last_used = now;
        return known->second.value;
    }
    uint32_t number = 0;
    for (const uint32_t taken : taken_) {
        if (taken != number) break;
        ++number;
    }
    QANAT_ASSERT(number < ring::kPlanHopsMax);
    taken_.insert(number);
    numbers_[id] = {.value = number, .last_used = now};
    return number;
}

NodeSpec& Membership::spec_of(std::map<PublicKey, NodeSpec>& specs, const PublicKey& id, Time now) {
    const auto [spec, is_new] = specs.try_emplace(id);
    if (is_new) {
        spec->second.id = id;
        spec->second.number = number_of(id, now);
        spec->second.routable = false;
    }
    return spec->second;
}

void Membership::add_relayed_path(std::map<PublicKey, NodeSpec>& specs, const PublicKey& id, const PeerAddress& relay,
                                  Time now) {
    if (relay.id == id) return;
    const std::vector<uint32_t> via = add_chain(specs, {relay}, now);
    add_path(specs.at(id), {.via = via, .addrs = {}});
}

// The relays of a path, each reached through those before it. Returns their numbers.
std::vector<uint32_t> Membership::add_chain(std::map<PublicKey, NodeSpec>& specs, const std::vector<PeerAddress>& via,
                                            Time now) {
    std::vector<uint32_t> numbers;
    for (const PeerAddress& relay : via) {
        NodeSpec& spec = spec_of(specs, relay.id, now);
        add_path(spec, {.via = numbers, .addrs = {relay.address}});
        numbers.push_back(spec.number);
    }
    return numbers;
}

}  // namespace qanat::controlplane
