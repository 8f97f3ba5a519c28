// Json: just enough to print a result. Keys come out in the order in which they were set.
#pragma once

#include <cmath>
#include <concepts>
#include <cstdint>
#include <cstdio>
#include <string>
#include <utility>
#include <vector>

namespace qanat::loadgen {

class Json {
public:
    Json& set(const std::string& key, const std::string& value) { return put(key, quote(value)); }
    Json& set(const std::string& key, const char* value) { return put(key, quote(value)); }
    Json& set(const std::string& key, const Json& value) { return put(key, value.text()); }
    Json& set(const std::string& key, double value) {
        char text[40];
        std::snprintf(text, sizeof text, "%.9g", std::isfinite(value) ? value : 0.0);
        return put(key, text);
    }
    Json& set(const std::string& key, std::unsigned_integral auto value) { return put(key, std::to_string(value)); }

    [[nodiscard]] std::string text() const {
        std::string out = "{";
        for (const auto& [key, value] : fields_) out += (out.size() > 1 ? ", " : "") + quote(key) + ": " + value;
        return out + "}";
    }

private:
    Json& put(const std::string& key, std::string value) {
        fields_.emplace_back(key, std::move(value));
        return *this;
    }

    static std::string quote(const std::string& raw) {
        std::string out = "\"";
        for (const char c : raw) {
            if (c == '"' || c == '\\') out += '\\';
            out += static_cast<unsigned char>(c) < 0x20 ? ' ' : c;
        }
        return out + "\"";
    }

    std::vector<std::pair<std::string, std::string>> fields_;
};

}  // namespace qanat::loadgen
