// JsonObject: one object of a configuration file, read field by field into typed variables. It knows the keys that may
// be there, and turns the first thing that is wrong into one line: where, what, and the remedy.
//
//     JsonObject server(root, "server", {"listen", "auth"}, problem);
//     server.read_bool("auth", config.auth);
//     server.read_text("listen", config.listen, [](std::string_view text) { return parse_listen(text, 1080); });
//
// A missing key leaves the variable as it is. After the first problem nothing is read any more, so that a parser is a
// plain list of fields and asks once, at the end.
#pragma once

#include <json/value.h>

#include <cstdint>
#include <functional>
#include <initializer_list>
#include <optional>
#include <string>
#include <string_view>

#include "common/base/duration.h"
#include "common/base/result.h"

namespace qanat::controlplane {

// The first problem of a file, shared by all its objects: "PATH: what: remedy", without the name of the file.
class ConfigProblem {
public:
    void report(const std::string& path, std::string_view what);
    [[nodiscard]] bool found() const { return message_.has_value(); }
    [[nodiscard]] const std::string& message() const { return *message_; }

private:
    std::optional<std::string> message_;
};

class JsonObject {
public:
    // `value` must outlive this object. Reports a value that is no object, and the first key that is not in `keys`.
    JsonObject(const Json::Value& value, std::string path, std::initializer_list<std::string_view> keys,
               ConfigProblem& problem);

    [[nodiscard]] bool has(std::string_view key) const { return find(key) != nullptr; }
    [[nodiscard]] std::string path_of(std::string_view key) const;
    void report(std::string_view key, std::string_view what) { problem_.report(path_of(key), what); }

    void read_bool(std::string_view key, bool& out);
    void read_count(std::string_view key, uint32_t& out, uint32_t least, uint32_t most);
    void read_count(std::string_view key, uint64_t& out, uint64_t least, uint64_t most);
    void read_duration(std::string_view key, Duration& out, Duration least, Duration most);
    void read_string(std::string_view key, std::string& out);

    // A string that `parse` turns into a Result<T>; its error follows the path.
    template <class T, class Parse>
    void read_text(std::string_view key, T& out, Parse&& parse) {
        std::string text;
        if (problem_.found() || !has(key)) return;
        read_string(key, text);
        if (problem_.found()) return;
        auto parsed = parse(text);
        if (parsed)
            out = std::move(*parsed);
        else
            report(key, parsed.error().message);
    }

    // Another object below this one; handle(object) runs only if it is there.
    template <class Handle>
    void read_object(std::string_view key, std::initializer_list<std::string_view> keys, Handle&& handle) {
        const Json::Value* value = find(key);
        if (problem_.found() || value == nullptr) return;
        JsonObject object(*value, path_of(key), keys, problem_);
        if (!problem_.found()) handle(object);
    }

    // handle(element, path) for each element of an array, "nodes[1]"; stops at the first problem. False if the key is
    // not there.
    bool read_array(std::string_view key, const std::function<void(const Json::Value&, const std::string&)>& handle);

    // The same for an array of strings, or a single string that is not empty; what `handle` says is wrong is reported
    // at its element.
    bool read_strings(std::string_view key, const std::function<Result<void>(const std::string&)>& handle);

private:
    [[nodiscard]] const Json::Value* find(std::string_view key) const;

    const Json::Value& value_;
    std::string path_;
    ConfigProblem& problem_;
};

// "a string ("yes")", "the number 5", "null", …: what stands in the file, for errors.
[[nodiscard]] std::string describe(const Json::Value& value);

// The string in `value`, refused if it is none or contains control characters, which no field has a use for.
[[nodiscard]] Result<std::string> string_in(const Json::Value& value);

}  // namespace qanat::controlplane
