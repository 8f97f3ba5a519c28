#include "perf/loadgen/pattern.h"

#include <algorithm>
#include <cstring>
#include <vector>

namespace qanat::loadgen {
namespace {

std::vector<uint8_t> make_table() {
    std::vector<uint8_t> table(Pattern::kPeriod + Pattern::kRunMax);
    uint64_t state = 0x9e3779b97f4a7c15;
    for (size_t n = 0; n < Pattern::kPeriod; ++n) {
        state ^= state << 13;  // xorshift64
        state ^= state >> 7;
        state ^= state << 17;
        table[n] = static_cast<uint8_t>(state >> 32);
    }
    for (size_t n = Pattern::kPeriod; n < table.size(); ++n) table[n] = table[n - Pattern::kPeriod];
    return table;
}

}  // namespace

std::span<const uint8_t> Pattern::at(uint64_t position, size_t size) {
    static const std::vector<uint8_t> table = make_table();
    return {table.data() + position % kPeriod, std::min(size, kRunMax)};
}

bool Pattern::matches(uint64_t position, std::span<const uint8_t> bytes) {
    while (!bytes.empty()) {
        const auto expected = at(position, bytes.size());
        if (std::memcmp(expected.data(), bytes.data(), expected.size()) != 0) return false;
        position += expected.size();
        bytes = bytes.subspan(expected.size());
    }
    return true;
}

}  // namespace qanat::loadgen
