// The engines' counters as JSON. Pure, but for the relaxed loads of memory that the engines write.
#pragma once

#include <json/value.h>

#include <span>

#include "common/ring/counters.h"

namespace qanat::controlplane {

// One engine, as in "engines": [ … ] of the status.
[[nodiscard]] Json::Value report_engine(const ring::EngineCounters& counters);

// Adds the sums over all engines to the top level of `status`: streams, bytes, connections, buffers.
void report_totals(const Json::Value& engines, Json::Value& status);

}  // namespace qanat::controlplane
