// The engines' counters as metrics, each sample labelled with its engine: sums are the reader's to make.
#pragma once

#include <cstdint>
#include <span>

#include "common/ring/counters.h"
#include "controlplane/metrics/metrics_page.h"

namespace qanat::controlplane {

struct EngineSample {
    const ring::EngineCounters* counters;
    uint32_t commands_waiting;  // in its rings, now
    uint32_t events_waiting;
};

// Engine i of `engines` has the label engine="i". A family is there even when no engine is.
void add_engine_metrics(MetricsPage& page, std::span<const EngineSample> engines);

}  // namespace qanat::controlplane
