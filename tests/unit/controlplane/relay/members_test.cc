#include "controlplane/relay/members.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>
#include <set>

#include "controlplane/plane_link/command_port.h"

namespace qanat::controlplane {
namespace {

using ring::MemberStatus;
using std::chrono::milliseconds;
using std::chrono::minutes;
using std::chrono::seconds;

const Instant kStart{seconds(1000)};

PublicKey member(uint8_t number) {
    PublicKey id{};
    id[0] = number;
    return id;
}

wire::Endpoint at(const char* text) {
    return *wire::Endpoint::parse(text);
}

NodeAddress address(const char* text) {
    return {.target = wire::Target(at(text))};
}

using Answer = std::pair<MemberStatus, std::string>;

class MembersTest : public testing::Test {
protected:
    MembersTest()
        : members_(member(99),
                   {
                       .has_session_here = [this](const PublicKey& id) { return here_.contains(id); },
                       .relay_address = [this](const PublicKey& id) -> std::optional<wire::Endpoint> {
                           const auto found = relays_.find(id);
                           return found == relays_.end() ? std::nullopt : std::optional(found->second);
                       },
                       .known_addresses = [this](const PublicKey& id) { return known_[id]; },
                       .may_dial_hint = [this](const wire::Endpoint& hint) { return !forbidden_.contains(hint); },
                       .answer =
                           [this](uint32_t engine, const ring::MemberResult& result) {
                               answers_[{engine, result.query}] = {
                                   result.status, result.address.family == 0 ? "" : from_ring(result.address).format()};
                           },
                       .targets_changed = [this] { ++changes_; },
                       .random = [] { return uint64_t{0}; },
                   },
                   kStart) {}

    // Returns the number of the question.
    uint64_t ask(uint8_t id, const char* hint = nullptr, Instant now = kStart, uint32_t engine = 0) {
        ring::MemberWanted wanted{};
        wanted.query = ++query_;
        wanted.id = member(id);
        if (hint != nullptr) wanted.hint = to_ring(at(hint));
        members_.ask(engine, wanted, now);
        return query_;
    }
    [[nodiscard]] std::optional<Answer> answer(uint64_t query, uint32_t engine = 0) const {
        const auto found = answers_.find({engine, query});
        return found == answers_.end() ? std::nullopt : std::optional(found->second);
    }
    [[nodiscard]] uint32_t only_target() const {
        const auto targets = members_.targets();
        EXPECT_EQ(targets.size(), 1u);
        return targets.empty() ? 0 : targets[0].number;
    }

    std::set<PublicKey> here_;
    std::map<PublicKey, wire::Endpoint> relays_;
    std::map<PublicKey, std::vector<NodeAddress>> known_;
    std::set<wire::Endpoint> forbidden_;
    std::map<std::pair<uint32_t, uint64_t>, Answer> answers_;
    int changes_ = 0;
    uint64_t query_ = 0;
    Members members_;
};

const Answer kReserved{MemberStatus::reserved, ""};
const Answer kUnknown{MemberStatus::unknown, ""};
const Answer kBusy{MemberStatus::busy, ""};

TEST_F(MembersTest, WhatNeedsNoPacketIsAnsweredAtOnce) {
    here_ = {member(1), member(2), member(5)};
    relays_[member(3)] = at("192.0.2.3:4000");
    forbidden_ = {at("169.254.169.254:80")};
    const struct {
        const char* what;
        uint8_t id;
        const char* hint;
        Answer expected;
    } kTable[] = {
        {"has a session here", 1, nullptr, kReserved},
        {"has a session here, the hint is forbidden", 2, "169.254.169.254:80", kReserved},
        {"a relay of ours", 3, nullptr, {MemberStatus::reachable, "192.0.2.3:4000"}},
        {"a relay of ours, with another hint", 3, "192.0.2.9:1", {MemberStatus::reachable, "192.0.2.3:4000"}},
        {"nobody", 4, nullptr, kUnknown},
        {"nobody, the hint is forbidden", 4, "169.254.169.254:80", kUnknown},
        {"ourselves", 99, "192.0.2.9:4000", kUnknown},
    };
    for (const auto& row : kTable) {
        SCOPED_TRACE(row.what);
        EXPECT_EQ(answer(ask(row.id, row.hint)), row.expected);
    }
    EXPECT_TRUE(members_.targets().empty());
    EXPECT_EQ(changes_, 0);
}

TEST_F(MembersTest, AHintIsVerifiedAndThenKept) {
    const uint64_t first = ask(1, "192.0.2.1:4000");
    EXPECT_EQ(answer(first), std::nullopt);
    const auto targets = members_.targets();
    ASSERT_EQ(targets.size(), 1u);
    EXPECT_EQ(targets[0].id, member(1));
    EXPECT_FALSE(targets[0].routable);
    ASSERT_EQ(targets[0].paths.size(), 1u);
    EXPECT_TRUE(targets[0].paths[0].via.empty());
    EXPECT_EQ(targets[0].paths[0].addrs, std::vector{address("192.0.2.1:4000")});

    // Questions meanwhile wait for the same handshake, whichever engine they come from.
    const uint64_t second = ask(1, "192.0.2.1:4000", kStart, 1);
    EXPECT_EQ(members_.targets().size(), 1u);
    members_.report(targets[0].number, at("192.0.2.1:4000"), false, kStart);
    const Answer reachable{MemberStatus::reachable, "192.0.2.1:4000"};
    EXPECT_EQ(answer(first), reachable);
    EXPECT_EQ(answer(second, 1), reachable);

    // Where it was met counts, not what the next one says.
    EXPECT_EQ(answer(ask(1, "198.51.100.7:1")), reachable);
    EXPECT_EQ(answer(ask(1)), reachable);
}

TEST_F(MembersTest, ASessionThatNobodyAsksForGoes) {
    ask(1, "192.0.2.1:4000");
    members_.report(only_target(), at("192.0.2.1:4000"), false, kStart);
    ask(1, "192.0.2.1:4000", kStart + minutes(5));
    members_.tick(kStart + minutes(15) - milliseconds(1));
    EXPECT_EQ(members_.reachable(), 1u);
    changes_ = 0;
    members_.tick(kStart + minutes(15));
    EXPECT_TRUE(members_.targets().empty());
    EXPECT_EQ(changes_, 1);
}

TEST_F(MembersTest, TheFailureOfAHintIsToldWhenItsTimeIsOver) {
    const uint64_t query = ask(1, "192.0.2.1:4000");
    changes_ = 0;
    members_.report(only_target(), std::nullopt, true, kStart + milliseconds(1));
    EXPECT_TRUE(members_.targets().empty()) << "one attempt, not several";
    EXPECT_EQ(changes_, 1);
    members_.tick(kStart + Members::kHintTime - milliseconds(1));
    EXPECT_EQ(answer(query), std::nullopt);
    members_.tick(kStart + Members::kHintTime);
    EXPECT_EQ(answer(query), kUnknown);

    // One that never answers looks the same.
    const uint64_t silent = ask(2, "192.0.2.2:4000");
    members_.tick(kStart + Members::kHintTime - milliseconds(1));
    EXPECT_EQ(answer(silent), std::nullopt);
    members_.tick(kStart + Members::kHintTime);
    EXPECT_EQ(answer(silent), kUnknown);
    EXPECT_TRUE(members_.targets().empty());
}

TEST_F(MembersTest, TheFailureOfAKnownMemberIsToldAtOnce) {
    known_[member(1)] = {address("192.0.2.1:4000"), address("192.0.2.2:4000")};
    const uint64_t query = ask(1, "203.0.113.1:1");
    const auto targets = members_.targets();
    ASSERT_EQ(targets.size(), 1u);
    EXPECT_EQ(targets[0].paths[0].addrs, known_[member(1)]) << "a hint does not beat what the operator wrote";
    members_.report(targets[0].number, std::nullopt, true, kStart);
    EXPECT_EQ(answer(query), kUnknown);
}

TEST_F(MembersTest, AMemberThatFailedAndOffersHereIsReserved) {
    here_ = {member(1)};
    known_[member(1)] = {address("192.0.2.1:4000")};
    const uint64_t query = ask(1, "192.0.2.1:4000");
    members_.report(only_target(), std::nullopt, true, kStart);
    EXPECT_EQ(answer(query), kReserved);
    EXPECT_EQ(answer(ask(1, "192.0.2.1:4000")), kReserved);
}

TEST_F(MembersTest, WhatFailedIsNotTriedAgainAtOnce) {
    known_[member(1)] = {address("192.0.2.1:4000")};
    // Random bits of 0 draw the whole of each step: 10 s, 20 s, …
    Instant now = kStart;
    for (const auto wait : {seconds(10), seconds(20), seconds(40)}) {
        const uint64_t query = ask(1, nullptr, now);
        ASSERT_EQ(answer(query), std::nullopt);
        members_.report(only_target(), std::nullopt, true, now);
        EXPECT_EQ(answer(query), kUnknown);
        EXPECT_EQ(answer(ask(1, nullptr, now + wait - milliseconds(1))), kUnknown);
        EXPECT_TRUE(members_.targets().empty());
        now += wait;
    }
    // A success begins anew.
    ask(1, nullptr, now);
    members_.report(only_target(), at("192.0.2.1:4000"), false, now);
    members_.report(only_target(), std::nullopt, true, now);
    EXPECT_EQ(answer(ask(1, nullptr, now + seconds(10) - milliseconds(1))), kUnknown);
    EXPECT_EQ(answer(ask(1, nullptr, now + seconds(10))), std::nullopt);
}

TEST_F(MembersTest, AWrongHintDoesNotStandInTheWayOfARightOne) {
    const uint64_t wrong = ask(1, "198.51.100.1:1");
    const uint32_t wrong_target = only_target();
    const uint64_t right = ask(1, "192.0.2.1:4000");
    const auto targets = members_.targets();
    ASSERT_EQ(targets.size(), 2u);
    const uint32_t right_target = targets[0].number == wrong_target ? targets[1].number : targets[0].number;
    members_.report(right_target, at("192.0.2.1:4000"), false, kStart);
    EXPECT_EQ(answer(right)->first, MemberStatus::reachable);
    EXPECT_EQ(answer(wrong), std::nullopt);
    members_.tick(kStart + Members::kHintTime);
    EXPECT_EQ(answer(wrong), kUnknown);
    EXPECT_EQ(answer(ask(1, "198.51.100.1:1"))->first, MemberStatus::reachable);
}

TEST_F(MembersTest, ALostSessionGetsAMomentToComeBack) {
    ask(1, "192.0.2.1:4000");
    const uint32_t target = only_target();
    members_.report(target, at("192.0.2.1:4000"), false, kStart);
    members_.report(target, std::nullopt, false, kStart + seconds(1));
    const uint64_t query = ask(1, "192.0.2.1:4000", kStart + seconds(1));
    EXPECT_EQ(answer(query), std::nullopt);
    EXPECT_EQ(only_target(), target);
    members_.report(target, at("192.0.2.1:4000"), false, kStart + seconds(2));
    EXPECT_EQ(answer(query)->first, MemberStatus::reachable);

    // It has proved to be a member's address: its failure is no news about anything else.
    members_.report(target, std::nullopt, true, kStart + seconds(3));
    EXPECT_TRUE(members_.targets().empty());
    EXPECT_EQ(answer(ask(1, "192.0.2.1:4000", kStart + seconds(3))), kUnknown);
}

TEST_F(MembersTest, EverythingIsBounded) {
    // Hints for one member.
    for (int i = 0; i < 5; ++i) {
        const std::string hint = "192.0.2." + std::to_string(i + 1) + ":4000";
        EXPECT_EQ(answer(ask(1, hint.c_str())).value_or(Answer{}), i < 4 ? Answer{} : kBusy);
    }
    // Verifications per second.
    Instant now = kStart + minutes(1);
    members_.tick(now);
    size_t begun = 0;
    for (uint8_t id = 2; id < 90; ++id) begun += answer(ask(id, "192.0.2.1:4000", now)) ? 0U : 1U;
    EXPECT_EQ(begun, static_cast<size_t>(Members::kVerificationsBurst));
    // Verifications at the same time: a second later there are tokens, but no room for all of them.
    now += seconds(1);
    for (uint8_t id = 100; id < 120; ++id) begun += answer(ask(id, "192.0.2.1:4000", now)) ? 0U : 1U;
    now += seconds(1);
    for (uint8_t id = 120; id < 140; ++id) begun += answer(ask(id, "192.0.2.1:4000", now)) ? 0U : 1U;
    EXPECT_EQ(begun, Members::kVerifyingMax);
    EXPECT_EQ(members_.targets().size(), Members::kVerifyingMax);
    EXPECT_EQ(members_.verifying(), Members::kVerifyingMax);

    // Questions that wait.
    uint64_t waiting = begun;
    while (!answer(ask(2, "192.0.2.1:4000", now))) ++waiting;
    EXPECT_EQ(waiting, Members::kQuestionsMax);
}

TEST_F(MembersTest, NumbersAreValidAndDoNotComeBackSoon) {
    std::set<uint32_t> seen;
    Instant now = kStart;
    for (int i = 0; i < 1000; ++i) {
        now += seconds(1);
        ring::MemberWanted wanted{};
        wanted.query = ++query_;
        wanted.id = member(1);
        wanted.id[1] = static_cast<uint8_t>(i);
        wanted.id[2] = static_cast<uint8_t>(i >> 8);
        wanted.hint = to_ring(at("192.0.2.1:4000"));
        members_.ask(0, wanted, now);
        for (const NodeSpec& target : members_.targets()) {
            EXPECT_GE(target.number, Members::kFirstNumber);
            EXPECT_LT(target.number, ring::kPlanHopsMax);
            seen.insert(target.number);
        }
        members_.tick(now + Members::kHintTime);
    }
    EXPECT_EQ(seen.size(), 1000u);
}

TEST_F(MembersTest, WithTheDataPlaneAllQuestionsEnd) {
    const uint64_t query = ask(1, "192.0.2.1:4000");
    members_.reset();
    EXPECT_TRUE(members_.targets().empty());
    members_.tick(kStart + minutes(1));
    EXPECT_EQ(answer(query), std::nullopt);
}

}  // namespace
}  // namespace qanat::controlplane
