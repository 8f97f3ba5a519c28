// Latencies: every sample of a run, bounded, and its percentiles.
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

#include "perf/loadgen/json.h"

namespace qanat::loadgen {

class Latencies {
public:
    void add(uint64_t ns) {
        ++count_;
        if (samples_.size() < kSamplesMax)
            samples_.push_back(static_cast<uint32_t>(std::min<uint64_t>(ns, UINT32_MAX)));
    }
    void clear() { samples_.clear(), count_ = 0; }
    [[nodiscard]] uint64_t count() const { return count_; }

    // Microseconds. Sorts.
    [[nodiscard]] Json summary() {
        std::sort(samples_.begin(), samples_.end());
        Json json;
        json.set("count", count_);
        json.set("min", at(0)).set("p50", at(0.5)).set("p90", at(0.9)).set("p99", at(0.99));
        json.set("p99_9", at(0.999)).set("max", at(1));
        return json;
    }

private:
    static constexpr size_t kSamplesMax = size_t{4} << 20;

    [[nodiscard]] double at(double quantile) const {
        if (samples_.empty()) return 0;
        const auto index = static_cast<size_t>(quantile * static_cast<double>(samples_.size()));
        return static_cast<double>(samples_[std::min(index, samples_.size() - 1)]) * 1e-3;
    }

    std::vector<uint32_t> samples_;
    uint64_t count_ = 0;
};

}  // namespace qanat::loadgen
