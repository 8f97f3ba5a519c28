#include "controlplane/sessions/ejection.h"

#include <gtest/gtest.h>

namespace qanat::controlplane {
namespace {

using State = Ejection::State;
using std::chrono::milliseconds;

const Instant kStart{std::chrono::seconds(1000)};

class EjectionTest : public testing::Test {
protected:
    void fail_times(unsigned times) {
        for (unsigned i = 0; i < times; ++i) (void)ejection_.failed(now_, 0);
    }
    void eject() {
        fail_times(Ejection::kFailuresMax);
        now_ += Ejection::kEvidenceTime;
        ASSERT_TRUE(ejection_.tick(now_, 0));
        ASSERT_EQ(ejection_.state(), State::ejected);
    }

    Ejection ejection_;
    Instant now_ = kStart;
};

TEST_F(EjectionTest, NumberAndTimeBothCount) {
    const struct {
        unsigned failures;
        Duration after;
        State state;
    } kTable[] = {{0, Ejection::kEvidenceTime, State::in},
                  {Ejection::kFailuresMax - 1, Ejection::kEvidenceTime, State::in},
                  {Ejection::kFailuresMax, Ejection::kEvidenceTime - milliseconds(1), State::in},
                  {Ejection::kFailuresMax, Ejection::kEvidenceTime, State::ejected},
                  {Ejection::kFailuresMax + 1, Ejection::kEvidenceTime, State::ejected}};
    for (const auto& row : kTable) {
        ejection_.forget();
        now_ = kStart;
        fail_times(row.failures);
        EXPECT_EQ(ejection_.state(), State::in);
        if (row.failures >= Ejection::kFailuresMax) {
            EXPECT_EQ(ejection_.deadline(), kStart + Ejection::kEvidenceTime);
        }
        now_ += row.after;
        EXPECT_EQ(ejection_.tick(now_, 0), row.state == State::ejected);
        EXPECT_EQ(ejection_.state(), row.state) << row.failures;
    }
}

TEST_F(EjectionTest, ASuccessBreaksTheRow) {
    fail_times(Ejection::kFailuresMax);
    EXPECT_FALSE(ejection_.succeeded());
    now_ += Ejection::kEvidenceTime;
    EXPECT_FALSE(ejection_.tick(now_, 0));
    EXPECT_EQ(ejection_.deadline(), std::nullopt);
}

TEST_F(EjectionTest, TheWaitDoublesUpToAMinuteAndIsSpread) {
    eject();
    for (const int64_t seconds : {1, 2, 4, 8, 16, 32, 60, 60}) {
        EXPECT_EQ(ejection_.until() - now_, std::chrono::seconds(seconds));
        now_ = ejection_.until() - milliseconds(1);
        EXPECT_FALSE(ejection_.tick(now_, 0));
        now_ += milliseconds(1);
        EXPECT_TRUE(ejection_.tick(now_, 0));
        EXPECT_EQ(ejection_.state(), State::trial);
        EXPECT_TRUE(ejection_.failed(now_, 0));
        EXPECT_EQ(ejection_.state(), State::ejected);
    }
    EXPECT_EQ(ejection_.times(), 9u);

    ejection_.forget();
    fail_times(Ejection::kFailuresMax);
    now_ += Ejection::kEvidenceTime;
    ASSERT_TRUE(ejection_.tick(now_, 500));
    EXPECT_EQ(ejection_.until() - now_, milliseconds(500)) << "at least half of it";
}

TEST_F(EjectionTest, AStreamOnTrialDecides) {
    eject();
    EXPECT_FALSE(ejection_.succeeded()) << "a late success of before proves nothing";
    EXPECT_EQ(ejection_.state(), State::ejected);
    now_ = ejection_.until();
    (void)ejection_.tick(now_, 0);
    EXPECT_TRUE(ejection_.succeeded());
    EXPECT_EQ(ejection_.state(), State::in);
    EXPECT_EQ(ejection_.times(), 0u) << "the next wait is a short one again";
}

TEST_F(EjectionTest, ATrialWithoutStreamsEndsWell) {
    eject();
    now_ = ejection_.until();
    (void)ejection_.tick(now_, 0);
    EXPECT_EQ(ejection_.deadline(), now_ + Ejection::kTrialTime);
    now_ += Ejection::kTrialTime - milliseconds(1);
    EXPECT_FALSE(ejection_.tick(now_, 0));
    now_ += milliseconds(1);
    EXPECT_TRUE(ejection_.tick(now_, 0));
    EXPECT_EQ(ejection_.state(), State::in);
}

}  // namespace
}  // namespace qanat::controlplane
