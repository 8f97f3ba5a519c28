#include "controlplane/metrics/metrics_page.h"

#include <gtest/gtest.h>

#include <limits>

#include "controlplane/metrics/process_metrics.h"

namespace qanat::controlplane {
namespace {

using Kind = MetricsPage::Kind;

TEST(MetricsPage, FamiliesAndSamples) {
    MetricsPage page;
    EXPECT_EQ(page.text(), "");
    page.family("a_total", Kind::counter, "How many.");
    page.sample(std::numeric_limits<uint64_t>::max());
    page.sample(uint64_t{0}, {{"engine", "0"}, {"x", "y"}});
    page.family("b_seconds", Kind::gauge, "How long.");
    page.sample(0.00025);
    page.sample(1.5e9, {{"x", "y"}});
    EXPECT_EQ(page.text(),
              "# HELP qanat_a_total How many.\n"
              "# TYPE qanat_a_total counter\n"
              "qanat_a_total 18446744073709551615\n"
              "qanat_a_total{engine=\"0\",x=\"y\"} 0\n"
              "# HELP qanat_b_seconds How long.\n"
              "# TYPE qanat_b_seconds gauge\n"
              "qanat_b_seconds 0.00025\n"
              "qanat_b_seconds{x=\"y\"} 1.5e+09\n");
}

TEST(MetricsPage, LabelsCannotBreakOut) {
    MetricsPage page;
    page.family("a", Kind::gauge, "A.");
    page.sample(uint64_t{1}, {{"x", "q\"b\\n\nz\x1b\xff"}});
    EXPECT_EQ(page.text(), "# HELP qanat_a A.\n# TYPE qanat_a gauge\nqanat_a{x=\"q\\\"b\\\\n\\nz\\\\x1b\\\\xff\"} 1\n");
}

TEST(MetricsPage, HistogramsAreCumulated) {
    MetricsPage page;
    page.family("h_seconds", Kind::histogram, "H.");
    const std::array<double, 2> bounds{0.5, 1};
    const std::array<uint64_t, 3> counts{2, 0, 3};
    page.histogram(bounds, counts, 7.25, {{"engine", "1"}});
    EXPECT_EQ(page.text(),
              "# HELP qanat_h_seconds H.\n"
              "# TYPE qanat_h_seconds histogram\n"
              "qanat_h_seconds_bucket{engine=\"1\",le=\"0.5\"} 2\n"
              "qanat_h_seconds_bucket{engine=\"1\",le=\"1\"} 2\n"
              "qanat_h_seconds_bucket{engine=\"1\",le=\"+Inf\"} 5\n"
              "qanat_h_seconds_sum{engine=\"1\"} 7.25\n"
              "qanat_h_seconds_count{engine=\"1\"} 5\n");
}

TEST(ProcessMetrics, DescriptorsThatCannotBeSeenAreLeftOut) {
    MetricsPage page;
    ProcessSample sample;
    sample.version = "1.2.3";
    sample.role = "node";
    sample.control_plane_descriptors = 9;
    add_process_metrics(page, sample);
    EXPECT_NE(page.text().find("\nqanat_build_info{version=\"1.2.3\",role=\"node\"} 1\n"), std::string::npos);
    EXPECT_NE(page.text().find("\nqanat_open_descriptors{process=\"control_plane\"} 9\n"), std::string::npos);
    EXPECT_EQ(page.text().find("process=\"data_plane\""), std::string::npos);
}

}  // namespace
}  // namespace qanat::controlplane
