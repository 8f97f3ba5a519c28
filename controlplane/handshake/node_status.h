// NodeStatus: what is told to people about one node of a client: by the admin socket, in the metrics, to `explain`.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>

#include "controlplane/config/config.h"
#include "controlplane/handshake/node_traffic.h"
#include "controlplane/sessions/ejection.h"
#include "controlplane/sessions/node_session.h"

namespace qanat::controlplane {

class ClientNode;
class RelayView;

struct NodeStatus {
    PublicKey id{};
    bool routable = true;
    bool from_discovery = false;
    std::string region;
    std::string path;     // "direct", "via ID (address) → …"
    std::string address;  // of the node: in use, or tried last, or as configured; empty: only by a reservation
    NodeSession::State state = NodeSession::State::idle;
    Instant since{};
    std::optional<std::chrono::microseconds> latency;
    std::string last_error;
    uint64_t failures = 0;
    uint64_t probes_sent = 0;
    uint64_t probes_lost = 0;
    uint16_t load = 0;  // as the node said last, in 1/10000
    NodeTraffic::Sum traffic;
    Ejection::State ejection = Ejection::State::in;
    Instant ejected_until{};   // if ejected
    bool last_resort = false;  // ejected, and in the plan nevertheless
};

// `relays` describes those of the node's path.
[[nodiscard]] NodeStatus status_of(const ClientNode& node, const RelayView& relays);

}  // namespace qanat::controlplane
