#include "controlplane/relay/punches.h"

#include <gtest/gtest.h>

#include <vector>

#include "tests/unit/controlplane/handshake/fake_port.h"

namespace qanat::controlplane {
namespace {

using wire::PunchStatus;

const wire::Endpoint kRelay = *wire::Endpoint::parse("192.0.2.1:4000");
const wire::Endpoint kPeer = *wire::Endpoint::parse("203.0.113.5:40000");
const wire::Endpoint kSeen = *wire::Endpoint::parse("198.51.100.9:50000");

class PunchesTest : public testing::Test {
protected:
    PunchesTest() { punches_.set_enabled(true); }

    void ask(uint8_t member = 1, uint16_t delay_ms = 25) {
        PublicKey id{};
        id[0] = member;
        punches_.ask(1, id, kPeer, delay_ms, now_, [this](PunchStatus status, const wire::Endpoint& address) {
            answers_.emplace_back(status, address);
        });
    }
    void observed(uint64_t punch, uint32_t engine = 1, int32_t error = 0) {
        ring::PunchObserved event{};
        event.punch = punch;
        event.error = error;
        if (error == 0) event.observed = to_ring(kSeen);
        punches_.on_observed(engine, event);
    }
    [[nodiscard]] uint64_t last_punch() const { return port_.all<ring::Punch>().back().punch; }

    Instant now_{std::chrono::seconds(100)};
    bool fine_ = true;
    std::optional<Punches::Relay> relay_ = Punches::Relay{.number = 6, .address = kRelay};
    std::vector<std::pair<PunchStatus, wire::Endpoint>> answers_;
    FakePort port_{2};
    Punches punches_{port_,
                     {.relay = [this] { return relay_; },
                      .may_punch =
                          [this](const wire::Endpoint& peer, const wire::Endpoint& seen) {
                              EXPECT_EQ(peer, kPeer);
                              EXPECT_EQ(seen, kSeen);
                              return fine_;
                          }},
                     now_};
};

TEST_F(PunchesTest, TheEngineAsksARelayThenBothSidesHear) {
    ask();
    const auto commands = port_.take();
    ASSERT_EQ(commands.size(), 1u);
    EXPECT_EQ(commands[0].engine, 1u);
    const auto punch = commands[0].as<ring::Punch>();
    EXPECT_EQ(punch.relay, 6u);
    EXPECT_EQ(from_ring(punch.address), kRelay);
    EXPECT_TRUE(answers_.empty());

    observed(punch.punch);
    ASSERT_EQ(answers_.size(), 1u);
    EXPECT_EQ(answers_[0], std::pair(PunchStatus::ready, kSeen));
    const auto peers = port_.all<ring::PunchPeer>();
    ASSERT_EQ(peers.size(), 1u);
    EXPECT_EQ(peers[0].start, ring::PunchStart::ready);
    EXPECT_EQ(peers[0].delay_ms, 25);
    EXPECT_EQ(from_ring(peers[0].peer), kPeer);
    // Once.
    observed(punch.punch);
    EXPECT_EQ(answers_.size(), 1u);
    EXPECT_EQ(punches_.counts().ready, 1u);
}

TEST_F(PunchesTest, AnAddressThatIsNotToBeDialledIsNotDialled) {
    fine_ = false;
    ask();
    observed(last_punch());
    EXPECT_EQ(answers_.at(0), std::pair(PunchStatus::impossible, wire::Endpoint{}));
    EXPECT_EQ(port_.all<ring::PunchPeer>().at(0).start, ring::PunchStart::impossible);
}

TEST_F(PunchesTest, WithoutPunchingOrARelayNothingIsBegun) {
    punches_.set_enabled(false);
    ask();
    punches_.set_enabled(true);
    relay_.reset();
    ask();
    EXPECT_EQ(answers_.at(0).first, PunchStatus::impossible);
    EXPECT_EQ(answers_.at(1).first, PunchStatus::busy);
    EXPECT_TRUE(port_.commands.empty());
}

TEST_F(PunchesTest, ARelayThatDoesNotAnswerIsNoReasonToGiveUpForGood) {
    ask();
    observed(last_punch(), 1, 110);
    EXPECT_EQ(answers_.at(0).first, PunchStatus::busy);
    EXPECT_TRUE(port_.all<ring::PunchPeer>().empty());

    ask();
    now_ += Punches::kObserveTime - std::chrono::milliseconds(1);
    punches_.tick(now_);
    EXPECT_EQ(answers_.size(), 1u);
    now_ += std::chrono::milliseconds(1);
    punches_.tick(now_);
    EXPECT_EQ(answers_.at(1).first, PunchStatus::busy);
    observed(last_punch());
    EXPECT_EQ(answers_.size(), 2u);
}

TEST_F(PunchesTest, AnotherEngineCannotAnswer) {
    ask();
    observed(last_punch(), 0);
    EXPECT_TRUE(answers_.empty());
}

TEST_F(PunchesTest, EachMemberHasARate) {
    const auto begun = [this] { return port_.all<ring::Punch>().size(); };
    for (int i = 0; i < 2 * Punches::kMemberBurst; ++i) {
        ask(1);
        if (begun() == answers_.size() + 1) observed(last_punch());
    }
    EXPECT_EQ(begun(), static_cast<size_t>(Punches::kMemberBurst));
    EXPECT_EQ(answers_.back().first, PunchStatus::busy);
    ask(2);
    EXPECT_EQ(begun(), static_cast<size_t>(Punches::kMemberBurst) + 1);
    now_ += std::chrono::seconds(2);
    ask(1);
    EXPECT_EQ(begun(), static_cast<size_t>(Punches::kMemberBurst) + 2);
}

TEST_F(PunchesTest, AllMembersTogetherHaveOneToo) {
    for (int member = 0; member < 200; ++member) {
        ask(static_cast<uint8_t>(member));
        if (!port_.commands.empty()) observed(last_punch());
    }
    EXPECT_EQ(port_.all<ring::Punch>().size(), static_cast<size_t>(Punches::kBurst));
}

TEST_F(PunchesTest, NoMoreThanItsCapWaits) {
    for (int member = 0; member < 100; ++member) ask(static_cast<uint8_t>(member));
    EXPECT_EQ(port_.all<ring::Punch>().size(), Punches::kPendingMax);
    EXPECT_EQ(answers_.size(), 100 - Punches::kPendingMax);
    punches_.reset();
    EXPECT_EQ(answers_.size(), 100 - Punches::kPendingMax);
}

}  // namespace
}  // namespace qanat::controlplane
