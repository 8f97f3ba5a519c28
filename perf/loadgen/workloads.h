// Workloads: what a client does, and the numbers it brings back.
#pragma once

#include "perf/loadgen/options.h"

namespace qanat::loadgen {

// Runs options.workload, prints its JSON to stdout and returns the exit status.
int run_client(const Options& options);

}  // namespace qanat::loadgen
