// What discovery knows of nodes, as the parts that decide about nodes want it.
#pragma once

#include <vector>

#include "controlplane/discovery/directory.h"
#include "controlplane/routing/membership.h"

namespace qanat::controlplane {

[[nodiscard]] std::vector<DiscoveredNode> discovered_nodes(const std::vector<KnownNode>& known);

}  // namespace qanat::controlplane
