#include "controlplane/handshake/client_punches.h"

#include <algorithm>

namespace qanat::controlplane {

template <class Wanted>
std::vector<ClientPunches::Question> ClientPunches::take_if(Wanted wanted) {
    std::vector<Question> taken;
    std::erase_if(questions_, [&](const auto& entry) {
        if (!wanted(entry.second)) return false;
        taken.push_back(entry.second);
        return true;
    });
    return taken;
}

std::optional<ClientPunches::Question> ClientPunches::take(uint64_t token, uint32_t node) {
    const auto found = questions_.find(token);
    if (found == questions_.end() || found->second.node != node) return std::nullopt;
    const Question question = found->second;
    questions_.erase(found);
    return question;
}

std::vector<ClientPunches::Question> ClientPunches::take_overdue(Instant now) {
    return take_if([now](const Question& question) { return now >= question.until; });
}

std::vector<ClientPunches::Question> ClientPunches::take_of(uint32_t node) {
    return take_if([node](const Question& question) { return question.node == node; });
}

std::optional<Instant> ClientPunches::deadline() const {
    std::optional<Instant> next;
    for (const auto& [token, question] : questions_) next = next ? std::min(*next, question.until) : question.until;
    return next;
}

}  // namespace qanat::controlplane
