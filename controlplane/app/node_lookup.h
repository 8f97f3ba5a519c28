// Host names of nodes and relays, for attempts to reach them. Targets are resolved by the exit; no name of one ever
// comes here.
#pragma once

#include "controlplane/handshake/client_attempt.h"
#include "controlplane/resolver/resolver.h"

namespace qanat::controlplane {

// `resolver` outlives what is returned.
[[nodiscard]] NodeLookup make_node_lookup(Resolver& resolver);

}  // namespace qanat::controlplane
