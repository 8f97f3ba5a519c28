#include "controlplane/handshake/client_routes.h"

#include "common/handshake/node_id.h"

namespace qanat::controlplane {

RelayView::Answer ClientRoutes::route(std::span<const uint32_t> via, const std::optional<wire::Endpoint>& node) const {
    return route_within(via, node, ring::kViaMax);
}

RelayView::Answer ClientRoutes::route_within(std::span<const uint32_t> via, const std::optional<wire::Endpoint>& node,
                                             size_t relays_max) const {
    if (via.empty()) {
        if (!node) return {.state = State::failed, .reason = "the node has no address"};
        return {.state = State::ready, .route = {.dial = *node, .via = {}}};
    }
    if (via.size() > relays_max) return {.state = State::failed, .reason = "too many relays on the path"};
    for (const uint32_t number : via) {
        const auto relay = nodes_.find(number);
        if (relay == nodes_.end()) return {.state = State::failed, .reason = "the relay is not known any more"};
        if (relay->second.session() != nullptr) continue;
        const NodeSession& machine = relay->second.machine();
        if (machine.state() == NodeSession::State::down)
            return {.state = State::failed, .reason = "relay " + describe(number) + ": " + machine.last_error()};
        return {.state = State::waiting, .reason = "relay " + describe(number) + ": not connected in time"};
    }
    // The first one may itself be behind others.
    const LiveSession& first = *nodes_.at(via.front()).session();
    Answer answer = route_within(first.path().via, first.address(), relays_max - via.size());
    if (answer.state != State::ready) return answer;
    for (size_t i = 0; i < via.size(); ++i) {
        const auto& next = i + 1 < via.size() ? nodes_.at(via[i + 1]).session()->address() : node;
        answer.route.via.push_back({.node = via[i], .next = next ? to_ring(*next) : ring::RingEndpoint{}});
    }
    return answer;
}

std::string ClientRoutes::describe(uint32_t number) const {
    const auto found = nodes_.find(number);
    if (found == nodes_.end()) return "that is not known any more";
    const ClientNode& node = found->second;
    std::string address;
    if (node.session() != nullptr && node.session()->address())
        address = node.session()->address()->format();
    else if (node.last_address())
        address = node.last_address()->format();
    else if (!node.spec().paths.empty() && !node.spec().paths.front().addrs.empty())
        address = node.spec().paths.front().addrs.front().target.format();
    return encode_node_id(node.spec().id) + (address.empty() ? "" : " (" + address + ")");
}

}  // namespace qanat::controlplane
