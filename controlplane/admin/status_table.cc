#include "controlplane/admin/status_table.h"

#include <algorithm>
#include <initializer_list>
#include <string_view>
#include <utility>
#include <vector>

#include "controlplane/admin/json_text.h"

namespace qanat::controlplane {
namespace {

class Lines {
public:
    void add(const std::string& name, const std::string& value) { lines_.emplace_back(name, value); }
    [[nodiscard]] std::string text() const {
        size_t width = 0;
        for (const auto& [name, value] : lines_) width = std::max(width, name.size());
        std::string out;
        for (const auto& [name, value] : lines_) out += name + std::string(width - name.size() + 2, ' ') + value + "\n";
        return out;
    }

private:
    std::vector<std::pair<std::string, std::string>> lines_;
};

void add_traffic(Lines& lines, const Json::Value& status) {
    const Json::Value& streams = member(status, "streams");
    if (streams.isObject()) {
        lines.add("streams", text_of(member(streams, "active")) + " of " + text_of(member(streams, "max")) +
                                 " active, " + text_of(member(streams, "total")) + " in all");
        lines.add("ended", counts_of(member(streams, "ended")));
    }
    const Json::Value& bytes = member(status, "bytes");
    if (bytes.isObject())
        lines.add("bytes", format_bytes(number_of(member(bytes, "up"))) + " up, " +
                               format_bytes(number_of(member(bytes, "down"))) + " down");
    const Json::Value& connections = member(status, "connections");
    if (connections.isObject())
        lines.add("connections", text_of(member(connections, "accepted")) + " accepted, " +
                                     text_of(member(connections, "refused")) + " refused");
}

// "3 ready, 120 hits": the numbers that are not 0, and no line if all are.
void add_counts(Lines& lines, const char* name, const Json::Value& counts,
                std::initializer_list<std::pair<const char*, std::string_view>> labels) {
    std::string out;
    for (const auto& [field, label] : labels)
        if (const uint64_t count = number_of(member(counts, field)); count != 0)
            out += (out.empty() ? "" : ", ") + std::to_string(count) + " " + std::string(label);
    if (!out.empty()) lines.add(name, out);
}

void add_paths(Lines& lines, const Json::Value& status) {
    add_counts(lines, "pool", member(status, "pool"),
               {{"parked", "ready"}, {"hits", "hits"}, {"misses", "misses"}, {"stale", "stale"}});
    add_counts(lines, "punched", member(status, "punch"),
               {{"ready", "ready"},
                {"made", "direct connections through NAT"},
                {"streams", "streams over them"},
                {"failed", "failed tries"}});
    add_counts(lines, "offers", member(status, "offers"), {{"parked", "ready at relays"}, {"taken", "taken"}});
    const Json::Value& relay = member(status, "relay");
    add_counts(lines, "relay", relay,
               {{"streams", "streams"},
                {"offered", "connections of members ready"},
                {"total", "streams in all"},
                {"refused", "refused"},
                {"throttled", "waits for a byte rate"}});
    if (const uint64_t bytes = number_of(member(relay, "bytes")); bytes != 0) lines.add("relayed", format_bytes(bytes));
}

void add_open_time(Lines& lines, const Json::Value& latency) {
    if (!member(latency, "p50_ms").isNumeric()) return;
    const auto time = [&](const char* field) { return format_milliseconds(member(latency, field).asDouble()); };
    if (!member(latency, "p90_ms").isNumeric() || !member(latency, "p99_ms").isNumeric()) return;
    lines.add("open time", "half within " + time("p50_ms") + ", 90% " + time("p90_ms") + ", 99% " + time("p99_ms"));
}

std::string state_of(const Json::Value& status) {
    if (text_of(member(status, "draining")) == "yes") {
        const Json::Value& left = member(member(status, "drain"), "seconds_left");
        return "draining, " + text_of(member(member(status, "streams"), "active")) + " streams left" +
               (left.isUInt64() ? ", " + format_seconds(left.asUInt64()) + " to the deadline" : "");
    }
    return text_of(member(status, "ready")) == "yes" ? "ready" : "not ready";
}

void add_nodes(Lines& lines, const Json::Value& nodes) {
    if (!nodes.isArray()) return;
    for (const Json::Value& node : nodes) {
        std::string value = text_of(member(node, "state"));
        if (member(node, "latency_ms").isNumeric()) value += ", " + text_of(member(node, "latency_ms")) + " ms";
        if (member(node, "since_seconds").isUInt64())
            value += ", for " + format_seconds(member(node, "since_seconds").asUInt64());
        if (member(node, "last_error").isString() && !member(node, "last_error").asString().empty())
            value += ", last error: " + text_of(member(node, "last_error"));
        lines.add("node", text_of(member(node, "id")) + "@" + text_of(member(node, "address")) + ": " + value);
    }
}

}  // namespace

std::string render_status(const Json::Value& status) {
    Lines lines;
    lines.add(text_of(member(status, "role")), state_of(status) + ", " + text_of(member(status, "version")) + ", pid " +
                                                   text_of(member(status, "pid")) + ", up " +
                                                   format_seconds(number_of(member(status, "uptime_seconds"))));
    lines.add("id", text_of(member(status, "id")));
    lines.add("listen", list_of(member(status, "listen")));
    const Json::Value& data_plane = member(status, "data_plane");
    if (data_plane.isObject())
        lines.add("data plane", "pid " + text_of(member(data_plane, "pid")) + ", " +
                                    text_of(member(data_plane, "engines")) + " engines, " +
                                    text_of(member(data_plane, "restarts")) + " restarts, memory budget " +
                                    format_bytes(number_of(member(data_plane, "memory_budget_bytes"))));
    add_traffic(lines, status);
    add_open_time(lines, member(status, "open_latency"));
    add_paths(lines, status);
    const Json::Value& sessions = member(status, "sessions");
    if (sessions.isObject()) {
        lines.add("sessions", text_of(member(sessions, "active")) + " active, " +
                                  text_of(member(sessions, "provisional")) + " provisional");
        lines.add("handshakes", text_of(member(sessions, "handshakes_ok")) +
                                    " ok, failed: " + counts_of(member(sessions, "handshakes_failed")));
    }
    add_nodes(lines, member(status, "nodes"));
    return lines.text();
}

}  // namespace qanat::controlplane
