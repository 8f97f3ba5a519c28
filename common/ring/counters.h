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
    // gauges of pools and relaying
    Counter pool_parked;    // client: tunnel connections that wait for a stream
    Counter offers_parked;  // node: connections that wait at relays
    Counter relay_offered;  // relay: connections of members that wait for a client
    Counter relay_streams;  // relay: pairs that are being spliced
    Counter pipes_used;
    Counter pipes_max;
    // totals of pools and relaying
    Counter pool_hits;    // streams that took a parked connection
    Counter pool_misses;  // streams that found none and connected
    Counter pool_stale;   // parked connections that had died when they were to be used
    Counter offers_taken;
    Counter relay_total;      // pairs that were made
    Counter relay_refused;    // FORWARD or OFFER answered with a refusal
    Counter relay_bytes;      // both directions together
    Counter relay_throttled;  // times that a stream had to wait for its member's byte rate
    Counter relay_moved;      // FORWARDs handed to the engine that had the offered connection
    Counter pipe_fallbacks;   // bursts that were copied because no pipe was free
    // client: from the request to the success reply; node: from the REQUEST to the RESPONSE OK. Bucket i counts those
    // up to kLatencyBucketMin << i, the last one all that took longer.
    Counter open_latency_sum_us;
    std::array<Counter, 16> open_latency;
    Counter pool_returned;    // client: tunnels that came back from a stream and wait for the next one
    Counter punched;          // direct connections through NATs that came about
    Counter punch_failed;     // tries that did not
    Counter punched_streams;  // client: streams that took such a connection
    Counter punched_ready;    // gauge, client: such connections that wait for a stream; in pool_parked, too
    std::array<Counter, 7> reserved;
    std::array<Counter, 64> ended;  // by EndReason
};
inline constexpr uint64_t kLatencyBucketMinUs = 250;

// The bucket of EngineCounters::open_latency for this time.
[[nodiscard]] constexpr size_t latency_bucket(uint64_t us) {
    size_t bucket = 0;
    while (bucket < 15 && us > kLatencyBucketMinUs << bucket) ++bucket;
    return bucket;
}
static_assert(kEndReasonCount <= 64);
static_assert(sizeof(EngineCounters) == 128 * 8);

}  // namespace qanat::ring
