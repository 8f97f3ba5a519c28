#include "controlplane/app/discovered_nodes.h"

namespace qanat::controlplane {

std::vector<DiscoveredNode> discovered_nodes(const std::vector<KnownNode>& known) {
    std::vector<DiscoveredNode> nodes;
    for (const KnownNode& node : known)
        nodes.push_back({.id = node->id,
                         .addrs = node->addresses,
                         .relays = node->relays,
                         .region = node->region,
                         .load = node->load,
                         .exit = node->exit,
                         .relay = node->relay});
    return nodes;
}

}  // namespace qanat::controlplane
