#include "controlplane/metrics/metrics_server.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace qanat::controlplane {
namespace {

TEST(MetricsServer, ListensAndSaysWhenItCannot) {
    EventLoop loop;
    const auto first = MetricsServer::open(loop, *wire::Endpoint::parse("127.0.0.1:0"), [](MetricsPage&) {});
    ASSERT_TRUE(first.has_value()) << first.error().message;
    EXPECT_NE((*first)->address().port, 0);
    const auto second = MetricsServer::open(loop, (*first)->address(), [](MetricsPage&) {});
    ASSERT_FALSE(second.has_value());
    EXPECT_THAT(second.error().message,
                testing::AllOf(testing::HasSubstr("metrics.listen"), testing::HasSubstr((*first)->address().format()),
                               testing::HasSubstr("another port")));
}

}  // namespace
}  // namespace qanat::controlplane
