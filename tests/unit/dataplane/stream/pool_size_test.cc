#include "dataplane/stream/pool_size.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace qanat::dataplane {
namespace {

constexpr uint64_t kMs = 1'000'000;
constexpr uint64_t kS = 1000 * kMs;

struct Demand {
    uint64_t at_ns;
    uint32_t streams;
};

struct Row {
    std::string name;
    uint64_t refill_ns;  // measured; 0: nothing was
    std::vector<Demand> demand;
    uint64_t asked_ns;
    uint32_t wanted;
};

class Table : public ::testing::TestWithParam<Row> {};

TEST_P(Table, Wants) {
    const Row& row = GetParam();
    PoolSize size;
    if (row.refill_ns != 0) size.on_made(row.refill_ns);
    for (const Demand& demand : row.demand) size.on_demand(demand.at_ns, demand.streams);
    EXPECT_EQ(size.wanted(row.asked_ns), row.wanted);
}

constexpr uint64_t kMemory = PoolSize::kMemoryNs;

INSTANTIATE_TEST_SUITE_P(
    PoolSize, Table,
    ::testing::Values(
        Row{"Nothing", 0, {}, 5 * kS, 0},                                             //
        Row{"OneStream", 0, {{5 * kS, 1}}, 5 * kS, 1},                                //
        Row{"OneStreamAtTheStartOfTime", 0, {{0, 1}}, 0, 1},                          //
        Row{"OneStreamAlmostAMinuteAgo", 0, {{5 * kS, 1}}, 5 * kS + kMemory - 1, 1},  //
        Row{"OneStreamAMinuteAgo", 0, {{5 * kS, 1}}, 5 * kS + kMemory, 0},            //
        Row{"BurstAtOnce", 100 * kMs, {{5 * kS, 12}}, 5 * kS, 12},                    //
        Row{"BurstOneByOne", 100 * kMs, {{kS, 1}, {kS + 1, 1}, {kS + 199 * kMs, 1}}, 2 * kS, 3},
        Row{"NotABurst", 100 * kMs, {{kS, 1}, {kS + 200 * kMs, 1}, {kS + 400 * kMs, 1}}, 2 * kS, 1},
        Row{"HalfOfABurstAfterHalfAMinute", 100 * kMs, {{kS, 12}}, kS + kMemory / 2, 6},
        Row{"RoundedUp", 100 * kMs, {{kS, 12}}, kS + kMemory / 2 + 1, 6},
        Row{"BurstAlmostGone", 100 * kMs, {{kS, 12}}, kS + kMemory - 1, 1},
        Row{"BurstGone", 100 * kMs, {{kS, 12}}, kS + kMemory, 0},
        Row{"OldBurstAndOneStream", 100 * kMs, {{kS, 12}, {kS + 50 * kS, 1}}, kS + kMemory + 49 * kS, 1},
        Row{"OldBurstAndOneStreamGone", 100 * kMs, {{kS, 12}, {kS + 50 * kS, 1}}, kS + kMemory + 50 * kS, 0},
        Row{"SmallerBurstDoesNotHideALargerOne", 100 * kMs, {{kS, 12}, {2 * kS, 3}}, 2 * kS, 12},
        Row{"LargerBurstCounts", 100 * kMs, {{kS, 3}, {2 * kS, 12}}, 2 * kS, 12},
        Row{"MoreThanEver", 100 * kMs, {{kS, UINT32_MAX}, {kS, UINT32_MAX}}, kS, PoolSize::kWantedMax}),
    [](const auto& row) { return row.param.name; });

TEST(PoolSize, ASteadyRateWantsTwoRefillTimesOfIt) {
    PoolSize size;
    size.on_made(50 * kMs);
    for (uint64_t i = 0; i < 1000; ++i) size.on_demand(kS + i * 10 * kMs);  // 100 a second
    EXPECT_EQ(size.wanted(kS + 9990 * kMs), 10u);
}

TEST(PoolSize, TheRefillTimeIsAnAverageWithinBounds) {
    PoolSize size;
    EXPECT_EQ(size.refill_ns(), PoolSize::kRefillFirstNs);
    size.on_made(1);
    EXPECT_EQ(size.refill_ns(), PoolSize::kRefillMinNs);
    size.on_made(85 * kMs);
    EXPECT_EQ(size.refill_ns(), 15 * kMs);
    for (int i = 0; i < 200; ++i) size.on_made(UINT64_MAX);
    EXPECT_LE(size.refill_ns(), PoolSize::kRefillMaxNs);
    EXPECT_GT(size.refill_ns(), PoolSize::kRefillMaxNs * 9 / 10);
}

}  // namespace
}  // namespace qanat::dataplane
