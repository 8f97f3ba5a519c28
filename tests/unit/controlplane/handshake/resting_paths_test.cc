#include "controlplane/handshake/resting_paths.h"

#include <gtest/gtest.h>

namespace qanat::controlplane {
namespace {

constexpr Instant kStart{std::chrono::seconds(100)};

class RestingPathsTest : public testing::Test {
protected:
    [[nodiscard]] std::vector<NodePath> order(Instant at) const { return resting_.in_order({first_, second_}, at); }

    const NodePath first_{.via = {1}, .addrs = {}};
    const NodePath second_{.via = {2}, .addrs = {}};
    RestingPaths resting_;
};

TEST_F(RestingPathsTest, OneThatFailedComesLastForAWhile) {
    EXPECT_EQ(order(kStart), (std::vector{first_, second_}));
    resting_.failed(first_, kStart);
    EXPECT_EQ(order(kStart), (std::vector{second_, first_}));
    const Instant rested = kStart + RestingPaths::kRest;
    EXPECT_EQ(order(rested - std::chrono::milliseconds(1)), (std::vector{second_, first_}));
    EXPECT_EQ(order(rested), (std::vector{first_, second_}));
}

TEST_F(RestingPathsTest, FailingAgainIsRestingAgain) {
    resting_.failed(first_, kStart);
    resting_.failed(first_, kStart + std::chrono::seconds(20));
    resting_.forget_rested(kStart + RestingPaths::kRest);
    EXPECT_EQ(order(kStart + RestingPaths::kRest), (std::vector{second_, first_}));
}

TEST_F(RestingPathsTest, ThoseThatFailedKeepTheirOrder) {
    resting_.failed(second_, kStart);
    resting_.failed(first_, kStart);
    EXPECT_EQ(order(kStart), (std::vector{first_, second_}));
}

TEST_F(RestingPathsTest, WorkingEndsTheRestAndSoDoesAnotherSetOfPaths) {
    resting_.failed(first_, kStart);
    resting_.worked(first_);
    EXPECT_EQ(order(kStart), (std::vector{first_, second_}));
    resting_.failed(first_, kStart);
    resting_.keep_only({second_});
    EXPECT_EQ(order(kStart), (std::vector{first_, second_}));
}

}  // namespace
}  // namespace qanat::controlplane
