#include "controlplane/metrics/engine_metrics.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <set>
#include <sstream>

namespace qanat::controlplane {
namespace {

using testing::HasSubstr;

TEST(EngineMetrics, EachEngineIsASample) {
    ring::EngineCounters first{};
    ring::EngineCounters second{};
    ring::add(first.streams_active, 3);
    ring::add(second.bytes_down, 5'000'000'000);
    ring::add(second.ended[static_cast<size_t>(ring::EndReason::completed)], 7);
    ring::add(first.open_latency[ring::latency_bucket(250)], 2);
    ring::add(first.open_latency[ring::latency_bucket(251)], 1);
    ring::add(first.open_latency[15], 1);
    ring::add(first.open_latency_sum_us, 1'500'000);
    const std::array engines{EngineSample{&first, 1, 2}, EngineSample{&second, 0, 1024}};
    MetricsPage page;
    add_engine_metrics(page, engines);
    for (const char* line :
         {"qanat_streams_active{engine=\"0\"} 3", "qanat_streams_active{engine=\"1\"} 0",
          "qanat_stream_bytes_total{engine=\"1\",direction=\"down\"} 5000000000",
          "qanat_streams_ended_total{engine=\"1\",reason=\"completed\"} 7",
          "qanat_ring_messages{engine=\"0\",ring=\"commands\"} 1",
          "qanat_ring_messages{engine=\"1\",ring=\"events\"} 1024",
          "qanat_ring_messages_max{engine=\"1\",ring=\"events\"} 1024",
          "qanat_stream_open_seconds_bucket{engine=\"0\",le=\"0.00025\"} 2",
          "qanat_stream_open_seconds_bucket{engine=\"0\",le=\"0.0005\"} 3",
          "qanat_stream_open_seconds_bucket{engine=\"0\",le=\"4.096\"} 3",
          "qanat_stream_open_seconds_bucket{engine=\"0\",le=\"+Inf\"} 4",
          "qanat_stream_open_seconds_sum{engine=\"0\"} 1.5", "qanat_stream_open_seconds_count{engine=\"0\"} 4"})
        EXPECT_THAT(page.text(), HasSubstr("\n" + std::string(line) + "\n"));
}

// What Prometheus wants: each family once, totals end in _total and nothing else does, help for all of them.
TEST(EngineMetrics, NamesFollowTheConventions) {
    MetricsPage page;
    add_engine_metrics(page, {});
    std::istringstream lines(page.text());
    std::set<std::string> seen;
    std::string hash;
    std::string word;
    std::string name;
    for (std::string rest; lines >> hash >> word >> name && std::getline(lines, rest);) {
        EXPECT_TRUE(seen.insert(word + name).second) << name;
        EXPECT_GT(rest.size(), 1u) << name;
        if (word == "TYPE") {
            EXPECT_EQ(rest == " counter", name.ends_with("_total")) << name;
        }
    }
    EXPECT_GT(seen.size(), 60u);
}

}  // namespace
}  // namespace qanat::controlplane
