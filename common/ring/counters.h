// EngineCounters: what one engine has done, in the shared region, written by that engine alone and read by the other
// plane at any time (relaxed atomics; a reader may see one counter ahead of another). Append only.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>

#include "common/ring/end_reason.h"

namespace qanat::ring {

using Counter = std::atomic<uint64_t>;
static_assert(Counter::is_always_lock_free && sizeof(Counter) == 8);

// Single writer: a plain load and store is an increment, without a locked instruction.
inline void add(Counter& counter, uint64_t amount = 1) {
    counter.store(counter.load(std::memory_order_relaxed) + amount, std::memory_order_relaxed);
}
inline void subtract(Counter& counter, uint64_t amount = 1) {
    counter.store(counter.load(std::memory_order_relaxed) - amount, std::memory_order_relaxed);
}

struct alignas(128) EngineCounters {
    // gauges
    Counter streams_active;
    Counter streams_max;
    Counter unauthenticated_active;
    Counter unauthenticated_max;
    Counter sessions_active;
    Counter sessions_max;
    Counter buffers_used;
    Counter buffers_max;
    Counter control_connections;
    // totals
    Counter streams_total;
    Counter bytes_up;    // application → tunnel on a client, tunnel → target on a node
    Counter bytes_down;  // the other way
    Counter connections_accepted;
    Counter connections_refused;  // by a cap, before anything was read
    Counter accept_errors;        // out of descriptors or memory
    Counter buffer_waits;         // a stream had to wait for buffer memory
    Counter events_dropped;       // the event ring was full
    Counter hop_retries;
    Counter loops;
    std::array<Counter, 45> reserved;
    std::array<Counter, 64> ended;  // by EndReason
};
static_assert(kEndReasonCount <= 64);
static_assert(sizeof(EngineCounters) == 128 * 8);

}  // namespace qanat::ring
