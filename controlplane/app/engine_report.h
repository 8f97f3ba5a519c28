// The engines' counters as JSON. Pure, but for the relaxed loads of memory that the engines write.
#pragma once

#include <json/value.h>

#include <array>
#include <cstdint>
#include <tuple>

#include "common/ring/counters.h"

namespace qanat::controlplane {

// How long streams took to open: the histogram of one engine, or of several together.
class OpenLatency {
public:
    void add(const ring::EngineCounters& counters);
    // {"count", "p50_ms", "p90_ms", "p99_ms"}; the percentiles only if anything was counted.
    void report(Json::Value& into) const;

private:
    [[nodiscard]] double percentile_ms(double share, uint64_t total) const;

    std::array<uint64_t, std::tuple_size_v<decltype(ring::EngineCounters::open_latency)>> counts_{};
};

// One engine, as in "engines": [ … ] of the status.
[[nodiscard]] Json::Value report_engine(const ring::EngineCounters& counters);

// Adds the sums over all engines to the top level of `status`: streams, bytes, connections, buffers, pool, relay.
// Without the open times, which do not add up.
void report_totals(const Json::Value& engines, Json::Value& status);

}  // namespace qanat::controlplane
