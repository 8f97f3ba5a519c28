#include "controlplane/app/engine_report.h"

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
        else if (from[name].isUInt64())
            into[name] = Json::UInt64{into[name].asUInt64() + from[name].asUInt64()};
    }
}

}  // namespace

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
    engine["hop_retries"] = load(counters.hop_retries);
    engine["events_dropped"] = load(counters.events_dropped);
    engine["loops"] = load(counters.loops);
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
