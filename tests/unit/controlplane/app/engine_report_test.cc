#include "controlplane/app/engine_report.h"

#include <gtest/gtest.h>

namespace qanat::controlplane {
namespace {

TEST(EngineReport, SumsOverEngines) {
    ring::EngineCounters counters{};
    ring::add(counters.streams_active, 2);
    ring::add(counters.streams_total, 10);
    ring::add(counters.bytes_up, 1000);
    ring::add(counters.ended[static_cast<size_t>(ring::EndReason::completed)], 7);
    Json::Value engines(Json::arrayValue);
    engines.append(report_engine(counters));
    engines.append(report_engine(counters));
    Json::Value status;
    status["role"] = "node";
    report_totals(engines, status);
    EXPECT_EQ(engines[0]["streams"]["total"].asUInt64(), 10u);
    EXPECT_EQ(status["streams"]["active"].asUInt64(), 4u);
    EXPECT_EQ(status["streams"]["total"].asUInt64(), 20u);
    EXPECT_EQ(status["streams"]["ended"]["completed"].asUInt64(), 14u);
    EXPECT_EQ(status["streams"]["ended"]["no_exit"].asUInt64(), 0u);
    EXPECT_EQ(status["bytes"]["up"].asUInt64(), 2000u);
    EXPECT_EQ(status["role"].asString(), "node");
    EXPECT_FALSE(status["streams"]["ended"].isMember("none"));
}

TEST(EngineReport, OpenTimesAsPercentiles) {
    ring::EngineCounters fast{};
    ring::EngineCounters slow{};
    ring::add(fast.open_latency[0], 90);  // up to 250 us
    ring::add(slow.open_latency[2], 10);  // 500 us to 1 ms
    OpenLatency latency;
    latency.add(fast);
    latency.add(slow);
    Json::Value report;
    latency.report(report);
    EXPECT_EQ(report["count"].asUInt64(), 100u);
    EXPECT_NEAR(report["p50_ms"].asDouble(), 0.25 * 50 / 90, 1e-9);
    EXPECT_NEAR(report["p90_ms"].asDouble(), 0.25, 1e-9);
    EXPECT_NEAR(report["p99_ms"].asDouble(), 0.5 + 0.5 * 9 / 10, 1e-9);

    ring::EngineCounters endless{};
    ring::add(endless.open_latency[15], 1);
    OpenLatency last;
    last.add(endless);
    last.report(report);
    EXPECT_NEAR(report["p50_ms"].asDouble(), 4096, 1e-9);

    Json::Value none;
    OpenLatency{}.report(none);
    EXPECT_FALSE(none.isMember("p50_ms"));
    // Percentiles are not added up, even when they happen to be whole numbers.
    Json::Value engines(Json::arrayValue);
    engines.append(report_engine(endless));
    engines.append(report_engine(endless));
    Json::Value status;
    report_totals(engines, status);
    EXPECT_EQ(status["open_latency"]["count"].asUInt64(), 2u);
    EXPECT_FALSE(status["open_latency"].isMember("p50_ms"));
}

TEST(EngineReport, PoolAndRelay) {
    ring::EngineCounters counters{};
    ring::add(counters.pool_hits, 3);
    ring::add(counters.relay_bytes, 4);
    ring::add(counters.pipes_max, 5);
    const Json::Value engine = report_engine(counters);
    EXPECT_EQ(engine["pool"]["hits"].asUInt64(), 3u);
    EXPECT_EQ(engine["relay"]["bytes"].asUInt64(), 4u);
    EXPECT_EQ(engine["pipes"]["max"].asUInt64(), 5u);
}

TEST(EngineReport, WithoutEnginesEverythingIsZero) {
    Json::Value status;
    report_totals(Json::Value(Json::arrayValue), status);
    EXPECT_EQ(status["streams"]["total"].asUInt64(), 0u);
    EXPECT_TRUE(status["connections"].isMember("refused"));
}

}  // namespace
}  // namespace qanat::controlplane
