#include "dataplane/tunnel/relay_members.h"

#include <gtest/gtest.h>

#include <thread>

namespace qanat::dataplane {
namespace {

using Kind = RelayMembers::Choice::Kind;

constexpr uint64_t kSecond = 1'000'000'000;
constexpr uint64_t kNow = 1000 * kSecond;

MemberId id(uint8_t byte) {
    MemberId value;
    value.fill(byte);
    return value;
}

EngineStream at(uint32_t engine, uint64_t handle) {
    return {.engine = engine, .handle = handle};
}

// A connection on offer.
RelayMember* put(RelayMembers& members, uint8_t member, EngineStream connection, uint64_t now = kNow) {
    RelayMember* offering = members.begin_offer(id(member), now);
    EXPECT_NE(offering, nullptr);
    EXPECT_EQ(members.offer(id(member), connection), std::nullopt);
    return offering;
}

TEST(RelayMembers, LimitsCountPerMemberUpToTheLast) {
    RelayMembers members;
    members.set_limits({.streams_max = 3, .offers_max = 2, .offerers_max = 0});
    std::vector<RelayMember*> streams;
    for (int i = 0; i < 3; ++i) streams.push_back(members.begin_stream(id(1), kNow));
    EXPECT_EQ(members.begin_stream(id(1), kNow), nullptr);
    EXPECT_NE(members.begin_stream(id(2), kNow), nullptr);
    members.end_stream(*streams[0]);
    EXPECT_EQ(members.begin_stream(id(1), kNow), streams[0]);

    RelayMember* offering = put(members, 1, at(0, 1));
    put(members, 1, at(1, 1));
    EXPECT_EQ(members.begin_offer(id(1), kNow), nullptr);
    members.end_offer(*offering, at(0, 1), kNow);
    EXPECT_NE(members.begin_offer(id(1), kNow), nullptr);
    members.set_limits({});
    EXPECT_NE(members.begin_offer(id(1), kNow), nullptr);
    EXPECT_NE(members.begin_stream(id(1), kNow), nullptr);
}

TEST(RelayMembers, OnlySoManyMembersMayOffer) {
    RelayMembers members;
    members.set_limits({.streams_max = 0, .offers_max = 0, .offerers_max = 2});
    RelayMember* first = put(members, 1, at(0, 1));
    put(members, 1, at(0, 2));
    put(members, 2, at(0, 3));
    EXPECT_EQ(members.begin_offer(id(3), kNow), nullptr);
    EXPECT_NE(members.begin_offer(id(2), kNow), nullptr) << "who is in may bring more";
    members.end_offer(*first, at(0, 1), kNow);
    EXPECT_EQ(members.begin_offer(id(3), kNow), nullptr) << "one of its two is still there";
    members.end_offer(*first, at(0, 2), kNow);
    EXPECT_NE(members.begin_offer(id(3), kNow), nullptr);
}

TEST(RelayMembers, TakesTheNewestOfItsOwnEngineFirst) {
    RelayMembers members;
    put(members, 1, at(0, 10));
    put(members, 1, at(1, 11));
    put(members, 1, at(0, 12));
    put(members, 1, at(1, 13));
    for (const EngineStream expected : {at(0, 12), at(0, 10), at(1, 13), at(1, 11)}) {
        const auto choice = members.find(id(1), at(0, 1), false, kNow);
        EXPECT_EQ(choice.kind, Kind::take);
        EXPECT_EQ(choice.connection, expected);
    }
    EXPECT_EQ(members.find(id(1), at(0, 1), false, kNow).kind, Kind::wait);
}

TEST(RelayMembers, AMemberIsExpectedForThirtySeconds) {
    RelayMembers members;
    EXPECT_EQ(members.find(id(1), at(0, 1), false, kNow).kind, Kind::ask);
    EXPECT_EQ(members.size(), 0u);  // a question leaves nothing behind
    RelayMember* offering = put(members, 1, at(0, 10));
    members.end_offer(*offering, at(0, 10), kNow);
    EXPECT_EQ(members.find(id(1), at(0, 1), false, kNow + 30 * kSecond - 1).kind, Kind::wait);
    EXPECT_EQ(members.find(id(1), at(0, 2), false, kNow + 30 * kSecond).kind, Kind::ask);
    EXPECT_EQ(members.find(id(1), at(0, 3), true, kNow + 30 * kSecond).kind, Kind::wait);
    EXPECT_EQ(members.find(id(2), at(0, 4), true, kNow).kind, Kind::wait);
}

TEST(RelayMembers, WhoWaitsIsServedInOrderWhereverItIs) {
    RelayMembers members;
    EXPECT_EQ(members.find(id(1), at(2, 20), true, kNow).kind, Kind::wait);
    EXPECT_EQ(members.find(id(1), at(0, 21), true, kNow).kind, Kind::wait);
    EXPECT_EQ(members.find(id(1), at(2, 22), true, kNow).kind, Kind::wait);
    RelayMember* offering = members.begin_offer(id(1), kNow);
    EXPECT_EQ(members.waiting_for(*offering), 3u);
    members.stop_waiting(id(1), at(0, 21));
    members.stop_waiting(id(1), at(0, 99));
    members.stop_waiting(id(9), at(0, 21));
    EXPECT_EQ(members.offer(id(1), at(1, 10)), 2u);
    EXPECT_EQ(members.offer(id(1), at(1, 11)), 2u);
    EXPECT_EQ(members.offer(id(1), at(1, 12)), std::nullopt);
    EXPECT_EQ(members.waiting_for(*offering), 0u);
    EXPECT_EQ(members.next_assignment(0), std::nullopt);
    EXPECT_EQ(members.next_assignment(7), std::nullopt);
    const auto first = members.next_assignment(2);
    ASSERT_TRUE(first);
    EXPECT_EQ(first->asker, 20u);
    EXPECT_EQ(first->connection, at(1, 10));
    EXPECT_EQ(first->id, id(1));
    EXPECT_EQ(members.next_assignment(2)->asker, 22u);
    EXPECT_EQ(members.next_assignment(2), std::nullopt);
}

TEST(RelayMembers, WhatIsGivenBackGoesToTheNext) {
    RelayMembers members;
    RelayMember* offering = put(members, 1, at(0, 10));
    ASSERT_EQ(members.find(id(1), at(1, 1), false, kNow).kind, Kind::take);
    EXPECT_EQ(members.find(id(1), at(1, 2), false, kNow).kind, Kind::wait);
    EXPECT_EQ(members.offer(id(1), at(0, 10)), 1u);
    EXPECT_EQ(members.next_assignment(1)->asker, 2u);
    members.end_offer(*offering, at(0, 10), kNow);
    // Ended in the meantime: not on offer again.
    EXPECT_EQ(members.offer(id(1), at(0, 10)), std::nullopt);
    EXPECT_EQ(members.find(id(1), at(1, 3), false, kNow + 60 * kSecond).kind, Kind::ask);
}

TEST(RelayMembers, AnEndedConnectionIsNotTaken) {
    RelayMembers members;
    RelayMember* offering = put(members, 1, at(0, 10));
    put(members, 1, at(0, 11));
    members.end_offer(*offering, at(0, 11), kNow);
    EXPECT_EQ(members.find(id(1), at(0, 1), false, kNow).connection, at(0, 10));
    EXPECT_EQ(members.find(id(1), at(0, 1), false, kNow).kind, Kind::wait);
}

TEST(RelayMembers, IdleMembersAreForgottenAndDebtIsNot) {
    RelayMembers members;
    for (uint8_t i = 0; i < 100; ++i) members.end_stream(*members.begin_stream(id(i), kNow));
    RelayMember* debtor = members.begin_stream(id(200), kNow);
    debtor->rate.take(1000, 1'000'000, kNow);
    members.end_stream(*debtor);
    RelayMember* busy = members.begin_stream(id(201), kNow);
    put(members, 202, at(0, 1));
    RelayMember* seen = put(members, 203, at(0, 2));
    members.end_offer(*seen, at(0, 2), kNow);
    EXPECT_EQ(members.size(), 104u);
    EXPECT_NE(members.begin_stream(id(204), kNow + 20 * kSecond), nullptr);
    EXPECT_EQ(members.size(), 5u);
    members.end_stream(*busy);
    EXPECT_NE(members.begin_stream(id(205), kNow + 60 * kSecond), nullptr);
    EXPECT_EQ(members.size(), 4u);  // 200, 202, 204, 205
    EXPECT_EQ(members.begin_stream(id(200), kNow), debtor);
}

TEST(RelayMembers, ASourceIsTheSameForTheSameMemberOfThisProcess) {
    RelayMembers members;
    RelayMembers others;
    EXPECT_EQ(members.source_of(id(1)), members.source_of(id(1)));
    EXPECT_NE(members.source_of(id(1)), members.source_of(id(2)));
    EXPECT_NE(members.source_of(id(1)), others.source_of(id(1)));
}

TEST(RelayMembers, EveryConnectionGoesToOneAsker) {
    constexpr uint64_t kEach = 2000;
    RelayMembers members;
    std::atomic<uint64_t> served{0};
    std::vector<std::thread> threads;
    for (uint32_t engine = 0; engine < 2; ++engine) {
        threads.emplace_back([&, engine] {
            for (uint64_t i = 0; i < kEach; ++i) {
                if (members.begin_offer(id(1), kNow) != nullptr) (void)members.offer(id(1), at(engine, i));
                if (members.find(id(1), at(engine, i), true, kNow).kind == Kind::take) ++served;
                while (members.next_assignment(engine)) ++served;
            }
        });
    }
    for (std::thread& thread : threads) thread.join();
    for (uint32_t engine = 0; engine < 2; ++engine)
        while (members.next_assignment(engine)) ++served;
    EXPECT_EQ(served, 2 * kEach);
}

}  // namespace
}  // namespace qanat::dataplane
