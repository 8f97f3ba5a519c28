#include "controlplane/handshake/client_punches.h"

#include <gtest/gtest.h>

namespace qanat::controlplane {
namespace {

constexpr Instant kStart{std::chrono::seconds(100)};

ClientPunches::Question question(uint32_t node, uint64_t punch, Duration after) {
    return {.node = node, .engine = 1, .punch = punch, .observed = {}, .until = kStart + after};
}

TEST(ClientPunches, OnlyTheNodeThatWasAskedAnswersAndOnlyOnce) {
    ClientPunches punches;
    EXPECT_TRUE(punches.add(7, question(3, 70, std::chrono::seconds(5))));
    EXPECT_FALSE(punches.add(7, question(3, 71, std::chrono::seconds(5))));
    EXPECT_FALSE(punches.take(8, 3));
    EXPECT_FALSE(punches.take(7, 4));
    const auto taken = punches.take(7, 3);
    ASSERT_TRUE(taken);
    EXPECT_EQ(taken->punch, 70u);
    EXPECT_FALSE(punches.take(7, 3));
}

TEST(ClientPunches, WhatIsOverdueIsGivenBackAtItsTime) {
    ClientPunches punches;
    EXPECT_FALSE(punches.deadline());
    EXPECT_TRUE(punches.add(1, question(3, 10, std::chrono::seconds(5))));
    EXPECT_TRUE(punches.add(2, question(4, 20, std::chrono::seconds(2))));
    EXPECT_EQ(punches.deadline(), kStart + std::chrono::seconds(2));
    EXPECT_TRUE(punches.take_overdue(kStart + std::chrono::milliseconds(1999)).empty());
    const auto overdue = punches.take_overdue(kStart + std::chrono::seconds(2));
    ASSERT_EQ(overdue.size(), 1u);
    EXPECT_EQ(overdue[0].punch, 20u);
    EXPECT_EQ(punches.deadline(), kStart + std::chrono::seconds(5));
}

TEST(ClientPunches, ANodeThatIsGoneGivesBackItsOwn) {
    ClientPunches punches;
    for (uint64_t token = 0; token < 6; ++token)
        EXPECT_TRUE(punches.add(token, question(static_cast<uint32_t>(token % 2), token, std::chrono::seconds(5))));
    EXPECT_EQ(punches.take_of(1).size(), 3u);
    EXPECT_TRUE(punches.take_of(1).empty());
    EXPECT_TRUE(punches.take(0, 0));
}

TEST(ClientPunches, HasACap) {
    ClientPunches punches;
    for (uint64_t token = 0; token < ClientPunches::kMax; ++token) {
        EXPECT_FALSE(punches.full());
        EXPECT_TRUE(punches.add(token, question(0, token, std::chrono::seconds(5))));
    }
    EXPECT_TRUE(punches.full());
    punches.clear();
    EXPECT_FALSE(punches.full());
}

}  // namespace
}  // namespace qanat::controlplane
