#include "dataplane/tunnel/pool_share.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>

namespace qanat::dataplane {
namespace {

TEST(PoolShare, as_much_as_is_free) {
    const struct {
        uint32_t held, available, room;
    } kTable[] = {{0, 0, 0}, {0, 1, 1}, {0, 2, 1}, {0, 64, 32}, {1, 1, 0},  {1, 2, 1},
                  {5, 0, 0}, {5, 5, 0}, {5, 6, 1}, {5, 9, 2},   {32, 32, 0}};
    for (const auto& row : kTable)
        EXPECT_EQ(PoolShare::room(row.held, row.available), row.room) << row.held << " of " << row.available;
}

// Takes all that it may, as often as it may.
uint32_t take_all(uint32_t held, uint32_t& available) {
    while (const uint32_t taken = PoolShare::room(held, available)) {
        held += taken;
        available -= taken;
    }
    return held;
}

TEST(PoolShare, who_keeps_all_that_it_gets_leaves_half) {
    uint32_t available = 1024;
    for (const uint32_t left : {512U, 256U, 128U, 64U}) {
        EXPECT_EQ(take_all(0, available), left);
        EXPECT_EQ(available, left);
    }
    available = 1;
    EXPECT_EQ(take_all(0, available), 1U);
}

TEST(PoolShare, those_that_give_back_come_to_equal_shares) {
    uint32_t available = 1200;
    std::array<uint32_t, 2> held{};
    for (int turn = 0; turn < 100; ++turn)
        for (uint32_t& mine : held) {
            mine = take_all(mine, available);
            const uint32_t back = std::min(mine, 30U);
            mine -= back;
            available += back;
        }
    for (const uint32_t mine : held) EXPECT_NEAR(mine, 400, 60);
}

}  // namespace
}  // namespace qanat::dataplane
