// How tests switch a client's pool on, and wait for what it keeps.
#pragma once

#include "tests/support/engine_pair.h"
#include "tests/support/streams.h"

namespace qanat::dataplane::testing {

inline void set_pool(LoneEngine& client, uint32_t per_node) {
    client.tell(ring::Settings{.stream_events = 0, .zero = {}, .pool_max = per_node, .pool_min_rtt_us = 0, .zero2 = 0});
}

inline bool parked_becomes(LoneEngine& client, uint64_t count) {
    return eventually([&] { return client.counters().pool_parked == count; });
}

}  // namespace qanat::dataplane::testing
