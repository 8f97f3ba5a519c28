#include "controlplane/app/engine_report.h"

#include <numeric>

namespace qanat::controlplane {
namespace {

Json::UInt64 load(const ring::Counter& counter) {
    return counter.load(std::memory_order_relaxed);
}

// Adds every number in `from` to its namesake in `into`; objects within objects likewise.
void add_numbers(const Json::Value& from, Json::Value& into) {
    for (const std::string& name : from.getMemberNames()) {
        if (from[name].isObject())
            add_numbers(from[name], into[name]);
        else if (from[name].type() == Json::uintValue)
            into[name] = Json::UInt64{into[name].asUInt64() + from[name].asUInt64()};
    }
}

}  // namespace

void OpenLatency::add(const ring::EngineCounters& counters) {
    for (size_t i = 0; i < counts_.size(); ++i) counts_[i] += load(counters.open_latency[i]);
}

double OpenLatency::percentile_ms(double share, uint64_t total) const {
    const double wanted = share * static_cast<double>(total);
    double below = 0;
    double least_us = 0;
    for (size_t i = 0; i + 1 < counts_.size(); ++i) {
        const auto count = static_cast<double>(counts_[i]);
        const auto most_us = static_cast<double>(ring::kLatencyBucketMinUs << i);
        // As if the times of one bucket were spread evenly over it.
        if (count > 0 && below + count >= wanted)
            return (least_us + (most_us - least_us) * (wanted - below) / count) / 1000;
        below += count;
        least_us = most_us;
    }
    return least_us / 1000;  // the last bucket has no end
}

void OpenLatency::report(Json::Value& into) const {
    const uint64_t total = std::accumulate(counts_.begin(), counts_.end(), uint64_t{0});
    into["count"] = Json::UInt64{total};
    if (total == 0) return;
    into["p50_ms"] = percentile_ms(0.50, total);
    into["p90_ms"] = percentile_ms(0.90, total);
    into["p99_ms"] = percentile_ms(0.99, total);
}

Json::Value report_engine(const ring::EngineCounters& counters) {
    Json::Value engine;
    engine["streams"]["active"] = load(counters.streams_active);
    engine["streams"]["total"] = load(counters.streams_total);
    engine["streams"]["max"] = load(counters.streams_max);
    Json::Value& ended = engine["streams"]["ended"];
    ended = Json::Value(Json::objectValue);
    for (uint32_t reason = 1; reason < ring::kEndReasonCount; ++reason)
        ended[std::string(ring::end_reason_name(static_cast<ring::EndReason>(reason)))] = load(counters.ended[reason]);
    engine["bytes"]["up"] = load(counters.bytes_up);
    engine["bytes"]["down"] = load(counters.bytes_down);
    engine["connections"]["accepted"] = load(counters.connections_accepted);
    engine["connections"]["refused"] = load(counters.connections_refused);
    engine["connections"]["accept_errors"] = load(counters.accept_errors);
    engine["connections"]["unauthenticated"] = load(counters.unauthenticated_active);
    engine["connections"]["unauthenticated_max"] = load(counters.unauthenticated_max);
    engine["connections"]["control"] = load(counters.control_connections);
    engine["buffers"]["used"] = load(counters.buffers_used);
    engine["buffers"]["max"] = load(counters.buffers_max);
    engine["buffers"]["waits"] = load(counters.buffer_waits);
    engine["pool"]["parked"] = load(counters.pool_parked);
    engine["pool"]["hits"] = load(counters.pool_hits);
    engine["pool"]["misses"] = load(counters.pool_misses);
    engine["pool"]["returned"] = load(counters.pool_returned);
    engine["pool"]["stale"] = load(counters.pool_stale);
    engine["punch"]["ready"] = load(counters.punched_ready);
    engine["punch"]["made"] = load(counters.punched);
    engine["punch"]["failed"] = load(counters.punch_failed);
    engine["punch"]["streams"] = load(counters.punched_streams);
    engine["offers"]["parked"] = load(counters.offers_parked);
    engine["offers"]["taken"] = load(counters.offers_taken);
    engine["relay"]["offered"] = load(counters.relay_offered);
    engine["relay"]["streams"] = load(counters.relay_streams);
    engine["relay"]["total"] = load(counters.relay_total);
    engine["relay"]["refused"] = load(counters.relay_refused);
    engine["relay"]["bytes"] = load(counters.relay_bytes);
    engine["relay"]["throttled"] = load(counters.relay_throttled);
    engine["relay"]["moved"] = load(counters.relay_moved);
    engine["pipes"]["used"] = load(counters.pipes_used);
    engine["pipes"]["max"] = load(counters.pipes_max);
    engine["pipes"]["fallbacks"] = load(counters.pipe_fallbacks);
    engine["hop_retries"] = load(counters.hop_retries);
    engine["events_dropped"] = load(counters.events_dropped);
    engine["loops"] = load(counters.loops);
    OpenLatency latency;
    latency.add(counters);
    latency.report(engine["open_latency"]);
    return engine;
}

void report_totals(const Json::Value& engines, Json::Value& status) {
    // Present with zeros while there is no data plane, so that readers need not care.
    static const ring::EngineCounters kNone{};
    Json::Value totals = report_engine(kNone);
    for (const Json::Value& engine : engines) add_numbers(engine, totals);
    for (const std::string& name : totals.getMemberNames()) status[name] = totals[name];
}

}  // namespace qanat::controlplane
