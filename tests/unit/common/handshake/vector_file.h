// Reads the known-answer files of tests/vectors/noise: "key=hex" lines, a block per case, '#' begins a comment.
#pragma once

#include <algorithm>
#include <array>
#include <fstream>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "common/base/secret.h"

namespace qanat::testing {

inline std::vector<uint8_t> unhex(const std::string& text) {
    std::vector<uint8_t> bytes;
    if (text.size() % 2 != 0) throw std::runtime_error("odd hex");
    for (size_t i = 0; i < text.size(); i += 2)
        bytes.push_back(static_cast<uint8_t>(std::stoul(text.substr(i, 2), nullptr, 16)));
    return bytes;
}

class VectorCase {
public:
    void add(std::string key, std::string value) { fields_.emplace_back(std::move(key), std::move(value)); }
    [[nodiscard]] bool empty() const { return fields_.empty(); }

    [[nodiscard]] std::vector<std::string> all(const std::string& key) const {
        std::vector<std::string> values;
        for (const auto& [name, value] : fields_)
            if (name == key) values.push_back(value);
        return values;
    }
    [[nodiscard]] bool has(const std::string& key) const { return !all(key).empty(); }
    [[nodiscard]] std::string text(const std::string& key) const { return all(key).at(0); }
    [[nodiscard]] std::vector<uint8_t> bytes(const std::string& key) const { return unhex(text(key)); }
    template <size_t N>
    [[nodiscard]] std::array<uint8_t, N> array(const std::string& key) const {
        const std::vector<uint8_t> value = bytes(key);
        if (value.size() != N) throw std::runtime_error(key + ": wrong size");
        std::array<uint8_t, N> out;
        std::copy(value.begin(), value.end(), out.begin());
        return out;
    }
    [[nodiscard]] Secret<32> secret(const std::string& key) const { return Secret<32>(array<32>(key)); }
    [[nodiscard]] uint64_t number(const std::string& key) const {
        uint64_t value = 0;
        for (const uint8_t byte : bytes(key)) value = value << 8 | byte;
        return value;
    }

private:
    std::vector<std::pair<std::string, std::string>> fields_;
};

inline std::vector<VectorCase> read_vectors(const std::string& path) {
    std::ifstream file(path);
    if (!file) throw std::runtime_error("cannot read " + path);
    std::vector<VectorCase> cases;
    VectorCase current;
    for (std::string line; std::getline(file, line);) {
        if (line.empty()) {
            if (!current.empty()) cases.push_back(std::exchange(current, {}));
        } else if (line[0] != '#') {
            const size_t equals = line.find('=');
            current.add(line.substr(0, equals), line.substr(equals + 1));
        }
    }
    if (!current.empty()) cases.push_back(current);
    return cases;
}

}  // namespace qanat::testing
