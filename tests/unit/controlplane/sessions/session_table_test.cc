#include "controlplane/sessions/session_table.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace qanat::controlplane {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;
using testing::ElementsAre;
using testing::IsEmpty;

constexpr Duration kLifetime = seconds(3600);
const Instant kStart{seconds(1000)};

PublicKey client(uint8_t number) {
    PublicKey key{};
    key[0] = number;
    return key;
}

class SessionTableTest : public testing::Test {
protected:
    std::optional<std::vector<uint64_t>> open(uint64_t id, uint8_t who, Instant now) {
        auto ended = table_.make_room(client(who), now);
        if (ended) table_.insert(id, client(who), now, kLifetime);
        return ended;
    }
    SessionTable table_{4};
};

TEST_F(SessionTableTest, ProvisionalSessionsEndAfterThirtySeconds) {
    open(1, 1, kStart);
    EXPECT_EQ(table_.provisional(), 1u);
    EXPECT_THAT(table_.expire(kStart + seconds(30) - milliseconds(1)), IsEmpty());
    EXPECT_THAT(table_.expire(kStart + seconds(30)), ElementsAre(1));
    EXPECT_EQ(table_.size(), 0u);
    EXPECT_EQ(table_.provisional(), 0u);
    EXPECT_FALSE(table_.confirm(1));
}

TEST_F(SessionTableTest, ConfirmedSessionsLiveTheirLifetime) {
    open(1, 1, kStart);
    EXPECT_TRUE(table_.confirm(1));
    EXPECT_TRUE(table_.confirm(1));
    EXPECT_EQ(table_.provisional(), 0u);
    EXPECT_THAT(table_.expire(kStart + kLifetime - milliseconds(1)), IsEmpty());
    EXPECT_THAT(table_.expire(kStart + kLifetime), ElementsAre(1));
}

TEST_F(SessionTableTest, AClosedControlConnectionLeavesSixtySeconds) {
    open(1, 1, kStart);
    table_.confirm(1);
    table_.control_closed(1, kStart + seconds(100));
    EXPECT_THAT(table_.expire(kStart + seconds(160) - milliseconds(1)), IsEmpty());
    EXPECT_THAT(table_.expire(kStart + seconds(160)), ElementsAre(1));
}

TEST_F(SessionTableTest, ClosingNeverMakesASessionLiveLonger) {
    open(1, 1, kStart);
    table_.confirm(1);
    table_.control_closed(1, kStart + kLifetime - seconds(1));
    EXPECT_THAT(table_.expire(kStart + kLifetime), ElementsAre(1));

    open(2, 1, kStart);
    table_.control_closed(2, kStart + seconds(29));  // provisional
    EXPECT_THAT(table_.expire(kStart + seconds(30)), ElementsAre(2));
}

TEST_F(SessionTableTest, ConfirmedAfterItsControlConnectionClosed) {
    open(1, 1, kStart);
    table_.control_closed(1, kStart + seconds(1));
    EXPECT_TRUE(table_.confirm(1));  // by a stream
    EXPECT_THAT(table_.expire(kStart + seconds(30)), ElementsAre(1));
}

TEST_F(SessionTableTest, AtMostTwoProvisionalPerClientTheOldestGoes) {
    EXPECT_THAT(open(1, 1, kStart), testing::Optional(IsEmpty()));
    EXPECT_THAT(open(2, 1, kStart), testing::Optional(IsEmpty()));
    EXPECT_THAT(open(3, 1, kStart), testing::Optional(ElementsAre(1)));
    EXPECT_EQ(table_.size(), 2u);
    // Another client is not concerned.
    EXPECT_THAT(open(4, 2, kStart), testing::Optional(IsEmpty()));
}

TEST_F(SessionTableTest, ProvisionalNeverReplacesConfirmed) {
    open(1, 1, kStart);
    table_.confirm(1);
    for (uint64_t id = 2; id < 20; ++id) open(id, 1, kStart);
    EXPECT_TRUE(table_.contains(1));
    EXPECT_EQ(table_.size(), 3u);
}

TEST_F(SessionTableTest, AFullTableRefusesOrGivesUpWhatNobodyNeeds) {
    for (uint8_t who = 1; who <= 4; ++who) {
        open(who, who, kStart);
        table_.confirm(who);
    }
    EXPECT_EQ(open(5, 5, kStart), std::nullopt);
    table_.control_closed(3, kStart);
    EXPECT_THAT(open(5, 5, kStart), testing::Optional(ElementsAre(3)));
    EXPECT_EQ(table_.size(), 4u);
}

TEST_F(SessionTableTest, AFullTableEndsProvisionalSessionsThatAreNotFresh) {
    for (uint8_t who = 1; who <= 4; ++who) open(who, who, kStart);
    EXPECT_EQ(open(5, 5, kStart + SessionTable::kUntouchableTime - milliseconds(1)), std::nullopt);
    const auto ended = open(5, 5, kStart + SessionTable::kUntouchableTime);
    ASSERT_TRUE(ended.has_value());
    EXPECT_EQ(ended->size(), 1u);
    EXPECT_EQ(table_.size(), 4u);
}

TEST(SessionTable, SessionsPerClientAreCappedLeftOversGoFirst) {
    SessionTable table(1000);
    const auto open = [&](uint64_t id) {
        auto ended = table.make_room(client(1), kStart);
        if (!ended) return false;
        table.insert(id, client(1), kStart, kLifetime);
        table.confirm(id);
        return true;
    };
    for (uint64_t id = 1; id <= SessionTable::kSessionsPerKey; ++id) EXPECT_TRUE(open(id));
    EXPECT_FALSE(open(1000));
    table.control_closed(7, kStart);
    EXPECT_TRUE(open(1000));
    EXPECT_FALSE(table.contains(7));
    EXPECT_EQ(table.size(), SessionTable::kSessionsPerKey);
}

TEST_F(SessionTableTest, ClearNamesAll) {
    open(1, 1, kStart);
    open(2, 2, kStart);
    EXPECT_THAT(table_.clear(), testing::UnorderedElementsAre(1, 2));
    EXPECT_EQ(table_.size(), 0u);
    EXPECT_EQ(table_.provisional(), 0u);
    EXPECT_THAT(table_.expire(kStart + kLifetime), IsEmpty());
}

TEST_F(SessionTableTest, SomebodyIsHereWithAConfirmedSessionAndAnOpenConnection) {
    EXPECT_FALSE(table_.is_here(client(1)));
    open(1, 1, kStart);
    EXPECT_FALSE(table_.is_here(client(1)));
    table_.confirm(1);
    EXPECT_TRUE(table_.is_here(client(1)));
    EXPECT_FALSE(table_.is_here(client(2)));
    table_.control_closed(1, kStart);
    EXPECT_FALSE(table_.is_here(client(1)));
    // A renewed session takes the place of the one before.
    open(2, 1, kStart);
    table_.confirm(2);
    EXPECT_TRUE(table_.is_here(client(1)));
}

TEST_F(SessionTableTest, EverySessionCanBeLookedAt) {
    table_.insert(7, client(2), kStart, kLifetime,
                  {.peer = *wire::Endpoint::parse("192.0.2.1:5"), .suite = crypto::Suite::chacha20_poly1305});
    open(8, 1, kStart + seconds(1));
    open(9, 2, kStart + seconds(2));
    table_.confirm(9);
    const auto views = table_.views();
    ASSERT_EQ(views.size(), 3u);
    EXPECT_EQ(views[0].client, client(1));
    EXPECT_EQ(views[1].client, client(2));
    EXPECT_EQ(views[1].made, kStart);
    EXPECT_EQ(views[1].origin.peer.format(), "192.0.2.1:5");
    EXPECT_EQ(views[1].origin.suite, crypto::Suite::chacha20_poly1305);
    EXPECT_FALSE(views[1].confirmed);
    EXPECT_TRUE(views[2].confirmed);
}

}  // namespace
}  // namespace qanat::controlplane
