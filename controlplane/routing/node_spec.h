// NodeSpec: a node as the control plane wants to reach it, wherever it is known from (configuration, discovery).
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "controlplane/config/config.h"

namespace qanat::controlplane {

// One way to a node.
struct NodePath {
    std::vector<uint32_t> via;       // numbers of the relays, in order; empty: direct
    std::vector<NodeAddress> addrs;  // of the node, in the order to try; behind relays, where the last of them finds
                                     // it. None: it holds a reservation there.
    bool fixed =
        false;  // streams must take these relays: nothing goes past them, and the node does not learn from where

    friend bool operator==(const NodePath&, const NodePath&) = default;
};

struct NodeSpec {
    // In the rings: below ring::kPlanHopsMax, stable while the node is known, not given to another one for some minutes
    // afterwards.
    uint32_t number = 0;
    PublicKey id{};
    std::vector<NodePath> paths;  // best first; a better one that works replaces a worse one for new streams
    bool routable = true;         // false: a relay that streams do not leave the network by
    bool on_request = false;      // a member of the network has named it, perhaps made it up: logged as debug only
    std::string region;
    bool from_discovery = false;

    friend bool operator==(const NodeSpec&, const NodeSpec&) = default;
};

}  // namespace qanat::controlplane
