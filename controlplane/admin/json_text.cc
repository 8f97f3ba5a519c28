#include "controlplane/admin/json_text.h"

#include <array>
#include <cstdio>

#include "common/base/log.h"

namespace qanat::controlplane {
namespace {

constexpr size_t kShortIdSize = 10;

std::string printed(double value, int digits, const char* unit = "") {
    std::array<char, 400> text{};  // the largest double has 309 digits
    std::snprintf(text.data(), text.size(), "%.*f%s", digits, value, unit);
    return text.data();
}

}  // namespace

const Json::Value& member(const Json::Value& value, const char* name) {
    return value.isObject() ? value[name] : Json::Value::nullSingleton();
}

std::string text_of(const Json::Value& value) {
    if (value.isString()) return value.asString().empty() ? "-" : printable(value.asString());
    if (value.isBool()) return value.asBool() ? "yes" : "no";
    if (value.isUInt64()) return std::to_string(value.asUInt64());
    if (value.isInt64()) return std::to_string(value.asInt64());
    if (value.isDouble()) return printed(value.asDouble(), 1);
    return "-";
}

uint64_t number_of(const Json::Value& value) {
    return value.isUInt64() ? value.asUInt64() : 0;
}

std::string counts_of(const Json::Value& object) {
    std::string out;
    if (!object.isObject()) return "-";
    for (const std::string& name : object.getMemberNames())
        if (number_of(object[name]) > 0)
            out += (out.empty() ? "" : ", ") + text_of(object[name]) + " " + printable(name);
    return out.empty() ? "-" : out;
}

std::string list_of(const Json::Value& list) {
    std::string out;
    if (!list.isArray()) return "-";
    for (const Json::Value& item : list) out += (out.empty() ? "" : ", ") + text_of(item);
    return out.empty() ? "-" : out;
}

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

std::string format_milliseconds(double milliseconds) {
    if (milliseconds < 1) return printed(milliseconds * 1000, 0, " us");
    if (milliseconds < 1000) return printed(milliseconds, 1, " ms");
    return printed(milliseconds / 1000, 2, " s");
}

std::string short_id(const Json::Value& id) {
    const std::string text = text_of(id);
    return text.substr(0, kShortIdSize);
}

}  // namespace qanat::controlplane
