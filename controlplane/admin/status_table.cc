#include "controlplane/admin/status_table.h"

#include <algorithm>
#include <array>
#include <cstdio>
#include <vector>

#include "common/base/log.h"

namespace qanat::controlplane {
namespace {

std::string text_of(const Json::Value& value) {
    if (value.isString()) return printable(value.asString());
    if (value.isBool()) return value.asBool() ? "yes" : "no";
    if (value.isUInt64()) return std::to_string(value.asUInt64());
    if (value.isDouble()) {
        std::array<char, 32> text{};
        std::snprintf(text.data(), text.size(), "%.1f", value.asDouble());
        return text.data();
    }
    return "-";
}

uint64_t number_of(const Json::Value& value) {
    return value.isUInt64() ? value.asUInt64() : 0;
}

// jsoncpp throws when something that is no object is asked for a member; here that is just "nothing".
const Json::Value& at(const Json::Value& value, const char* name) {
    return value.isObject() ? value[name] : Json::Value::nullSingleton();
}

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

std::string joined(const Json::Value& list) {
    std::string out;
    if (!list.isArray()) return "-";
    for (const Json::Value& item : list) out += (out.empty() ? "" : ", ") + text_of(item);
    return out.empty() ? "-" : out;
}

std::string counted(const Json::Value& map) {
    std::string out;
    if (!map.isObject()) return "-";
    for (const std::string& name : map.getMemberNames())
        if (number_of(map[name]) > 0) out += (out.empty() ? "" : ", ") + text_of(map[name]) + " " + printable(name);
    return out.empty() ? "-" : out;
}

void add_traffic(Lines& lines, const Json::Value& status) {
    const Json::Value& streams = at(status, "streams");
    if (streams.isObject()) {
        lines.add("streams", text_of(at(streams, "active")) + " of " + text_of(at(streams, "max")) + " active, " +
                                 text_of(at(streams, "total")) + " in all");
        lines.add("ended", counted(at(streams, "ended")));
    }
    const Json::Value& bytes = at(status, "bytes");
    if (bytes.isObject())
        lines.add("bytes", format_bytes(number_of(at(bytes, "up"))) + " up, " +
                               format_bytes(number_of(at(bytes, "down"))) + " down");
    const Json::Value& connections = at(status, "connections");
    if (connections.isObject())
        lines.add("connections", text_of(at(connections, "accepted")) + " accepted, " +
                                     text_of(at(connections, "refused")) + " refused");
}

void add_nodes(Lines& lines, const Json::Value& nodes) {
    if (!nodes.isArray()) return;
    for (const Json::Value& node : nodes) {
        std::string value = text_of(at(node, "state"));
        if (at(node, "latency_ms").isNumeric()) value += ", " + text_of(at(node, "latency_ms")) + " ms";
        if (at(node, "since_seconds").isUInt64())
            value += ", for " + format_seconds(at(node, "since_seconds").asUInt64());
        if (at(node, "last_error").isString() && !at(node, "last_error").asString().empty())
            value += ", last error: " + text_of(at(node, "last_error"));
        lines.add("node", text_of(at(node, "id")) + "@" + text_of(at(node, "address")) + ": " + value);
    }
}

}  // namespace

std::string format_bytes(uint64_t bytes) {
    constexpr std::array<const char*, 5> kUnits{"KiB", "MiB", "GiB", "TiB", "PiB"};
    if (bytes < 1024) return std::to_string(bytes) + " B";
    double value = static_cast<double>(bytes) / 1024;
    size_t unit = 0;
    while (value >= 1024 && unit + 1 < kUnits.size()) {
        value /= 1024;
        ++unit;
    }
    std::array<char, 32> text{};
    std::snprintf(text.data(), text.size(), "%.1f %s", value, kUnits[unit]);
    return text.data();
}

std::string format_seconds(uint64_t seconds) {
    std::array<char, 40> text{};
    const auto u = [](uint64_t value) { return static_cast<unsigned long long>(value); };
    if (seconds < 60)
        std::snprintf(text.data(), text.size(), "%llus", u(seconds));
    else if (seconds < 3600)
        std::snprintf(text.data(), text.size(), "%llum %02llus", u(seconds / 60), u(seconds % 60));
    else if (seconds < 86400)
        std::snprintf(text.data(), text.size(), "%lluh %02llum", u(seconds / 3600), u(seconds / 60 % 60));
    else
        std::snprintf(text.data(), text.size(), "%llud %02lluh", u(seconds / 86400), u(seconds / 3600 % 24));
    return text.data();
}

std::string render_status(const Json::Value& status) {
    Lines lines;
    lines.add(text_of(at(status, "role")), std::string(text_of(at(status, "ready")) == "yes" ? "ready" : "not ready") +
                                               ", " + text_of(at(status, "version")) + ", pid " +
                                               text_of(at(status, "pid")) + ", up " +
                                               format_seconds(number_of(at(status, "uptime_seconds"))));
    lines.add("id", text_of(at(status, "id")));
    lines.add("listen", joined(at(status, "listen")));
    const Json::Value& data_plane = at(status, "data_plane");
    if (data_plane.isObject())
        lines.add("data plane", "pid " + text_of(at(data_plane, "pid")) + ", " + text_of(at(data_plane, "engines")) +
                                    " engines, " + text_of(at(data_plane, "restarts")) + " restarts, memory budget " +
                                    format_bytes(number_of(at(data_plane, "memory_budget_bytes"))));
    add_traffic(lines, status);
    const Json::Value& sessions = at(status, "sessions");
    if (sessions.isObject()) {
        lines.add("sessions", text_of(at(sessions, "active")) + " active, " + text_of(at(sessions, "provisional")) +
                                  " provisional");
        lines.add("handshakes", text_of(at(sessions, "handshakes_ok")) +
                                    " ok, failed: " + counted(at(sessions, "handshakes_failed")));
    }
    add_nodes(lines, at(status, "nodes"));
    return lines.text();
}

}  // namespace qanat::controlplane
