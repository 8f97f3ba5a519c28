#include "controlplane/app/explanation.h"

#include <algorithm>
#include <utility>

#include "common/handshake/node_id.h"
#include "controlplane/app/client_report.h"

namespace qanat::controlplane {

using wire::StreamStatus;

std::string_view name_of(ring::PlanRule rule) {
    switch (rule) {
        case ring::PlanRule::random:
            return "random";
        case ring::PlanRule::round_robin:
            return "round-robin";
        case ring::PlanRule::weighted:
            return "weighted";
        case ring::PlanRule::ordered:
            return "ordered";
        case ring::PlanRule::least_loaded:
            return "least-loaded";
    }
    return "unknown";
}

Explanation::Explanation(Strategy strategy, Plan plan, std::map<uint32_t, ClientDriver::NodeStatus> nodes,
                         const wire::Target& target, Instant now)
    : strategy_(strategy), plan_(std::move(plan)), nodes_(std::move(nodes)), target_(target.format()) {
    std::vector<uint64_t> in_flight;
    for (const ring::PlanHop& hop : plan_.hops) {
        const auto node = nodes_.find(hop.node);
        in_flight.push_back(node == nodes_.end() ? 0 : node->second.traffic.in_flight);
    }
    const std::vector<double> shares = plan_shares(plan_, in_flight);
    std::map<uint32_t, size_t> places;
    for (size_t i = 0; i < plan_.hops.size(); ++i) places[plan_.hops[i].node] = i;
    for (const auto& [number, node] : nodes_) {
        if (!node.routable) continue;
        Candidate candidate{.node = number, .hop = nullptr, .share = 0, .reason = {}};
        if (const auto place = places.find(number); place != places.end()) {
            candidate.hop = &plan_.hops[place->second];
            candidate.share = shares[place->second];
        }
        candidate.reason = reason_of(candidate, node, now);
        candidates_.push_back(std::move(candidate));
    }
    // Among equals in the order of the plan: that is the order of retries.
    std::stable_sort(candidates_.begin(), candidates_.end(), [](const Candidate& a, const Candidate& b) {
        if (a.share != b.share) return a.share > b.share;
        if ((a.hop != nullptr) != (b.hop != nullptr)) return a.hop != nullptr;
        return a.hop != nullptr && a.hop < b.hop;
    });
    for (const Candidate& candidate : candidates_)
        if (to_ask_.size() < kAskedMax && candidate.hop != nullptr && candidate.hop->state == ring::HopState::up)
            to_ask_.push_back(candidate.node);
}

std::string Explanation::reason_of(const Candidate& candidate, const ClientDriver::NodeStatus& node,
                                   Instant now) const {
    if (node.last_resort) return trouble_of(node);
    if (node.ejection == Ejection::State::ejected) {
        const auto left = std::chrono::ceil<std::chrono::seconds>(node.ejected_until - now).count();
        return "its streams fail; left out for " + std::to_string(std::max<int64_t>(left, 0)) + " s more";
    }
    if (candidate.hop == nullptr || candidate.hop->state != ring::HopState::up)
        return node.last_error.empty() ? "no session yet" : node.last_error;
    if (node.ejection == Ejection::State::trial) return "on trial after its streams failed: a small share";
    switch (strategy_) {
        case Strategy::random:
            return "up: the same chance for each";
        case Strategy::round_robin:
            return "up: in turn";
        case Strategy::least_loaded:
            return "up: the cheaper of two drawn at random, by weight × (streams + 1)";
        case Strategy::fastest:
            if (!node.latency) return "up: not measured yet";
            return candidate.hop == plan_.hops.data() ||
                           (plan_.rule == ring::PlanRule::weighted && candidate.share > 0.01)
                       ? "up: the lowest latency, within 10 % or 1 ms"
                       : "up: slower, for retries";
    }
    return {};
}

void Explanation::on_answer(uint32_t node, const std::optional<wire::ControlMessage>& answer) {
    Verdict& verdict = verdicts_[node];
    if (!answer) {
        verdict = {.verdict = "no answer", .rule = {}};
        return;
    }
    switch (answer->status) {
        case StreamStatus::ok:
            verdict.verdict = "allow";
            break;
        case StreamStatus::denied:
            verdict.verdict = "deny";
            break;
        default:
            verdict.verdict = "unresolvable";
            break;
    }
    verdict.rule = std::string(answer->reason.text());
}

Json::Value Explanation::result() const {
    Json::Value result;
    result["target"] = target_;
    result["strategy"] = std::string(controlplane::name_of(strategy_));
    result["rule"] = std::string(name_of(plan_.rule));
    Json::Value& list = result["candidates"] = Json::Value(Json::arrayValue);
    for (const Candidate& candidate : candidates_) {
        const ClientDriver::NodeStatus& node = nodes_.at(candidate.node);
        Json::Value entry;
        entry["id"] = encode_node_id(node.id);
        entry["path"] = node.path;
        entry["address"] = node.address;
        entry["state"] = state_of(node);
        entry["eligible"] = candidate.hop != nullptr && candidate.hop->state == ring::HopState::up;
        entry["reason"] = candidate.reason;
        if (node.latency) entry["latency_ms"] = static_cast<double>(node.latency->count()) / 1000;
        entry["streams"] = Json::UInt64{node.traffic.in_flight};
        entry["punched"] = Json::UInt64{node.traffic.punched};
        if (candidate.hop != nullptr) entry["weight"] = candidate.hop->weight;
        entry["share"] = candidate.share;
        if (const auto verdict = verdicts_.find(candidate.node); verdict != verdicts_.end()) {
            entry["exit_policy"]["verdict"] = verdict->second.verdict;
            entry["exit_policy"]["rule"] = verdict->second.rule;
        }
        list.append(entry);
    }
    result["decision"] = decision();
    return result;
}

std::string Explanation::decision() const {
    const auto with_share = std::count_if(candidates_.begin(), candidates_.end(),
                                          [](const Candidate& candidate) { return candidate.share > 0; });
    if (with_share == 0) {
        const bool connecting = std::any_of(plan_.hops.begin(), plan_.hops.end(), [](const ring::PlanHop& hop) {
            return hop.state == ring::HopState::connecting;
        });
        return connecting ? "no node is up: a stream waits for the handshakes that are on their way"
                          : "no node is up: streams are refused";
    }
    const ClientDriver::NodeStatus& first = nodes_.at(candidates_.front().node);
    std::string text =
        with_share == 1 ? encode_node_id(first.id) + ", " + first.path +
                              (first.traffic.punched > 0 ? " or a direct connection through NAT, if one is ready" : "")
                        : "one of " + std::to_string(with_share) + " nodes, by the rule and the shares above";
    const auto verdicts = [&](std::string_view verdict) {
        return std::count_if(verdicts_.begin(), verdicts_.end(),
                             [verdict](const auto& entry) { return entry.second.verdict == verdict; });
    };
    const auto asked = static_cast<std::ptrdiff_t>(verdicts_.size());
    const auto count_of = [&](std::string_view verdict) {
        return asked == 1 ? "it"
                          : std::to_string(verdicts(verdict)) + " of the " + std::to_string(asked) + " exits asked";
    };
    if (verdicts("allow") == asked)
        text += asked == 1 ? "; its policy allows the target" : "; all exits asked allow the target";
    if (verdicts("deny") > 0)
        text += "; " + count_of("deny") + " would refuse the target, and no other node is tried then";
    if (verdicts("unresolvable") > 0) text += "; " + count_of("unresolvable") + " cannot resolve the name";
    if (verdicts("no answer") > 0) text += "; " + count_of("no answer") + " did not answer about its policy";
    return text;
}

}  // namespace qanat::controlplane
