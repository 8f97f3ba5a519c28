#include "controlplane/metrics/engine_metrics.h"

#include <algorithm>
#include <array>
#include <string>
#include <string_view>
#include <vector>

#include "common/ring/layout.h"

namespace qanat::controlplane {
namespace {

using ring::EngineCounters;
using Kind = MetricsPage::Kind;
using Engines = std::span<const EngineSample>;

struct Family {
    std::string_view name;
    Kind kind;
    ring::Counter EngineCounters::*counter;
    std::string_view help;
};

constexpr std::array kFamilies{
    Family{"streams_active", Kind::gauge, &EngineCounters::streams_active, "Streams that are open now."},
    Family{"streams_max", Kind::gauge, &EngineCounters::streams_max, "Streams that may be open at the same time."},
    Family{"streams_opened_total", Kind::counter, &EngineCounters::streams_total, "Streams since the start."},
    Family{"unauthenticated_connections", Kind::gauge, &EngineCounters::unauthenticated_active,
           "Accepted connections that have proved nothing yet."},
    Family{"unauthenticated_connections_max", Kind::gauge, &EngineCounters::unauthenticated_max,
           "How many of them there may be."},
    Family{"engine_sessions", Kind::gauge, &EngineCounters::sessions_active, "Sessions that the engine knows."},
    Family{"engine_sessions_max", Kind::gauge, &EngineCounters::sessions_max, "Sessions that it may know."},
    Family{"buffers_used", Kind::gauge, &EngineCounters::buffers_used, "Buffer chunks of 16.25 KiB in use."},
    Family{"buffers_max", Kind::gauge, &EngineCounters::buffers_max, "Buffer chunks that there are."},
    Family{"buffer_waits_total", Kind::counter, &EngineCounters::buffer_waits,
           "Times that a stream had to wait for a buffer."},
    Family{"control_connections", Kind::gauge, &EngineCounters::control_connections, "Control connections now."},
    Family{"connections_accepted_total", Kind::counter, &EngineCounters::connections_accepted, "Accepted connections."},
    Family{"connections_refused_total", Kind::counter, &EngineCounters::connections_refused,
           "Connections that were closed by a cap before anything was read."},
    Family{"accept_errors_total", Kind::counter, &EngineCounters::accept_errors,
           "Connections that could not be accepted for want of descriptors or memory."},
    Family{"events_dropped_total", Kind::counter, &EngineCounters::events_dropped,
           "Events that were dropped because the control plane did not keep up."},
    Family{"hop_retries_total", Kind::counter, &EngineCounters::hop_retries, "Streams that needed another try."},
    Family{"engine_turns_total", Kind::counter, &EngineCounters::loops, "Turns of the engine's loop."},
    Family{"pool_connections", Kind::gauge, &EngineCounters::pool_parked, "Tunnel connections that wait for a stream."},
    Family{"pool_hits_total", Kind::counter, &EngineCounters::pool_hits, "Streams that took a waiting connection."},
    Family{"pool_misses_total", Kind::counter, &EngineCounters::pool_misses,
           "Streams that found no waiting connection and made one."},
    Family{"pool_returned_total", Kind::counter, &EngineCounters::pool_returned,
           "Tunnel connections that a stream left for the next one."},
    Family{"pool_stale_total", Kind::counter, &EngineCounters::pool_stale,
           "Waiting connections that had died when they were to be used."},
    Family{"punched_connections", Kind::gauge, &EngineCounters::punched_ready,
           "Direct connections through NATs that wait for a stream."},
    Family{"punched_total", Kind::counter, &EngineCounters::punched,
           "Direct connections through NATs that came about."},
    Family{"punch_failed_total", Kind::counter, &EngineCounters::punch_failed,
           "Tries for a direct connection through NATs that came to nothing."},
    Family{"punched_streams_total", Kind::counter, &EngineCounters::punched_streams,
           "Streams that took a direct connection through NATs."},
    Family{"offers_connections", Kind::gauge, &EngineCounters::offers_parked,
           "Connections of this node that wait at relays."},
    Family{"offers_taken_total", Kind::counter, &EngineCounters::offers_taken,
           "Streams that came through a connection that waited at a relay."},
    Family{"relay_offered_connections", Kind::gauge, &EngineCounters::relay_offered,
           "Connections of members that wait at this relay."},
    Family{"relay_streams", Kind::gauge, &EngineCounters::relay_streams, "Streams that are being relayed now."},
    Family{"relay_streams_total", Kind::counter, &EngineCounters::relay_total, "Streams relayed since the start."},
    Family{"relay_refused_total", Kind::counter, &EngineCounters::relay_refused,
           "Requests to this relay that were refused."},
    Family{"relay_bytes_total", Kind::counter, &EngineCounters::relay_bytes, "Bytes relayed, both directions."},
    Family{"relay_throttled_total", Kind::counter, &EngineCounters::relay_throttled,
           "Times that a relayed stream had to wait for its member's byte rate."},
    Family{"relay_moved_total", Kind::counter, &EngineCounters::relay_moved,
           "Requests that were handed to the engine with the member's connection."},
    Family{"pipes_used", Kind::gauge, &EngineCounters::pipes_used, "Pipes in use for splicing."},
    Family{"pipes_max", Kind::gauge, &EngineCounters::pipes_max, "Pipes that there are."},
    Family{"pipe_fallbacks_total", Kind::counter, &EngineCounters::pipe_fallbacks,
           "Bursts that were copied because no pipe was free."},
};

uint64_t load(const ring::Counter& counter) {
    return counter.load(std::memory_order_relaxed);
}

std::string label(size_t engine) {
    return std::to_string(engine);
}

void add_bytes(MetricsPage& page, Engines engines) {
    page.family("stream_bytes_total", Kind::counter, "Application bytes; up is from the application to the target.");
    for (size_t i = 0; i < engines.size(); ++i) {
        page.sample(load(engines[i].counters->bytes_up), {{"engine", label(i)}, {"direction", "up"}});
        page.sample(load(engines[i].counters->bytes_down), {{"engine", label(i)}, {"direction", "down"}});
    }
}

void add_ended(MetricsPage& page, Engines engines) {
    page.family("streams_ended_total", Kind::counter, "Streams that ended, by end reason.");
    for (size_t i = 0; i < engines.size(); ++i)
        for (uint32_t reason = 1; reason < ring::kEndReasonCount; ++reason)
            page.sample(
                load(engines[i].counters->ended[reason]),
                {{"engine", label(i)}, {"reason", std::string(end_reason_name(static_cast<ring::EndReason>(reason)))}});
}

void add_rings(MetricsPage& page, Engines engines) {
    page.family("ring_messages", Kind::gauge, "Messages that wait in a ring between the planes.");
    for (size_t i = 0; i < engines.size(); ++i) {
        page.sample(uint64_t{engines[i].commands_waiting}, {{"engine", label(i)}, {"ring", "commands"}});
        page.sample(uint64_t{engines[i].events_waiting}, {{"engine", label(i)}, {"ring", "events"}});
    }
    page.family("ring_messages_max", Kind::gauge, "Messages that a ring holds.");
    for (size_t i = 0; i < engines.size(); ++i)
        for (const char* name : {"commands", "events"})
            page.sample(uint64_t{ring::kSlotsPerRing}, {{"engine", label(i)}, {"ring", name}});
}

void add_open_times(MetricsPage& page, Engines engines) {
    constexpr size_t kBuckets = std::tuple_size_v<decltype(EngineCounters::open_latency)>;
    std::array<double, kBuckets - 1> bounds{};
    for (size_t i = 0; i < bounds.size(); ++i) bounds[i] = static_cast<double>(ring::kLatencyBucketMinUs << i) / 1e6;
    page.family("stream_open_seconds", Kind::histogram,
                "From the request to the success reply on a client, to the good answer on a node.");
    for (size_t i = 0; i < engines.size(); ++i) {
        std::array<uint64_t, kBuckets> counts{};
        std::transform(engines[i].counters->open_latency.begin(), engines[i].counters->open_latency.end(),
                       counts.begin(), load);
        const double sum = static_cast<double>(load(engines[i].counters->open_latency_sum_us)) / 1e6;
        page.histogram(bounds, counts, sum, {{"engine", label(i)}});
    }
}

}  // namespace

void add_engine_metrics(MetricsPage& page, std::span<const EngineSample> engines) {
    for (const Family& family : kFamilies) {
        page.family(family.name, family.kind, family.help);
        for (size_t i = 0; i < engines.size(); ++i)
            page.sample(load(engines[i].counters->*family.counter), {{"engine", label(i)}});
    }
    add_bytes(page, engines);
    add_ended(page, engines);
    add_rings(page, engines);
    add_open_times(page, engines);
}

}  // namespace qanat::controlplane
