#include "controlplane/discovery/directory.h"

#include <gtest/gtest.h>

#include "tests/unit/controlplane/discovery/announcements.h"

namespace qanat::controlplane {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

constexpr uint64_t kUnixMs = 1'700'000'000'000;
constexpr uint64_t kTolerance = kClockToleranceMs;
const Instant kNow{seconds(1000)};

Announcement said(uint32_t node, uint64_t sequence = kUnixMs) {
    Announcement announcement = announcement_of(node);
    announcement.sequence = sequence;
    return announcement;
}

Announcement leaving(uint32_t node, uint64_t sequence) {
    Announcement announcement = said(node, sequence);
    announcement.leaving = true;
    return announcement;
}

TEST(Directory, KnowsWhatWasSaidLast) {
    Directory directory;
    EXPECT_TRUE(directory.take(said(1), kUnixMs, kNow));
    EXPECT_TRUE(directory.take(said(2), kUnixMs, kNow));
    EXPECT_EQ(directory.size(), 2U);
    EXPECT_FALSE(directory.take(said(1), kUnixMs, kNow));               // the same once more
    EXPECT_FALSE(directory.take(said(1, kUnixMs + 1), kUnixMs, kNow));  // renewed, nothing new in it
    Announcement changed = said(1, kUnixMs + 2);
    changed.load = 1;
    EXPECT_TRUE(directory.take(changed, kUnixMs, kNow));
    ASSERT_EQ(directory.nodes().size(), 2U);
    EXPECT_EQ(*directory.nodes()[0], changed);
    for (size_t i = 0; i < kIgnoredReasons; ++i) EXPECT_EQ(directory.ignored(static_cast<IgnoredReason>(i)), 0U);
}

TEST(Directory, ReplaysAreIgnored) {
    Directory directory;
    EXPECT_TRUE(directory.take(said(1, kUnixMs + 10), kUnixMs, kNow));
    Announcement old = said(1, kUnixMs + 9);
    old.load = 77;
    EXPECT_FALSE(directory.take(old, kUnixMs, kNow));
    EXPECT_EQ(directory.ignored(IgnoredReason::replayed), 1U);
    EXPECT_EQ(directory.nodes()[0]->load, 1234U);
    // A leaving that was true once does not end the node now.
    EXPECT_FALSE(directory.take(leaving(1, kUnixMs + 9), kUnixMs, kNow));
    EXPECT_EQ(directory.size(), 1U);
    EXPECT_EQ(directory.ignored(IgnoredReason::replayed), 2U);
}

TEST(Directory, WhoLeftDoesNotComeBackByAReplay) {
    Directory directory;
    EXPECT_TRUE(directory.take(said(1, kUnixMs), kUnixMs, kNow));
    EXPECT_TRUE(directory.take(leaving(1, kUnixMs + 5), kUnixMs, kNow));
    EXPECT_EQ(directory.size(), 0U);
    EXPECT_FALSE(directory.take(leaving(1, kUnixMs + 5), kUnixMs, kNow));
    EXPECT_FALSE(directory.take(said(1, kUnixMs + 4), kUnixMs, kNow));
    EXPECT_EQ(directory.ignored(IgnoredReason::replayed), 1U);
    EXPECT_TRUE(directory.take(said(1, kUnixMs + 6), kUnixMs, kNow));  // started again
    // As long as the replay would not be stale by itself.
    EXPECT_TRUE(directory.take(leaving(1, kUnixMs + 7), kUnixMs, kNow));
    const uint64_t stale_at = kUnixMs + 7 + 60'000 + kTolerance;
    directory.expire(stale_at, kNow);
    EXPECT_FALSE(directory.take(said(1, kUnixMs + 6), stale_at, kNow));
    EXPECT_EQ(directory.ignored(IgnoredReason::stale), 1U);
    // Known from its leaving alone.
    EXPECT_FALSE(directory.take(leaving(2, kUnixMs + 5), kUnixMs, kNow));
    EXPECT_FALSE(directory.take(said(2, kUnixMs + 4), kUnixMs, kNow));
    EXPECT_EQ(directory.size(), 0U);
}

TEST(Directory, ClocksMayDifferByTheToleranceAndNoMore) {
    struct Case {
        uint64_t sequence;
        std::optional<IgnoredReason> ignored;
    };
    const Case cases[] = {
        {kUnixMs + kTolerance, std::nullopt},
        {kUnixMs + kTolerance + 1, IgnoredReason::clock},
        {UINT64_MAX, IgnoredReason::clock},
        {kUnixMs - 60'000 - kTolerance, std::nullopt},
        {kUnixMs - 60'000 - kTolerance - 1, IgnoredReason::stale},
        {0, IgnoredReason::stale},
    };
    for (const Case& c : cases) {
        Directory directory;
        EXPECT_EQ(directory.take(said(1, c.sequence), kUnixMs, kNow), !c.ignored) << c.sequence;
        if (c.ignored) {
            EXPECT_EQ(directory.ignored(*c.ignored), 1U) << c.sequence;
        }
    }
}

TEST(Directory, RunsOutOnlyWhileRedisIsReachable) {
    Directory directory;
    EXPECT_TRUE(directory.take(said(1), kUnixMs, kNow));
    EXPECT_FALSE(directory.expire(kUnixMs, kNow + seconds(3600)));
    // Back: the node has its whole time to renew.
    const Instant back = kNow + seconds(3600);
    directory.reached(back);
    EXPECT_TRUE(directory.reachable());
    EXPECT_FALSE(directory.expire(kUnixMs, back + seconds(60) - milliseconds(1)));
    directory.reached(back + seconds(30));  // the next reading changes nothing
    EXPECT_TRUE(directory.expire(kUnixMs, back + seconds(60)));
    EXPECT_EQ(directory.size(), 0U);
    EXPECT_FALSE(directory.expire(kUnixMs, back + seconds(61)));
    // What expired needs something newer.
    EXPECT_FALSE(directory.take(said(1), kUnixMs, back));
    EXPECT_TRUE(directory.take(said(1, kUnixMs + 1), kUnixMs, back));
}

TEST(Directory, RenewingKeepsANode) {
    Directory directory;
    directory.reached(kNow);
    EXPECT_TRUE(directory.take(said(1), kUnixMs, kNow));
    EXPECT_FALSE(directory.take(said(1, kUnixMs + 1), kUnixMs, kNow + seconds(50)));
    EXPECT_FALSE(directory.expire(kUnixMs, kNow + seconds(109)));
    // Read again from Redis, but not renewed: no longer life for it.
    EXPECT_FALSE(directory.take(said(1, kUnixMs + 1), kUnixMs, kNow + seconds(109)));
    EXPECT_TRUE(directory.expire(kUnixMs, kNow + seconds(110)));
}

TEST(Directory, LosingRedisStopsTheClock) {
    Directory directory;
    directory.reached(kNow);
    EXPECT_TRUE(directory.take(said(1), kUnixMs, kNow));
    directory.lost();
    EXPECT_FALSE(directory.expire(kUnixMs, kNow + seconds(100)));
    directory.reached(kNow + seconds(100));
    EXPECT_FALSE(directory.expire(kUnixMs, kNow + seconds(159)));
    EXPECT_TRUE(directory.expire(kUnixMs, kNow + seconds(160)));
}

TEST(Directory, Full) {
    Directory directory(3);
    for (uint32_t i = 1; i <= 2; ++i) EXPECT_TRUE(directory.take(said(i), kUnixMs, kNow));
    EXPECT_TRUE(directory.take(said(3), kUnixMs, kNow));
    EXPECT_FALSE(directory.take(said(4), kUnixMs, kNow));
    EXPECT_EQ(directory.ignored(IgnoredReason::full), 1U);
    EXPECT_EQ(directory.size(), 3U);
    // Those that are known can still change and leave, and make room.
    Announcement changed = said(3, kUnixMs + 1);
    changed.streams = 9;
    EXPECT_TRUE(directory.take(changed, kUnixMs, kNow));
    EXPECT_TRUE(directory.take(leaving(3, kUnixMs + 2), kUnixMs, kNow));
    EXPECT_TRUE(directory.take(said(4, kUnixMs + 1), kUnixMs, kNow));
}

TEST(Directory, TheMemoryOfWhoIsGoneIsBounded) {
    Directory directory(2);
    for (uint32_t i = 0; i < 10; ++i) {
        EXPECT_TRUE(directory.take(said(i), kUnixMs, kNow));
        EXPECT_TRUE(directory.take(leaving(i, kUnixMs + 1), kUnixMs, kNow));
        EXPECT_FALSE(directory.take(leaving(100 + i, kUnixMs + 1), kUnixMs, kNow));
    }
    EXPECT_EQ(directory.size(), 0U);
}

TEST(NextSequence, GrowsWhateverTheClockDoes) {
    EXPECT_EQ(next_sequence(0, kUnixMs), kUnixMs);
    EXPECT_EQ(next_sequence(kUnixMs - 1, kUnixMs), kUnixMs);
    EXPECT_EQ(next_sequence(kUnixMs, kUnixMs), kUnixMs + 1);
    EXPECT_EQ(next_sequence(kUnixMs + kTolerance, kUnixMs), kUnixMs + kTolerance + 1);
    EXPECT_EQ(next_sequence(kUnixMs + kTolerance + 1, kUnixMs), kUnixMs);
    EXPECT_EQ(next_sequence(UINT64_MAX, kUnixMs), kUnixMs);
}

TEST(IgnoredReason, EachHasAName) {
    EXPECT_EQ(name_of(IgnoredReason::malformed), "malformed");
    EXPECT_EQ(name_of(IgnoredReason::full), "full");
    EXPECT_EQ(reason_of(AnnouncementError::forged), IgnoredReason::forged);
    EXPECT_EQ(reason_of(AnnouncementError::moved), IgnoredReason::moved);
    EXPECT_EQ(reason_of(AnnouncementError::malformed), IgnoredReason::malformed);
}

}  // namespace
}  // namespace qanat::controlplane
