#include "controlplane/handshake/policy_questions.h"

#include <algorithm>
#include <utility>
#include <vector>

#include "common/base/assert.h"

namespace qanat::controlplane {

void PolicyQuestions::add(uint64_t token, uint32_t node, Instant now, Answer done) {
    const bool added =
        questions_.try_emplace(token, Question{.node = node, .done = std::move(done), .until = now + kAnswerTime})
            .second;
    QANAT_ASSERT(added);
}

void PolicyQuestions::answer(uint32_t node, const wire::ControlMessage& answer) {
    const auto question = questions_.find(answer.token);
    if (question != questions_.end() && question->second.node == node) finish(answer.token, answer);
}

void PolicyQuestions::node_lost(uint32_t node) {
    give_up([node](const Question& question) { return question.node == node; });
}

void PolicyQuestions::all_lost() {
    for (auto& [token, question] : std::exchange(questions_, {})) question.done(std::nullopt);
}

void PolicyQuestions::tick(Instant now) {
    give_up([now](const Question& question) { return now >= question.until; });
}

std::optional<Instant> PolicyQuestions::deadline() const {
    std::optional<Instant> next;
    for (const auto& [token, question] : questions_) next = next ? std::min(*next, question.until) : question.until;
    return next;
}

template <class Wanted>
void PolicyQuestions::give_up(Wanted wanted) {
    // Whoever is told may ask anew.
    std::vector<uint64_t> tokens;
    for (const auto& [token, question] : questions_)
        if (wanted(question)) tokens.push_back(token);
    for (const uint64_t token : tokens) finish(token, std::nullopt);
}

void PolicyQuestions::finish(uint64_t token, const std::optional<wire::ControlMessage>& answer) {
    const auto found = questions_.find(token);
    if (found == questions_.end()) return;
    const Answer done = std::move(found->second.done);
    questions_.erase(found);
    done(answer);
}

}  // namespace qanat::controlplane
