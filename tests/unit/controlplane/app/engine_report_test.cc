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

TEST(EngineReport, WithoutEnginesEverythingIsZero) {
    Json::Value status;
    report_totals(Json::Value(Json::arrayValue), status);
    EXPECT_EQ(status["streams"]["total"].asUInt64(), 0u);
    EXPECT_TRUE(status["connections"].isMember("refused"));
}

}  // namespace
}  // namespace qanat::controlplane
