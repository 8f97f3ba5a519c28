#include "controlplane/admin/peers_table.h"

#include <array>
#include <cstdio>

#include "controlplane/admin/json_text.h"
#include "controlplane/admin/text_table.h"

namespace qanat::controlplane {
namespace {

using Align = TextTable::Align;

std::string milliseconds(const Json::Value& value) {
    return value.isNumeric() ? format_milliseconds(value.asDouble()) : "-";
}

std::string seconds(const Json::Value& value) {
    return value.isUInt64() ? format_seconds(value.asUInt64()) : "-";
}

std::string bytes(const Json::Value& value) {
    return value.isUInt64() ? format_bytes(value.asUInt64()) : "-";
}

// "2/120": probes that were lost, of those that were sent.
std::string lost(const Json::Value& peer) {
    const Json::Value& sent = member(peer, "probes_sent");
    if (number_of(sent) == 0) return "-";
    return std::to_string(number_of(member(peer, "probes_lost"))) + "/" + text_of(sent);
}

// A count that says nothing when it is 0.
std::string if_any(const Json::Value& value) {
    return value.isUInt64() && value.asUInt64() == 0 ? "-" : text_of(value);
}

// A path is a word, or the list of its relays.
std::string path_of(const Json::Value& peer) {
    const Json::Value& path = member(peer, "path");
    const uint64_t punched = number_of(member(peer, "punched"));
    if (!path.isArray()) return text_of(path) + (punched == 0 ? "" : ", " + std::to_string(punched) + " punched");
    std::string out;
    for (const Json::Value& relay : path) out += (out.empty() ? "via " : ", ") + short_id(relay);
    return out.empty() ? "direct" : out;
}

// 0.25 → "25%".
std::string percent(const Json::Value& share) {
    if (!share.isNumeric()) return "-";
    std::array<char, 400> text{};
    std::snprintf(text.data(), text.size(), "%.0f%%", share.asDouble() * 100);
    return text.data();
}

std::string policy_of(const Json::Value& candidate) {
    const Json::Value& policy = member(candidate, "exit_policy");
    if (!policy.isObject()) return text_of(policy);
    const std::string verdict = text_of(member(policy, "verdict"));
    const std::string rule = text_of(member(policy, "rule"));
    return rule == "-" ? verdict : verdict + " (" + rule + ")";
}

std::string why_of(const Json::Value& candidate) {
    const Json::Value& eligible = member(candidate, "eligible");
    const std::string reason = text_of(member(candidate, "reason"));
    if (!eligible.isBool()) return reason;
    if (reason == "-") return text_of(eligible);
    return text_of(eligible) + ": " + reason;
}

}  // namespace

std::string render_peers(const Json::Value& answer) {
    const Json::Value& peers = member(answer, "peers");
    if (!peers.isArray() || peers.empty()) return "no peers\n";
    TextTable table({{"ID", Align::left},
                     {"ROLE", Align::left},
                     {"STATE", Align::left},
                     {"FOR", Align::right},
                     {"LATENCY", Align::right},
                     {"LOST", Align::right},
                     {"STREAMS", Align::right},
                     {"READY", Align::right},
                     {"OPENED", Align::right},
                     {"FAILED", Align::right},
                     {"UP", Align::right},
                     {"DOWN", Align::right},
                     {"LOAD", Align::right},
                     {"SOURCE", Align::left},
                     {"PATH", Align::left},
                     {"ADDRESS", Align::left},
                     {"LAST ERROR", Align::left}});
    for (const Json::Value& peer : peers)
        table.add({short_id(member(peer, "id")), text_of(member(peer, "role")), text_of(member(peer, "state")),
                   seconds(member(peer, "since_seconds")), milliseconds(member(peer, "latency_ms")), lost(peer),
                   text_of(member(peer, "streams")), if_any(member(peer, "parked")), text_of(member(peer, "opened")),
                   if_any(member(peer, "failed")), bytes(member(peer, "bytes_up")), bytes(member(peer, "bytes_down")),
                   if_any(member(peer, "load")), text_of(member(peer, "source")), path_of(peer),
                   text_of(member(peer, "address")), text_of(member(peer, "last_error"))});
    return table.text();
}

std::string render_explanation(const Json::Value& answer) {
    std::string out = "target    " + text_of(member(answer, "target")) + "\n";
    if (member(answer, "strategy").isString()) out += "strategy  " + text_of(member(answer, "strategy")) + "\n";
    if (member(answer, "rule").isString()) out += "rule      " + text_of(member(answer, "rule")) + "\n";
    const Json::Value& candidates = member(answer, "candidates");
    if (candidates.isArray() && !candidates.empty()) {
        TextTable table({{"ID", Align::left},
                         {"STATE", Align::left},
                         {"LATENCY", Align::right},
                         {"STREAMS", Align::right},
                         {"WEIGHT", Align::right},
                         {"SHARE", Align::right},
                         {"PATH", Align::left},
                         {"ADDRESS", Align::left},
                         {"EXIT POLICY", Align::left},
                         {"ELIGIBLE", Align::left}});
        for (const Json::Value& candidate : candidates)
            table.add({short_id(member(candidate, "id")), text_of(member(candidate, "state")),
                       milliseconds(member(candidate, "latency_ms")), text_of(member(candidate, "streams")),
                       text_of(member(candidate, "weight")), percent(member(candidate, "share")), path_of(candidate),
                       text_of(member(candidate, "address")), policy_of(candidate), why_of(candidate)});
        out += "\n" + table.text() + "\n";
    }
    if (member(answer, "decision").isString()) out += "decision  " + text_of(member(answer, "decision")) + "\n";
    return out;
}

}  // namespace qanat::controlplane
