// PolicyQuestions: ASK_POLICY questions of a client that wait for their POLICY_ANSWER, and who asked. Each is answered
// exactly once: by the node, or with nothing when its time is over or its session ends.
//
// Answers are handed out from inside these members, after the question is forgotten: asking again from there is fine.
// Time is an argument; nothing blocks.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <optional>

#include "common/wire/control_message.h"
#include "controlplane/loop/event_loop.h"

namespace qanat::controlplane {

class PolicyQuestions {
public:
    static constexpr Duration kAnswerTime = std::chrono::seconds(3);

    using Answer = std::function<void(const std::optional<wire::ControlMessage>& answer)>;

    [[nodiscard]] bool contains(uint64_t token) const { return questions_.contains(token); }
    // A question that was sent to this node just now. The token is not in use.
    void add(uint64_t token, uint32_t node, Instant now, Answer done);
    // Nothing happens if this node was not asked that, or too long ago.
    void answer(uint32_t node, const wire::ControlMessage& answer);
    // The session with the node has ended.
    void node_lost(uint32_t node);
    void all_lost();

    // To be called at deadline(), or any time.
    void tick(Instant now);
    [[nodiscard]] std::optional<Instant> deadline() const;

private:
    struct Question {
        uint32_t node = 0;
        Answer done;
        Instant until{};
    };

    template <class Wanted>
    void give_up(Wanted wanted);
    void finish(uint64_t token, const std::optional<wire::ControlMessage>& answer);

    std::map<uint64_t, Question> questions_;  // by token
};

}  // namespace qanat::controlplane
