#include "controlplane/handshake/node_status.h"

#include "controlplane/handshake/client_node.h"
#include "controlplane/handshake/route.h"

namespace qanat::controlplane {

NodeStatus status_of(const ClientNode& node, const RelayView& relays) {
    NodeStatus status;
    const NodeSpec& spec = node.spec();
    status.id = spec.id;
    status.routable = spec.routable;
    status.from_discovery = spec.from_discovery;
    status.region = spec.region;
    if (const LiveSession* session = node.session()) {
        status.path = describe_path(relays, session->path().via);
        if (session->address()) status.address = session->address()->format();
    } else if (!spec.paths.empty()) {
        const NodePath& path = spec.paths.front();
        status.path = describe_path(relays, path.via);
        if (const auto tried = node.address_tried())
            status.address = tried->format();
        else if (node.last_address())
            status.address = node.last_address()->format();
        else if (!path.addrs.empty())
            status.address = path.addrs.front().target.format();
    }
    const NodeSession& machine = node.machine();
    status.state = machine.state();
    status.since = machine.since();
    status.latency = machine.latency();
    status.last_error = machine.last_error();
    status.failures = machine.failures();
    status.probes_sent = machine.probes_sent();
    status.probes_lost = machine.probes_lost();
    status.load = node.load();
    status.traffic = node.traffic();
    status.ejection = node.ejection().state();
    status.ejected_until = node.ejection().until();
    status.last_resort = node.last_resort();
    return status;
}

}  // namespace qanat::controlplane
