#include "dataplane/tunnel/byte_rate.h"

#include <gtest/gtest.h>

#include <thread>
#include <vector>

namespace qanat::dataplane {
namespace {

constexpr uint64_t kSecond = 1'000'000'000;
constexpr uint64_t kNow = 1000 * kSecond;

TEST(ByteRate, WithoutARateThereIsNoLimit) {
    ByteRate rate;
    rate.take(0, 1 << 30, kNow);
    EXPECT_EQ(rate.allowance(0, kNow), ByteRate::kUnlimited);
    EXPECT_TRUE(rate.full(kNow));
}

TEST(ByteRate, ABucketHoldsAQuarterSecondAndNeverLessThanAPipe) {
    EXPECT_EQ(ByteRate::burst(1), 256u * 1024);
    EXPECT_EQ(ByteRate::burst(4 * 256 * 1024), 256u * 1024);
    EXPECT_EQ(ByteRate::burst(4 * 256 * 1024 + 4), 256u * 1024 + 1);
    ByteRate rate;
    EXPECT_EQ(rate.allowance(8'000'000, kNow), 2'000'000u);
    EXPECT_EQ(rate.allowance(8'000'000, kNow + 100 * kSecond), 2'000'000u);
}

TEST(ByteRate, WhatIsTakenComesBackAtTheRate) {
    constexpr uint64_t kRate = 8'000'000;
    ByteRate rate;
    rate.take(kRate, 2'000'000, kNow);
    EXPECT_EQ(rate.allowance(kRate, kNow), 0u);
    EXPECT_EQ(rate.allowance(kRate, kNow + kSecond / 8), 1'000'000u);
    EXPECT_EQ(rate.allowance(kRate, kNow + kSecond / 4), 2'000'000u);
    EXPECT_FALSE(rate.full(kNow + kSecond / 4 - 1));
    EXPECT_TRUE(rate.full(kNow + kSecond / 4));
}

TEST(ByteRate, LessThanAQuantumIsNothing) {
    constexpr uint64_t kRate = 8'000'000;
    ASSERT_EQ(ByteRate::quantum(kRate), 500'000u);
    ByteRate rate;
    rate.take(kRate, 1'500'000, kNow);
    EXPECT_EQ(rate.allowance(kRate, kNow), 500'000u);
    rate.take(kRate, 8, kNow);
    EXPECT_EQ(rate.allowance(kRate, kNow), 0u);
    EXPECT_EQ(rate.allowance(kRate, kNow + 1000), 500'000u);
}

TEST(ByteRate, DebtIsWaitedForExactlyAtAnyRate) {
    for (const uint64_t bytes_per_second :
         {uint64_t{1}, uint64_t{10'000}, uint64_t{1'000'000}, uint64_t{10'000'000'000}, uint64_t{1} << 50}) {
        ByteRate rate;
        rate.take(bytes_per_second, 3 * ByteRate::burst(bytes_per_second), kNow);
        const uint64_t next = rate.next_ns(bytes_per_second);
        EXPECT_GT(next, kNow) << bytes_per_second;
        EXPECT_EQ(rate.allowance(bytes_per_second, kNow), 0u) << bytes_per_second;
        EXPECT_GT(rate.allowance(bytes_per_second, next + 1), 0u) << bytes_per_second;
        if (bytes_per_second < 1'000'000'000) {
            EXPECT_EQ(rate.allowance(bytes_per_second, next - 10), 0u);
        }
    }
}

TEST(ByteRate, NothingIsLostBetweenEngines) {
    constexpr uint64_t kRate = 1'000'000;
    ByteRate rate;
    std::vector<std::thread> engines;
    for (int i = 0; i < 4; ++i)
        engines.emplace_back([&] {
            for (int taken = 0; taken < 10'000; ++taken) rate.take(kRate, 100, kNow);
        });
    for (std::thread& engine : engines) engine.join();
    EXPECT_FALSE(rate.full(kNow + 4 * kSecond - 1));
    EXPECT_TRUE(rate.full(kNow + 4 * kSecond));
}

}  // namespace
}  // namespace qanat::dataplane
