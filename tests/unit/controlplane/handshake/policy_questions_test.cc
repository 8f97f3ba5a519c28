// PolicyQuestions alone, and over the control connection of a ClientDriver.
#include "controlplane/handshake/policy_questions.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/unit/controlplane/handshake/client_net.h"

namespace qanat::controlplane {
namespace {

using std::chrono::seconds;
using testing::ElementsAre;
using testing::IsEmpty;

constexpr Instant kStart{seconds(100)};

wire::ControlMessage answer_to(uint64_t token) {
    return {.kind = wire::ControlMessage::Kind::policy_answer, .token = token};
}

class PolicyQuestionsTest : public testing::Test {
protected:
    void ask(uint64_t token, uint32_t node, Instant at = kStart) {
        questions_.add(token, node, at, [this, token](const std::optional<wire::ControlMessage>& answer) {
            answers_.emplace_back(token, answer.has_value());
        });
    }

    PolicyQuestions questions_;
    std::vector<std::pair<uint64_t, bool>> answers_;
};

TEST_F(PolicyQuestionsTest, OnlyTheNodeThatWasAskedAnswersAndOnlyOnce) {
    ask(7, 3);
    questions_.answer(4, answer_to(7));
    questions_.answer(3, answer_to(8));
    EXPECT_THAT(answers_, IsEmpty());
    questions_.answer(3, answer_to(7));
    questions_.answer(3, answer_to(7));
    EXPECT_THAT(answers_, ElementsAre(std::pair(7u, true)));
    EXPECT_FALSE(questions_.contains(7));
}

TEST_F(PolicyQuestionsTest, GivesUpAtTheirTime) {
    EXPECT_FALSE(questions_.deadline());
    ask(1, 3, kStart + seconds(1));
    ask(2, 3);
    EXPECT_EQ(questions_.deadline(), kStart + PolicyQuestions::kAnswerTime);
    questions_.tick(kStart + PolicyQuestions::kAnswerTime);
    EXPECT_THAT(answers_, ElementsAre(std::pair(2u, false)));
    EXPECT_EQ(questions_.deadline(), kStart + PolicyQuestions::kAnswerTime + seconds(1));
}

TEST_F(PolicyQuestionsTest, ANodeThatIsGoneAnswersNothing) {
    ask(1, 3);
    ask(2, 4);
    ask(3, 3);
    questions_.node_lost(3);
    EXPECT_THAT(answers_, ElementsAre(std::pair(1u, false), std::pair(3u, false)));
    questions_.all_lost();
    EXPECT_EQ(answers_.back(), std::pair(uint64_t{2}, false));
}

TEST_F(PolicyQuestionsTest, AskingAnewFromAnAnswerIsFine) {
    questions_.add(1, 3, kStart, [this](const auto&) { ask(2, 3); });
    questions_.node_lost(3);
    EXPECT_TRUE(questions_.contains(2)) << "another question";
}

TEST_F(Net, APolicyQuestionIsAnsweredOrTimesOut) {
    make_node(0);
    client_->start(now_);
    client_->set_nodes({spec(0)}, now_);
    run();
    mute_ = true;
    int answers = 0;
    bool answered = true;
    const wire::Target target = *wire::Target::parse("example.org:443");
    const auto done = [&](const std::optional<wire::ControlMessage>& answer) {
        ++answers;
        answered = answer.has_value();
    };
    client_->ask_policy(0, target, now_, done);
    run();
    EXPECT_EQ(answers, 0);
    EXPECT_LE(*client_->deadline(now_), now_ + PolicyQuestions::kAnswerTime);
    advance(PolicyQuestions::kAnswerTime);
    EXPECT_EQ(answers, 1);
    EXPECT_FALSE(answered);

    client_->ask_policy(99, target, now_, done);
    EXPECT_EQ(answers, 2) << "nobody to ask: at once";
    client_->ask_policy(0, target, now_, done);
    kill(0);
    EXPECT_EQ(answers, 3) << "the node is gone";
}

}  // namespace
}  // namespace qanat::controlplane
