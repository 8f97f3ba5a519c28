#include "controlplane/sessions/node_session.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cerrno>

namespace qanat::controlplane {
namespace {

using ring::HopStage;
using ring::HopState;
using std::chrono::milliseconds;
using std::chrono::seconds;
using testing::Contains;
using testing::ElementsAre;
using testing::IsEmpty;
using Action = NodeSession::Action;
using State = NodeSession::State;

const Instant kStart{seconds(1000)};
constexpr Duration kLifetime = seconds(3600);

class NodeSessionTest : public testing::Test {
protected:
    // Up since `now_`, its first PING answered after 5 ms.
    void bring_up() {
        ASSERT_THAT(session_.start(now_), ElementsAre(Action::begin_attempt));
        ASSERT_THAT(session_.attempt_succeeded(now_, kLifetime, 1),
                    ElementsAre(Action::adopt_session, Action::send_ping));
        now_ += milliseconds(5);
        ASSERT_THAT(session_.pong(now_, session_.ping_token()), IsEmpty());
    }
    NodeSession::Actions tick() { return session_.tick(now_, 0); }

    NodeSession session_{{.health = seconds(30), .timeout = seconds(10)}};
    Instant now_ = kStart;
};

TEST_F(NodeSessionTest, StartsIdleAndOutsideOfThePlan) {
    EXPECT_EQ(session_.state(), State::idle);
    EXPECT_EQ(session_.hop_state(now_), std::nullopt);
    EXPECT_EQ(session_.deadline(now_), std::nullopt);
    EXPECT_THAT(tick(), IsEmpty());
}

TEST_F(NodeSessionTest, ComesUpAndMeasuresLatency) {
    bring_up();
    EXPECT_EQ(session_.state(), State::up);
    EXPECT_EQ(session_.hop_state(now_), HopState::up);
    EXPECT_EQ(session_.latency(), std::chrono::microseconds(5000));
}

TEST_F(NodeSessionTest, WhileHopeLastsStreamsWait) {
    (void)session_.start(now_);
    EXPECT_EQ(session_.hop_state(now_), HopState::connecting);
    EXPECT_THAT(session_.attempt_failed(now_, "refused", 0), IsEmpty());
    EXPECT_EQ(session_.state(), State::down);
    EXPECT_EQ(session_.last_error(), "refused");
    EXPECT_EQ(session_.hop_state(now_ + NodeSession::kHope - milliseconds(1)), HopState::connecting);
    EXPECT_EQ(session_.hop_state(now_ + NodeSession::kHope), std::nullopt);
}

TEST_F(NodeSessionTest, RetriesWithBackOff) {
    (void)session_.start(now_);
    for (const int wait_ms : {200, 400, 800, 1600, 3200, 6400, 10000, 10000}) {
        (void)session_.attempt_failed(now_, "refused", 0);
        EXPECT_GE(session_.deadline(now_), now_);
        now_ += milliseconds(wait_ms) - milliseconds(1);
        EXPECT_THAT(tick(), IsEmpty()) << wait_ms;
        now_ += milliseconds(1);
        EXPECT_THAT(tick(), ElementsAre(Action::begin_attempt)) << wait_ms;
        EXPECT_EQ(session_.state(), State::connecting);
    }
    // A success resets it.
    (void)session_.attempt_succeeded(now_, kLifetime, 1);
    (void)session_.pong(now_, 1);
    (void)session_.control_lost(now_, "gone");
    (void)session_.attempt_failed(now_, "refused", 0);
    now_ += milliseconds(200);
    EXPECT_THAT(tick(), ElementsAre(Action::begin_attempt));
}

TEST_F(NodeSessionTest, ALostControlConnectionMeansAtOnceAgain) {
    bring_up();
    EXPECT_THAT(session_.control_lost(now_, "gone"), ElementsAre(Action::lose_session, Action::begin_attempt));
    EXPECT_EQ(session_.state(), State::connecting);
    EXPECT_EQ(session_.hop_state(now_), HopState::connecting);
    EXPECT_THAT(session_.control_lost(now_, "gone"), IsEmpty());
}

TEST_F(NodeSessionTest, ANodeThatEndsEverySessionBeforeItsFirstPongIsLeftAlone) {
    (void)session_.start(now_);
    Duration waited{};
    for (int round = 0; round < 5; ++round) {
        ASSERT_THAT(session_.attempt_succeeded(now_, kLifetime, 1), Contains(Action::adopt_session));
        EXPECT_THAT(session_.control_lost(now_, "gone"), ElementsAre(Action::lose_session));
        EXPECT_EQ(session_.state(), State::down);
        const Instant lost = now_;
        while (tick().empty()) now_ += milliseconds(10);
        EXPECT_GT(now_ - lost, waited) << "longer from time to time";
        waited = std::chrono::duration_cast<Duration>(now_ - lost);
    }
}

TEST_F(NodeSessionTest, PingsOnTheIntervalAndLosesTheNodeWithoutPong) {
    bring_up();
    now_ = kStart + seconds(30) - milliseconds(1);
    EXPECT_THAT(tick(), IsEmpty());
    now_ += milliseconds(1);
    EXPECT_THAT(session_.tick(now_, 77), ElementsAre(Action::send_ping));
    EXPECT_EQ(session_.ping_token(), 77u);
    EXPECT_THAT(session_.pong(now_, 76), IsEmpty());  // not the one we wait for
    now_ += seconds(10) - milliseconds(1);
    EXPECT_THAT(tick(), IsEmpty());
    EXPECT_EQ(session_.probes_lost(), 0u);
    now_ += milliseconds(1);
    EXPECT_THAT(tick(), ElementsAre(Action::lose_session, Action::begin_attempt));
}

TEST_F(NodeSessionTest, RenewsAtThreeQuartersOfTheLifetime) {
    bring_up();
    const Instant begin = kStart;
    now_ = begin + seconds(2700) - milliseconds(1);
    (void)tick();
    (void)session_.pong(now_, session_.ping_token());
    EXPECT_EQ(session_.state(), State::up);
    now_ = begin + seconds(2700);
    EXPECT_THAT(tick(), ElementsAre(Action::begin_attempt));
    EXPECT_EQ(session_.state(), State::renewing);
    EXPECT_EQ(session_.hop_state(now_), HopState::up);
    EXPECT_THAT(session_.attempt_succeeded(now_, kLifetime, 2),
                ElementsAre(Action::replace_session, Action::send_ping));
    EXPECT_EQ(session_.state(), State::up);
    EXPECT_EQ(session_.since(), begin);
}

TEST_F(NodeSessionTest, AFailedRenewalKeepsTheSessionUntilItExpires) {
    bring_up();
    now_ = kStart + seconds(2700);
    (void)tick();
    EXPECT_THAT(session_.attempt_failed(now_, "refused", 0), IsEmpty());
    EXPECT_EQ(session_.state(), State::up);
    EXPECT_EQ(session_.hop_state(now_), HopState::up);
    now_ += milliseconds(200);
    EXPECT_THAT(tick(), Contains(Action::begin_attempt));
    now_ = kStart + kLifetime;
    EXPECT_THAT(tick(), ElementsAre(Action::leave_session));  // the attempt on its way goes on
    EXPECT_EQ(session_.state(), State::connecting);
    EXPECT_THAT(session_.attempt_succeeded(now_, kLifetime, 2), ElementsAre(Action::adopt_session, Action::send_ping));
}

TEST_F(NodeSessionTest, DrainingLeavesThePlanAndLooksAgainLater) {
    bring_up();
    EXPECT_THAT(session_.draining(now_), ElementsAre(Action::leave_session));
    EXPECT_EQ(session_.state(), State::down);
    EXPECT_EQ(session_.hop_state(now_), std::nullopt);
    now_ += NodeSession::kDrainingWait;
    EXPECT_THAT(tick(), ElementsAre(Action::begin_attempt));
}

TEST_F(NodeSessionTest, DrainingWhileRenewingCancelsTheAttempt) {
    bring_up();
    now_ = kStart + seconds(2700);
    (void)tick();
    EXPECT_THAT(session_.draining(now_), ElementsAre(Action::cancel_attempt, Action::leave_session));
}

TEST_F(NodeSessionTest, FailedConnectsMakeTheNodeSuspect) {
    for (const HopStage stage : {HopStage::connect, HopStage::first_flight}) {
        session_ = NodeSession({.health = seconds(30), .timeout = seconds(10)});
        bring_up();
        EXPECT_THAT(session_.hop_failed(now_, stage, ECONNREFUSED, 0, 9), ElementsAre(Action::begin_attempt));
        EXPECT_EQ(session_.hop_state(now_), HopState::connecting);
        EXPECT_THAT(session_.hop_failed(now_, stage, ECONNREFUSED, 0, 9), IsEmpty());
        EXPECT_THAT(session_.attempt_succeeded(now_, kLifetime, 2),
                    ElementsAre(Action::replace_session, Action::send_ping));
        EXPECT_EQ(session_.hop_state(now_), HopState::up);
        // Not again within a second.
        EXPECT_THAT(session_.hop_failed(now_, stage, ECONNREFUSED, 0, 9), IsEmpty());
        now_ += NodeSession::kProbeInterval;
        EXPECT_THAT(session_.hop_failed(now_, stage, ECONNREFUSED, 0, 9), ElementsAre(Action::begin_attempt));
        EXPECT_THAT(session_.attempt_failed(now_, "refused", 0), ElementsAre(Action::lose_session));
        EXPECT_EQ(session_.state(), State::down);
    }
}

TEST_F(NodeSessionTest, OwnTroubleAndTargetsAreNotTheNodesFault) {
    bring_up();
    for (const int error : {EMFILE, ENFILE, EADDRNOTAVAIL, ENOMEM})
        EXPECT_THAT(session_.hop_failed(now_, HopStage::connect, error, 0, 9), IsEmpty());
    for (const uint8_t status : std::initializer_list<uint8_t>{1, 2, 5, 11})
        EXPECT_THAT(session_.hop_failed(now_, HopStage::response, 0, status, 9), IsEmpty());
    EXPECT_EQ(session_.hop_state(now_), HopState::up);
    EXPECT_THAT(session_.hop_failed(now_, HopStage::response, 0, 12, 9), ElementsAre(Action::leave_session));
}

TEST_F(NodeSessionTest, ASlowResponseIsAskedAbout) {
    bring_up();
    EXPECT_THAT(session_.hop_failed(now_, HopStage::response, ETIMEDOUT, 0, 42), ElementsAre(Action::send_ping));
    EXPECT_EQ(session_.ping_token(), 42u);
    EXPECT_THAT(session_.hop_failed(now_, HopStage::response, ETIMEDOUT, 0, 43), IsEmpty());
    EXPECT_EQ(session_.hop_state(now_), HopState::up);
    now_ += NodeSession::kSuspectPingTimeout;
    EXPECT_THAT(tick(), ElementsAre(Action::lose_session, Action::begin_attempt));
}

TEST_F(NodeSessionTest, APongIsDueBeforeTheNextPing) {
    const struct {
        Duration health;
        Duration timeout;
        Duration round_trip;
        Duration patience;
    } kTable[] = {{seconds(1), seconds(10), milliseconds(5), seconds(1)},
                  {seconds(30), seconds(10), milliseconds(5), seconds(10)},
                  {milliseconds(100), seconds(10), milliseconds(5), milliseconds(100)},
                  // Far away is not stopped.
                  {milliseconds(100), seconds(10), milliseconds(300), milliseconds(1200)},
                  {milliseconds(100), seconds(1), milliseconds(300), seconds(1)}};
    for (const auto& row : kTable) {
        session_ = NodeSession({.health = row.health, .timeout = row.timeout});
        now_ = kStart;
        (void)session_.start(now_);
        (void)session_.attempt_succeeded(now_, kLifetime, 1);
        now_ += row.round_trip;
        (void)session_.pong(now_, 1);
        now_ = std::max(now_, kStart + row.health);
        ASSERT_THAT(session_.tick(now_, 2), ElementsAre(Action::send_ping));
        now_ += row.patience - milliseconds(1);
        EXPECT_THAT(tick(), IsEmpty());
        now_ += milliseconds(1);
        EXPECT_THAT(tick(), ElementsAre(Action::lose_session, Action::begin_attempt));
        EXPECT_EQ(session_.probes_sent(), 2u);
        EXPECT_EQ(session_.probes_lost(), 1u);
    }
}

TEST_F(NodeSessionTest, ABetterPathIsLookedForWhileTheSessionServes) {
    for (const uint64_t random : {uint64_t{0}, uint64_t{15'000}, uint64_t{30'000}, UINT64_MAX}) {
        session_ = NodeSession({.health = seconds(300), .timeout = seconds(10)});
        now_ = kStart;
        bring_up();
        session_.set_improvable(true, now_, random);
        const auto due = session_.deadline(now_);
        ASSERT_TRUE(due.has_value());
        EXPECT_GE(*due - now_, NodeSession::kImproveMin);
        EXPECT_LE(*due - now_, 2 * NodeSession::kImproveMin);
        now_ = *due;
        EXPECT_THAT(tick(), ElementsAre(Action::begin_attempt));
        EXPECT_TRUE(session_.improving());
        EXPECT_EQ(session_.hop_state(now_), HopState::up);
        EXPECT_THAT(session_.attempt_failed(now_, "refused", 0), IsEmpty());
        EXPECT_EQ(session_.state(), State::up);
        EXPECT_EQ(session_.failures(), 0u);
        EXPECT_TRUE(session_.last_error().empty());
        session_.hurry(now_);
        EXPECT_THAT(tick(), ElementsAre(Action::begin_attempt));
        // The session is lost meanwhile: an attempt over some paths only is not enough then.
        EXPECT_THAT(session_.control_lost(now_, "gone"),
                    ElementsAre(Action::lose_session, Action::cancel_attempt, Action::begin_attempt));
        EXPECT_FALSE(session_.improving());
    }
}

TEST_F(NodeSessionTest, ALostPathAndARemovedOne) {
    bring_up();
    EXPECT_THAT(session_.path_lost(now_, "relay"), ElementsAre(Action::leave_session, Action::begin_attempt));
    (void)session_.attempt_succeeded(now_, kLifetime, 1);
    EXPECT_THAT(session_.path_removed(now_), ElementsAre(Action::begin_attempt));
    EXPECT_EQ(session_.hop_state(now_), HopState::connecting);
    EXPECT_THAT(session_.attempt_failed(now_, "refused", 0), ElementsAre(Action::lose_session));
    EXPECT_THAT(session_.path_removed(now_), IsEmpty());
    session_.hurry(now_);
    EXPECT_THAT(tick(), ElementsAre(Action::begin_attempt));
}

TEST_F(NodeSessionTest, AnotherPathIsMeasuredAnew) {
    bring_up();
    EXPECT_EQ(session_.latency(), std::chrono::microseconds(5000));
    (void)session_.path_removed(now_);
    (void)session_.attempt_succeeded(now_, kLifetime, 2, true);
    now_ += milliseconds(80);
    (void)session_.pong(now_, 2);
    EXPECT_EQ(session_.latency(), std::chrono::microseconds(80'000));
    EXPECT_EQ(session_.settled_latency(), std::chrono::microseconds(80'000));
    session_.round_trip(std::chrono::microseconds(72'000));
    EXPECT_EQ(session_.latency(), std::chrono::microseconds(79'000));
    EXPECT_EQ(session_.settled_latency(), std::chrono::microseconds(80'000)) << "it stands still";
}

TEST_F(NodeSessionTest, TheDataPlaneTakesEverythingWithIt) {
    bring_up();
    session_.data_plane_lost(now_);
    EXPECT_EQ(session_.state(), State::idle);
    EXPECT_EQ(session_.hop_state(now_), std::nullopt);
    EXPECT_THAT(session_.pong(now_, session_.ping_token()), IsEmpty());
    EXPECT_THAT(session_.hop_failed(now_, HopStage::connect, ECONNREFUSED, 0, 1), IsEmpty());
    bring_up();
}

// Whatever comes in whatever order: has_session() must agree with the actions, as the owner's state does.
TEST_F(NodeSessionTest, RandomWalkKeepsTheOwnersView) {
    uint64_t seed = 12345;
    const auto draw = [&seed](uint64_t bound) {
        seed = seed * 6364136223846793005u + 1442695040888963407u;
        return (seed >> 33) % bound;
    };
    bool session = false;
    bool attempt = false;
    const auto apply = [&](const NodeSession::Actions& actions) {
        for (const Action action : actions) {
            switch (action) {
                case Action::begin_attempt:
                    ASSERT_FALSE(attempt);
                    attempt = true;
                    break;
                case Action::cancel_attempt:
                    attempt = false;
                    break;
                case Action::adopt_session:
                    ASSERT_FALSE(session);
                    session = true;
                    break;
                case Action::replace_session:
                    ASSERT_TRUE(session);
                    break;
                case Action::lose_session:
                case Action::leave_session:
                    ASSERT_TRUE(session);
                    session = false;
                    break;
                case Action::send_ping:
                    ASSERT_TRUE(session);
                    break;
            }
        }
    };
    apply(session_.start(now_));
    for (int step = 0; step < 20000 && !HasFatalFailure(); ++step) {
        now_ += milliseconds(draw(4000));
        switch (draw(11)) {
            case 0:
                if (!attempt) break;
                attempt = false;
                apply(session_.attempt_succeeded(now_, seconds(60 + draw(100)), draw(1000)));
                break;
            case 1:
                if (!attempt) break;
                attempt = false;
                apply(session_.attempt_failed(now_, "x", draw(1000)));
                break;
            case 2:
                apply(session_.control_lost(now_, "x"));
                break;
            case 3:
                apply(session_.pong(now_, session_.ping_token()));
                break;
            case 4:
                if (draw(5) == 0) apply(session_.draining(now_));
                break;
            case 5:
                apply(session_.hop_failed(now_, static_cast<HopStage>(1 + draw(3)), ECONNREFUSED, 0, draw(1000)));
                break;
            case 6:
                if (draw(10) != 0) break;
                session_.data_plane_lost(now_);
                session = attempt = false;
                apply(session_.start(now_));
                break;
            case 7:
                session_.set_improvable(draw(2) == 0, now_, draw(100'000));
                session_.hurry(now_);
                break;
            case 8:
                apply(session_.path_lost(now_, "x"));
                break;
            case 9:
                apply(draw(2) == 0 ? session_.path_removed(now_) : session_.check(now_, draw(1000)));
                break;
            default:
                apply(session_.tick(now_, draw(1000)));
                break;
        }
        ASSERT_EQ(session_.has_session(), session);
        ASSERT_EQ(session_.state() == State::connecting || session_.state() == State::renewing, attempt);
        if (session_.state() != State::idle && !attempt) {
            ASSERT_TRUE(session_.deadline(now_).has_value());
        }
    }
}

}  // namespace
}  // namespace qanat::controlplane
