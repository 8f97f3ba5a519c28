// ClientPunches: PUNCH questions of a client that wait for their PUNCH_ANSWER (PROTOCOL.md section 6.3), and which
// punch of which engine each of them is for. Time is an argument.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <vector>

#include "common/wire/address.h"
#include "controlplane/loop/event_loop.h"

namespace qanat::controlplane {

class ClientPunches {
public:
    // The node needs a round trip to its relay, and its answer one to us.
    static constexpr Duration kAnswerTime = std::chrono::seconds(5);
    static constexpr size_t kMax = 256;

    struct Question {
        uint32_t node = 0;
        uint32_t engine = 0;
        uint64_t punch = 0;       // the engine's name for it
        wire::Endpoint observed;  // how the relay sees this end
        Instant until{};
    };

    [[nodiscard]] bool full() const { return questions_.size() >= kMax; }
    // False: the token is in use.
    [[nodiscard]] bool add(uint64_t token, Question question) { return questions_.emplace(token, question).second; }
    // The question that this node answers; nothing if it was not asked that.
    [[nodiscard]] std::optional<Question> take(uint64_t token, uint32_t node);
    // Those that nobody will answer any more.
    [[nodiscard]] std::vector<Question> take_overdue(Instant now);
    [[nodiscard]] std::vector<Question> take_of(uint32_t node);
    void clear() { questions_.clear(); }

    [[nodiscard]] std::optional<Instant> deadline() const;

private:
    template <class Wanted>
    std::vector<Question> take_if(Wanted wanted);

    std::map<uint64_t, Question> questions_;  // by token
};

}  // namespace qanat::controlplane
