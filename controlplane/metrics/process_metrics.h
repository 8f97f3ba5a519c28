// The two processes as metrics. Pure.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "controlplane/metrics/metrics_page.h"

namespace qanat::controlplane {

struct ProcessSample {
    std::string version;
    std::string role;
    uint64_t uptime_seconds = 0;
    bool ready = false;
    bool draining = false;
    uint64_t data_plane_restarts = 0;
    uint64_t memory_budget_bytes = 0;
    uint64_t descriptors_max = 0;
    std::optional<uint64_t> control_plane_descriptors;  // nullopt: not to be seen
    std::optional<uint64_t> data_plane_descriptors;
};

void add_process_metrics(MetricsPage& page, const ProcessSample& sample);

}  // namespace qanat::controlplane
