#include "controlplane/relay/relay_choice.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <set>
#include <utility>
#include <vector>

namespace qanat::controlplane {
namespace {

using std::chrono::milliseconds;
using std::chrono::minutes;
using std::chrono::seconds;
using testing::ElementsAre;
using testing::IsEmpty;

PublicKey id_of(uint8_t number) {
    PublicKey id{};
    id[0] = number;
    return id;
}

class RelayChoiceTest : public testing::Test {
protected:
    void know(uint8_t count) {
        std::map<PublicKey, std::vector<NodeAddress>> known;
        for (uint8_t i = 0; i < count; ++i) known[id_of(i)] = {{*wire::Target::parse("192.0.2.1:4000"), {}}};
        choice_.set_known(std::move(known));
    }
    void forget(uint8_t number, uint8_t of) {
        std::map<PublicKey, std::vector<NodeAddress>> known;
        for (uint8_t i = 0; i < of; ++i)
            if (i != number) known[id_of(i)] = {{*wire::Target::parse("192.0.2.1:4000"), {}}};
        choice_.set_known(std::move(known));
    }
    void up(uint8_t number, int latency_ms) { health_[number] = {.up = true, .latency = milliseconds(latency_ms)}; }
    void update() {
        in_touch_.clear();
        reserved_.clear();
        for (const RelayChoice::Relay& relay :
             choice_.update(now_, [this](const PublicKey& id) { return health_[id[0]]; })) {
            in_touch_.push_back(relay.id[0]);
            if (relay.reserve) reserved_.push_back(relay.id[0]);
            EXPECT_EQ(relay.addrs.size(), 1U);
        }
    }
    void update_after(Duration time) {
        now_ += time;
        update();
    }

    RelayChoice choice_{7};
    RelayChoice::Time now_{std::chrono::hours(1)};
    std::map<uint8_t, RelayChoice::Health> health_;
    std::vector<uint8_t> in_touch_;
    std::vector<uint8_t> reserved_;
};

TEST_F(RelayChoiceTest, nothing_is_wanted_or_known) {
    know(3);
    update();
    EXPECT_THAT(in_touch_, IsEmpty());
    choice_.set_wanted(2);
    choice_.set_known({});
    update();
    EXPECT_THAT(in_touch_, IsEmpty());
}

TEST_F(RelayChoiceTest, as_many_as_are_wanted_and_spare_ones) {
    choice_.set_wanted(2);
    for (uint8_t count = 1; count <= 10; ++count) {
        know(count);
        update();
        EXPECT_EQ(in_touch_.size(), std::min<size_t>(count, 2 + RelayChoice::kSpare)) << int{count};
        EXPECT_EQ(reserved_.size(), std::min<size_t>(count, 2)) << int{count};
    }
    choice_.set_wanted(1);
    update();
    EXPECT_EQ(in_touch_.size(), 1 + RelayChoice::kSpare);
    EXPECT_EQ(reserved_.size(), 1U);
    choice_.set_wanted(0);
    update();
    EXPECT_THAT(in_touch_, IsEmpty());
}

TEST_F(RelayChoiceTest, nodes_spread_over_the_relays) {
    know(20);
    std::map<std::vector<uint8_t>, int> choices;
    for (uint64_t seed = 0; seed < 50; ++seed) {
        choice_ = RelayChoice(seed * 0x9e3779b97f4a7c15);
        know(20);
        choice_.set_wanted(1);
        update();
        ++choices[in_touch_];
        const std::vector<uint8_t> before = in_touch_;
        update();
        EXPECT_EQ(in_touch_, before);
    }
    EXPECT_GT(choices.size(), 30U);
}

TEST_F(RelayChoiceTest, the_nearest_are_reserved_at) {
    know(4);
    choice_.set_wanted(2);
    update();
    for (uint8_t i = 0; i < 4; ++i) up(i, i == 2 ? 10 : i == 0 ? 20 : 200);
    update();
    update_after(RelayChoice::kMoveInterval);
    EXPECT_THAT(reserved_, ElementsAre(0, 2));
}

TEST_F(RelayChoiceTest, one_that_works_moves_only_to_a_much_nearer_one_and_not_often) {
    know(3);
    choice_.set_wanted(1);
    update();
    const uint8_t first = reserved_.at(0);
    const uint8_t other = first == 0 ? 1 : 0;
    const uint8_t third = static_cast<uint8_t>(3 - first - other);
    const struct {
        int here, there;
        bool moves;
    } kTable[] = {{100, 76, false}, {100, 75, true}, {20, 11, false}, {20, 10, true}, {5, 1, false}, {50, 60, false}};
    for (const auto& row : kTable) {
        RelayChoice fresh(7);
        std::swap(choice_, fresh);
        know(3);
        choice_.set_wanted(1);
        health_.clear();
        up(first, row.here);
        update();
        ASSERT_THAT(reserved_, ElementsAre(first));
        up(other, row.there);
        update();
        EXPECT_THAT(reserved_, ElementsAre(row.moves ? other : first)) << row.here << " " << row.there;
    }
    // Not again within the interval, even if it pays.
    health_.clear();
    up(first, 400);
    RelayChoice fresh(7);
    std::swap(choice_, fresh);
    know(3);
    choice_.set_wanted(1);
    update();
    up(other, 200);
    update();
    ASSERT_THAT(reserved_, ElementsAre(other));
    up(third, 50);
    update_after(RelayChoice::kMoveInterval - milliseconds(1));
    EXPECT_THAT(reserved_, ElementsAre(other));
    update_after(milliseconds(1));
    EXPECT_THAT(reserved_, ElementsAre(third));
}

TEST_F(RelayChoiceTest, one_that_disappears_is_replaced_at_once) {
    know(3);
    choice_.set_wanted(1);
    for (uint8_t i = 0; i < 3; ++i) up(i, 10);
    update();
    const uint8_t gone = reserved_.at(0);
    forget(gone, 3);
    update();
    EXPECT_EQ(in_touch_.size(), 2U);
    ASSERT_EQ(reserved_.size(), 1U);
    EXPECT_NE(reserved_[0], gone);
}

TEST_F(RelayChoiceTest, one_without_a_session_is_replaced_by_one_that_has) {
    know(3);
    choice_.set_wanted(1);
    for (uint8_t i = 0; i < 3; ++i) up(i, 10);
    update();
    const uint8_t down = reserved_.at(0);
    health_[down] = {};
    update();
    ASSERT_EQ(reserved_.size(), 1U);
    EXPECT_NE(reserved_[0], down);
    // It comes back, and is a spare one.
    up(down, 10);
    const uint8_t now_reserved = reserved_[0];
    update_after(RelayChoice::kMoveInterval);
    EXPECT_THAT(reserved_, ElementsAre(now_reserved));

    // All of them down: the reservation stays where it is.
    health_.clear();
    update_after(minutes(1));
    EXPECT_THAT(reserved_, ElementsAre(now_reserved));
}

TEST_F(RelayChoiceTest, one_that_refuses_is_left_in_peace) {
    know(2);
    choice_.set_wanted(1);
    for (uint8_t i = 0; i < 2; ++i) up(i, i == 0 ? 10 : 500);
    update();
    update();
    ASSERT_THAT(reserved_, ElementsAre(0));
    health_[0].refused = true;
    update();
    EXPECT_THAT(reserved_, ElementsAre(1));
    health_[0].refused = false;  // no reservation, no refusal
    update_after(RelayChoice::kRefusedTime - milliseconds(1));
    EXPECT_THAT(reserved_, ElementsAre(1));
    update_after(milliseconds(1));
    EXPECT_THAT(reserved_, ElementsAre(0));
}

TEST_F(RelayChoiceTest, those_that_stay_away_make_room_for_others) {
    know(10);
    choice_.set_wanted(1);
    update();
    const std::vector<uint8_t> first = in_touch_;
    up(first[0], 10);
    update_after(RelayChoice::kDownTime - milliseconds(1));
    EXPECT_EQ(in_touch_, first);
    update_after(milliseconds(1));
    EXPECT_THAT(in_touch_, testing::Contains(first[0]));
    for (size_t i = 1; i < first.size(); ++i) EXPECT_THAT(in_touch_, testing::Not(testing::Contains(first[i])));
    EXPECT_THAT(reserved_, ElementsAre(first[0]));
    // In the end everyone has had a try, and those that rest longest come again.
    std::set<uint8_t> tried(first.begin(), first.end());
    for (int i = 0; i < 5; ++i) {
        tried.insert(in_touch_.begin(), in_touch_.end());
        update_after(RelayChoice::kDownTime);
    }
    EXPECT_EQ(tried.size(), 10U);
    EXPECT_EQ(in_touch_.size(), 1 + RelayChoice::kSpare);
}

TEST_F(RelayChoiceTest, nobody_makes_room_for_nobody) {
    know(3);
    choice_.set_wanted(1);
    update();
    const std::vector<uint8_t> before = in_touch_;
    update_after(minutes(10));
    EXPECT_EQ(in_touch_, before);
}

}  // namespace
}  // namespace qanat::controlplane
