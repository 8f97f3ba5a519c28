// ClientRoutes: how a path over relays is dialled, as far as the sessions of the other nodes say. A relay may itself be
// behind relays: those stand before it in the route, and ring::kViaMax bounds them all.
//
// A view of nodes that somebody else owns and changes; it keeps nothing and blocks nowhere.
#pragma once

#include <map>

#include "controlplane/handshake/client_node.h"
#include "controlplane/handshake/route.h"

namespace qanat::controlplane {

class ClientRoutes final : public RelayView {
public:
    // The nodes, by number, outlive it.
    explicit ClientRoutes(const std::map<uint32_t, ClientNode>& nodes) : nodes_(nodes) {}

    [[nodiscard]] Answer route(std::span<const uint32_t> via, const std::optional<wire::Endpoint>& node) const override;
    // Of any node that is known, as a relay or not.
    [[nodiscard]] std::string describe(uint32_t node) const override;

    // The route of a session, as it would be dialled now.
    [[nodiscard]] Answer route_of(const LiveSession& session) const {
        return route(session.path().via, session.address());
    }

private:
    [[nodiscard]] Answer route_within(std::span<const uint32_t> via, const std::optional<wire::Endpoint>& node,
                                      size_t relays_max) const;

    const std::map<uint32_t, ClientNode>& nodes_;
};

}  // namespace qanat::controlplane
