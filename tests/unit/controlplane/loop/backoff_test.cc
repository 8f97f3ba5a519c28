#include "controlplane/loop/backoff.h"

#include <gtest/gtest.h>

namespace qanat::controlplane {
namespace {

using std::chrono::milliseconds;

TEST(Backoff, DoublesUpToTheMaximum) {
    Backoff backoff(milliseconds(200), milliseconds(10000));
    // Random 0 takes nothing off.
    for (const int expected : {200, 400, 800, 1600, 3200, 6400, 10000, 10000})
        EXPECT_EQ(backoff.next(0), milliseconds(expected));
    backoff.reset();
    EXPECT_EQ(backoff.next(0), milliseconds(200));
}

TEST(Backoff, JitterStaysBetweenHalfAndWhole) {
    for (uint64_t random = 0; random < 1000; ++random) {
        Backoff backoff(milliseconds(200), milliseconds(10000));
        const Duration wait = backoff.next(random);
        EXPECT_GE(wait, milliseconds(100));
        EXPECT_LE(wait, milliseconds(200));
    }
    Backoff backoff(milliseconds(200), milliseconds(10000));
    EXPECT_EQ(backoff.next(100), milliseconds(100));
}

TEST(Backoff, TinySteps) {
    Backoff backoff(milliseconds(1), milliseconds(3));
    EXPECT_EQ(backoff.next(~uint64_t{0}), milliseconds(1));
    EXPECT_GE(backoff.next(~uint64_t{0}), milliseconds(1));
    EXPECT_LE(backoff.next(~uint64_t{0}), milliseconds(3));
}

}  // namespace
}  // namespace qanat::controlplane
