// Reads the test vectors of this folder: cases of name=value lines, parted by empty lines; '#' begins a comment line.
#pragma once

#include <cstdint>
#include <fstream>
#include <map>
#include <stdexcept>
#include <string>
#include <vector>

namespace qanat::test {

// Throws on anything that is not hex, so that a typo in a test cannot pass as an empty value. Blanks are skipped.
inline std::vector<uint8_t> from_hex(std::string_view text) {
    std::vector<uint8_t> bytes;
    int high = -1;
    for (const char c : text) {
        if (c == ' ' || c == '\n') continue;
        const size_t digit = std::string_view("0123456789abcdef").find(c);
        if (digit == std::string_view::npos) throw std::invalid_argument("not hex: " + std::string(text));
        if (high < 0) {
            high = static_cast<int>(digit);
        } else {
            bytes.push_back(static_cast<uint8_t>(high << 4 | static_cast<int>(digit)));
            high = -1;
        }
    }
    if (high >= 0) throw std::invalid_argument("odd hex: " + std::string(text));
    return bytes;
}

class VectorCase {
public:
    void set(const std::string& name, const std::string& value) { values_[name] = value; }
    bool empty() const { return values_.empty(); }
    bool has(const std::string& name) const { return values_.contains(name); }
    const std::string& text(const std::string& name) const { return values_.at(name); }
    std::vector<uint8_t> bytes(const std::string& name) const { return from_hex(text(name)); }
    uint64_t number(const std::string& name) const { return std::stoull(text(name)); }

private:
    std::map<std::string, std::string> values_;
};

// QANAT_VECTORS is the path of this folder, set by CMake.
inline std::vector<VectorCase> read_vectors(const std::string& file) {
    std::ifstream in(std::string(QANAT_VECTORS) + "/" + file);
    if (!in) throw std::runtime_error("cannot read test vectors: " + file);
    std::vector<VectorCase> cases;
    VectorCase current;
    const auto end_case = [&] {
        if (!current.empty()) cases.push_back(current);
        current = VectorCase();
    };
    for (std::string line; std::getline(in, line);) {
        if (line.starts_with('#')) continue;
        const size_t equals = line.find('=');
        if (equals == std::string::npos) {
            end_case();
        } else {
            current.set(line.substr(0, equals), line.substr(equals + 1));
        }
    }
    end_case();
    return cases;
}

}  // namespace qanat::test
