#include "controlplane/app/client_report.h"

#include <algorithm>
#include <functional>

#include "common/handshake/node_id.h"

namespace qanat::controlplane {
namespace {

constexpr double kLoadFull = 10000;
// Enough of an id to tell nodes apart, and short enough for a legend.
constexpr size_t kNodeLabelSize = 12;

uint64_t seconds_between(Instant from, Instant to) {
    return static_cast<uint64_t>(
        std::max<int64_t>(0, std::chrono::duration_cast<std::chrono::seconds>(to - from).count()));
}

bool has_session(const ClientDriver::NodeStatus& node) {
    return node.state == NodeSession::State::up || node.state == NodeSession::State::renewing;
}

}  // namespace

std::vector<ClientDriver::NodeStatus> all_nodes(const ClientDriver& driver) {
    std::vector<ClientDriver::NodeStatus> nodes;
    for (const uint32_t number : driver.numbers()) nodes.push_back(driver.status(number));
    return nodes;
}

std::string state_of(const ClientDriver::NodeStatus& node) {
    if (has_session(node) && node.ejection == Ejection::State::ejected) return "ejected";
    if (has_session(node) && node.ejection == Ejection::State::trial) return "trial";
    return std::string(NodeSession::name_of(node.state));
}

std::string trouble_of(const ClientDriver::NodeStatus& node) {
    if (node.last_resort) return "kept although failing: it is the last node";
    if (has_session(node) && node.ejection == Ejection::State::ejected) return "its streams fail";
    return node.last_error;
}

Json::Value describe_peer(const ClientDriver::NodeStatus& node, Instant now) {
    Json::Value entry;
    entry["id"] = encode_node_id(node.id);
    entry["role"] = node.routable ? "exit" : "relay";
    entry["source"] = node.from_discovery ? "discovery" : "config";
    if (!node.region.empty()) entry["region"] = node.region;
    entry["path"] = node.path;
    entry["address"] = node.address;
    entry["state"] = state_of(node);
    entry["since_seconds"] = Json::UInt64{seconds_between(node.since, now)};
    if (node.latency) entry["latency_ms"] = static_cast<double>(node.latency->count()) / 1000;
    entry["probes_lost"] = Json::UInt64{node.probes_lost};
    entry["probes_sent"] = Json::UInt64{node.probes_sent};
    entry["streams"] = Json::UInt64{node.traffic.in_flight};
    entry["parked"] = Json::UInt64{node.traffic.parked};
    entry["punched"] = Json::UInt64{node.traffic.punched};
    entry["punch_failed"] = Json::UInt64{node.traffic.punch_failed};
    entry["opened"] = Json::UInt64{node.traffic.opened};
    entry["failed"] = Json::UInt64{node.traffic.failed};
    entry["bytes_up"] = Json::UInt64{node.traffic.bytes_up};
    entry["bytes_down"] = Json::UInt64{node.traffic.bytes_down};
    entry["load"] = node.load / kLoadFull;
    entry["last_error"] = trouble_of(node);
    if (node.ejection == Ejection::State::ejected)
        entry["ejected_until_seconds"] = Json::UInt64{seconds_between(now, node.ejected_until)};
    return entry;
}

void add_client_metrics(MetricsPage& page, const ClientSample& sample) {
    using Kind = MetricsPage::Kind;
    using Node = ClientDriver::NodeStatus;

    page.family("client_handshakes_total", Kind::counter, "Session handshakes with nodes, by outcome.");
    page.sample(sample.handshakes_ok, {{"result", "ok"}});
    page.sample(sample.handshakes_failed, {{"result", "failed"}});

    page.family("plan_version", Kind::gauge, "Version of the routing plan in force: it counts plans.");
    page.sample(uint64_t{sample.plan_version});
    const auto hops = [&](ring::HopState state) {
        return static_cast<uint64_t>(std::count_if(sample.hops.begin(), sample.hops.end(),
                                                   [state](const ring::PlanHop& hop) { return hop.state == state; }));
    };
    page.family("plan_hops", Kind::gauge, "Hops of the routing plan, by state.");
    page.sample(hops(ring::HopState::up), {{"state", "up"}});
    page.sample(hops(ring::HopState::connecting), {{"state", "connecting"}});
    uint64_t picks = 0;
    for (const Node& node : sample.nodes) picks += node.traffic.opened + node.traffic.failed;
    page.family("plan_picks_total", Kind::counter, "Hops that were picked for a stream and answered or failed.");
    page.sample(picks);

    const auto label = [](const Node& node) { return encode_node_id(node.id).substr(0, kNodeLabelSize); };
    const auto each = [&](const char* name, Kind kind, const char* help,
                          const std::function<uint64_t(const Node&)>& of) {
        page.family(name, kind, help);
        for (const Node& node : sample.nodes) page.sample(of(node), {{"node", label(node)}});
    };
    page.family("node_info", Kind::gauge, "Always 1; role, source and region of a node.");
    for (const Node& node : sample.nodes)
        page.sample(uint64_t{1}, {{"node", label(node)},
                                  {"role", node.routable ? "exit" : "relay"},
                                  {"source", node.from_discovery ? "discovery" : "config"},
                                  {"region", node.region}});
    each("node_up", Kind::gauge, "1 if there is a session with the node.",
         [](const Node& node) { return uint64_t{has_session(node)}; });
    each("node_ejected", Kind::gauge, "1 if the node is left out because its streams failed.",
         [](const Node& node) { return uint64_t{node.ejection == Ejection::State::ejected}; });
    page.family("node_latency_seconds", Kind::gauge, "Smoothed round trip to the node over its whole path.");
    for (const Node& node : sample.nodes)
        if (node.latency) page.sample(static_cast<double>(node.latency->count()) / 1e6, {{"node", label(node)}});
    page.family("node_load_ratio", Kind::gauge, "Share of its streams in use that the node announced last.");
    for (const Node& node : sample.nodes) page.sample(node.load / kLoadFull, {{"node", label(node)}});
    each("node_probes_sent_total", Kind::counter, "PINGs sent to the node.",
         [](const Node& node) { return node.probes_sent; });
    each("node_probes_lost_total", Kind::counter, "PINGs that were not answered in time.",
         [](const Node& node) { return node.probes_lost; });
    each("node_session_failures_total", Kind::counter, "Handshakes with the node that failed, and sessions that ended.",
         [](const Node& node) { return node.failures; });
    each("node_streams", Kind::gauge, "Streams through the node.",
         [](const Node& node) { return node.traffic.in_flight; });
    each("node_parked_connections", Kind::gauge, "Connections to the node that are kept ready.",
         [](const Node& node) { return node.traffic.parked; });
    each("node_streams_opened_total", Kind::counter, "Streams that got their answer from the node, whatever it said.",
         [](const Node& node) { return node.traffic.opened; });
    each("node_streams_failed_total", Kind::counter, "Streams that the node failed before it answered.",
         [](const Node& node) { return node.traffic.failed; });
    page.family("node_stream_bytes_total", Kind::counter, "Application bytes through the node.");
    for (const Node& node : sample.nodes) {
        page.sample(node.traffic.bytes_up, {{"node", label(node)}, {"direction", "up"}});
        page.sample(node.traffic.bytes_down, {{"node", label(node)}, {"direction", "down"}});
    }
}

}  // namespace qanat::controlplane
