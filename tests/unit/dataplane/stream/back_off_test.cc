#include "dataplane/stream/back_off.h"

#include <gtest/gtest.h>

#include <array>

namespace qanat::dataplane {
namespace {

constexpr uint64_t kMs = 1'000'000;
constexpr uint64_t kS = 1000 * kMs;
// The pause is three quarters of its nominal length with random = 0.
constexpr uint64_t kShortest = 0;

TEST(BackOff, DoublesWithEachFailureUpToTheMaximum) {
    BackOff back_off;
    uint64_t now = 100 * kS;
    EXPECT_TRUE(back_off.ready(now));
    constexpr std::array<uint64_t, 9> kPausesMs{375, 750, 1500, 3000, 6000, 12'000, 22'500, 22'500, 22'500};
    for (const uint64_t pause : kPausesMs) {
        back_off.fail(now, kShortest);
        EXPECT_FALSE(back_off.ready(now + pause * kMs - 1)) << pause;
        EXPECT_TRUE(back_off.ready(now + pause * kMs)) << pause;
        now += pause * kMs;
    }
    back_off.succeed();
    back_off.fail(now, kShortest);
    EXPECT_TRUE(back_off.ready(now + 375 * kMs));
}

TEST(BackOff, JitterStaysWithinAQuarter) {
    for (const uint64_t random : {uint64_t{0}, uint64_t{1}, uint64_t{249'999'999}, UINT64_MAX}) {
        BackOff back_off;
        back_off.fail(0, random);
        EXPECT_FALSE(back_off.ready(375 * kMs - 1));
        EXPECT_TRUE(back_off.ready(625 * kMs));
    }
}

TEST(BackOff, FailuresDuringThePauseDoNotCount) {
    BackOff back_off;
    back_off.fail(0, kShortest);
    for (int i = 0; i < 100; ++i) back_off.fail(kMs, kShortest);
    EXPECT_TRUE(back_off.ready(375 * kMs));
    back_off.fail(375 * kMs, kShortest);
    EXPECT_TRUE(back_off.ready((375 + 750) * kMs));
}

TEST(BackOff, ARestIsNeverShortened) {
    BackOff back_off;
    back_off.rest(0, 10 * kS);
    back_off.rest(kS, kS);
    back_off.succeed();
    EXPECT_FALSE(back_off.ready(10 * kS - 1));
    EXPECT_TRUE(back_off.ready(10 * kS));
}

}  // namespace
}  // namespace qanat::dataplane
