#include "dataplane/engine/timers.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <memory>
#include <random>
#include <vector>

namespace qanat::dataplane {
namespace {

constexpr uint64_t kTick = TimerWheel::kTickNs;
constexpr uint64_t kStart = 1000 * kTick;

TEST(TimerWheel, FiresAtTheDeadlineOrOneTickLaterNeverEarlier) {
    for (uint64_t delay : {uint64_t{0}, uint64_t{1}, kTick - 1, kTick, kTick + 1, 1023 * kTick, 1024 * kTick,
                           1025 * kTick, 5000 * kTick}) {
        TimerWheel wheel(kStart);
        Timer timer;
        wheel.arm(timer, kStart + delay);
        if (delay > 0) {
            EXPECT_EQ(wheel.expired(kStart + delay - 1), nullptr) << delay;
        }
        EXPECT_LE(wheel.next_ns(), kStart + delay + kTick) << delay;
        EXPECT_EQ(wheel.expired(kStart + delay + kTick), &timer) << delay;
        EXPECT_FALSE(timer.armed());
        EXPECT_EQ(wheel.next_ns(), TimerWheel::kNever);
    }
}

TEST(TimerWheel, ArmingAgainMovesAndDisarmingForgets) {
    TimerWheel wheel(kStart);
    Timer a;
    Timer b;
    wheel.arm(a, kStart + 10 * kTick);
    wheel.arm(b, kStart + 10 * kTick);
    wheel.arm(a, kStart + 20 * kTick);
    wheel.disarm(b);
    wheel.disarm(b);
    EXPECT_EQ(wheel.expired(kStart + 15 * kTick), nullptr);
    EXPECT_EQ(wheel.expired(kStart + 21 * kTick), &a);
    EXPECT_EQ(wheel.expired(kStart + 100 * kTick), nullptr);
}

TEST(TimerWheel, ATimerMayArmOthersWhileItFires) {
    TimerWheel wheel(kStart);
    Timer a;
    Timer b;
    wheel.arm(a, kStart + kTick);
    ASSERT_EQ(wheel.expired(kStart + 2 * kTick), &a);
    wheel.arm(b, kStart);  // in the past: due at once
    EXPECT_EQ(wheel.expired(kStart + 2 * kTick), &b);
    wheel.arm(a, kStart + 2 * kTick);
    EXPECT_EQ(wheel.expired(kStart + 3 * kTick), &a);
}

TEST(TimerWheel, SurvivesALongSleep) {
    TimerWheel wheel(kStart);
    Timer early;
    Timer late;
    wheel.arm(early, kStart + 3 * kTick);
    wheel.arm(late, kStart + 100'000 * kTick);
    EXPECT_EQ(wheel.expired(kStart + 50'000 * kTick), &early);
    EXPECT_EQ(wheel.expired(kStart + 50'000 * kTick), nullptr);
    EXPECT_EQ(wheel.expired(kStart + 100'001 * kTick), &late);
}

// Against a plain sorted map, with random operations: everything due fires, in time, once.
TEST(TimerWheel, BehavesLikeASortedMap) {
    for (unsigned seed = 1; seed <= 20; ++seed) {
        std::mt19937_64 random(seed);
        TimerWheel wheel(kStart);
        std::vector<std::unique_ptr<Timer>> timers;
        for (int i = 0; i < 100; ++i) timers.push_back(std::make_unique<Timer>());
        std::map<Timer*, uint64_t> model;
        uint64_t now = kStart;
        for (int step = 0; step < 3000; ++step) {
            Timer* timer = timers[random() % timers.size()].get();
            switch (random() % 3) {
                case 0: {
                    const uint64_t deadline = now + random() % (random() % 4 == 0 ? 3000 * kTick : 20 * kTick);
                    wheel.arm(*timer, deadline);
                    model[timer] = deadline;
                    break;
                }
                case 1:
                    wheel.disarm(*timer);
                    model.erase(timer);
                    break;
                default: {
                    now += random() % (random() % 50 == 0 ? 2000 * kTick : 2 * kTick);
                    uint64_t earliest = TimerWheel::kNever;
                    for (const auto& [unused, deadline] : model) earliest = std::min(earliest, deadline);
                    if (earliest != TimerWheel::kNever) {
                        ASSERT_LE(wheel.next_ns(), std::max(earliest + kTick, now));
                    }
                    while (Timer* fired = wheel.expired(now)) {
                        ASSERT_TRUE(model.contains(fired));
                        ASSERT_LE(model[fired], now);
                        model.erase(fired);
                    }
                    for (const auto& [unused, deadline] : model) ASSERT_GT(deadline + kTick, now) << "seed " << seed;
                }
            }
        }
        for (auto& timer : timers) wheel.disarm(*timer);
    }
}

}  // namespace
}  // namespace qanat::dataplane
