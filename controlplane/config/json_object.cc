#include "controlplane/config/json_object.h"

#include <algorithm>
#include <vector>

#include "common/base/log.h"
#include "common/base/text_distance.h"

namespace qanat::controlplane {
namespace {

// Keys are part of the path people search for; a strange one is shown but cannot break the line.
std::string key_text(std::string_view key) {
    return printable(key.substr(0, 80));
}

std::string list_of(std::initializer_list<std::string_view> keys) {
    std::string text;
    for (const std::string_view key : keys) text += (text.empty() ? "" : ", ") + std::string(key);
    return text;
}

std::string expected(std::string_view what, const Json::Value& value) {
    return "expected " + std::string(what) + ", found " + describe(value);
}

}  // namespace

void ConfigProblem::report(const std::string& path, std::string_view what) {
    if (message_) return;
    message_ = path.empty() ? std::string(what) : path + ": " + std::string(what);
}

JsonObject::JsonObject(const Json::Value& value, std::string path, std::initializer_list<std::string_view> keys,
                       ConfigProblem& problem)
    : value_(value), path_(std::move(path)), problem_(problem) {
    if (!value.isObject()) {
        problem_.report(path_, expected("an object, {...}", value));
        return;
    }
    for (const std::string& key : value.getMemberNames()) {
        if (std::find(keys.begin(), keys.end(), key) != keys.end()) continue;
        const std::string guess = did_you_mean(key, {keys.begin(), keys.size()});
        const std::string remedy = guess.empty() ? ": the keys here are " + list_of(keys) : guess;
        problem_.report(path_of(key), "unknown key" + remedy);
        return;
    }
}

std::string JsonObject::path_of(std::string_view key) const {
    return path_.empty() ? key_text(key) : path_ + "." + key_text(key);
}

const Json::Value* JsonObject::find(std::string_view key) const {
    return value_.isObject() ? value_.find(key.data(), key.data() + key.size()) : nullptr;
}

void JsonObject::read_bool(std::string_view key, bool& out) {
    const Json::Value* value = find(key);
    if (problem_.found() || value == nullptr) return;
    if (!value->isBool()) return report(key, expected("true or false", *value));
    out = value->asBool();
}

void JsonObject::read_count(std::string_view key, uint32_t& out, uint32_t least, uint32_t most) {
    uint64_t count = out;
    read_count(key, count, uint64_t{least}, uint64_t{most});
    out = static_cast<uint32_t>(count);
}

void JsonObject::read_count(std::string_view key, uint64_t& out, uint64_t least, uint64_t most) {
    const Json::Value* value = find(key);
    if (problem_.found() || value == nullptr) return;
    const std::string range = "a whole number from " + std::to_string(least) + " to " + std::to_string(most);
    const bool whole = value->type() == Json::intValue || value->type() == Json::uintValue;
    if (!whole || !value->isUInt64() || value->asUInt64() < least || value->asUInt64() > most)
        return report(key, expected(range, *value));
    out = value->asUInt64();
}

void JsonObject::read_duration(std::string_view key, Duration& out, Duration least, Duration most) {
    const Json::Value* value = find(key);
    if (problem_.found() || value == nullptr) return;
    if (!value->isString()) return report(key, expected("a duration like \"10s\"", *value));
    const auto parsed = parse_duration(value->asString());
    if (!parsed) return report(key, parsed.error().message);
    if (*parsed < least || *parsed > most)
        return report(key, "\"" + value->asString() + "\" is out of range: write a duration from " +
                               format_duration(least) + " to " + format_duration(most));
    out = *parsed;
}

void JsonObject::read_string(std::string_view key, std::string& out) {
    const Json::Value* value = find(key);
    if (problem_.found() || value == nullptr) return;
    auto text = string_in(*value);
    if (!text) return report(key, text.error().message);
    out = std::move(*text);
}

bool JsonObject::read_array(std::string_view key,
                            const std::function<void(const Json::Value&, const std::string&)>& handle) {
    const Json::Value* value = find(key);
    if (value == nullptr) return false;
    if (!problem_.found() && !value->isArray()) report(key, expected("a list, [...]", *value));
    for (Json::ArrayIndex i = 0; !problem_.found() && i < value->size(); ++i)
        handle((*value)[i], path_of(key) + "[" + std::to_string(i) + "]");
    return true;
}

bool JsonObject::read_strings(std::string_view key, const std::function<Result<void>(const std::string&)>& handle) {
    if (const Json::Value* value = find(key); value != nullptr && value->isString()) {
        std::string text;
        read_string(key, text);
        if (problem_.found() || text.empty()) return true;
        if (const auto handled = handle(text); !handled) report(key, handled.error().message);
        return true;
    }
    return read_array(key, [&](const Json::Value& element, const std::string& path) {
        const auto text = string_in(element);
        if (!text) return problem_.report(path, text.error().message);
        if (const auto handled = handle(*text); !handled) problem_.report(path, handled.error().message);
    });
}

std::string describe(const Json::Value& value) {
    switch (value.type()) {
        case Json::nullValue:
            return "null";
        case Json::intValue:
        case Json::uintValue:
        case Json::realValue:
            return "the number " + value.asString();
        // Not its text: a password can stand where it does not belong.
        case Json::stringValue:
            return "a string";
        case Json::booleanValue:
            return value.asBool() ? "true" : "false";
        case Json::arrayValue:
            return "a list";
        case Json::objectValue:
            return "an object";
    }
    return "something else";
}

Result<std::string> string_in(const Json::Value& value) {
    if (!value.isString()) return fail(expected("a string", value));
    std::string text = value.asString();
    const auto is_control = [](char c) { return (c >= 0 && c < 0x20) || c == 0x7f; };
    if (std::any_of(text.begin(), text.end(), is_control))
        return fail("a control character is in this string: remove it");
    return text;
}

}  // namespace qanat::controlplane
