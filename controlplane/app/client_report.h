// What a client tells people and programs about its nodes: status, peers, metrics. Pure: nothing here asks anything.
#pragma once

#include <json/value.h>

#include <cstdint>
#include <string>
#include <vector>

#include "controlplane/handshake/client_driver.h"
#include "controlplane/metrics/metrics_page.h"
#include "controlplane/routing/planner.h"

namespace qanat::controlplane {

// All nodes, ascending by number.
[[nodiscard]] std::vector<ClientDriver::NodeStatus> all_nodes(const ClientDriver& driver);

// "idle", "connecting", "up", "renewing", "down"; of a node with a session also "ejected" and "trial".
[[nodiscard]] std::string state_of(const ClientDriver::NodeStatus& node);
// last_error, or why a node that fails is used all the same.
[[nodiscard]] std::string trouble_of(const ClientDriver::NodeStatus& node);

// One entry of `qanat peers`.
[[nodiscard]] Json::Value describe_peer(const ClientDriver::NodeStatus& node, Instant now);

struct ClientSample {
    std::vector<ClientDriver::NodeStatus> nodes;
    uint64_t handshakes_ok = 0;
    uint64_t handshakes_failed = 0;
    uint32_t plan_version = 0;
    std::vector<ring::PlanHop> hops;  // of the plan in force
};
void add_client_metrics(MetricsPage& page, const ClientSample& sample);

}  // namespace qanat::controlplane
