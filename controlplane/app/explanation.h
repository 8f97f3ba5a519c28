// Explanation: the answer to `qanat explain`: who could carry the next stream, with what probability and why, and what
// the exits' policies say about the target. Pure: the owner asks the exits.
#pragma once

#include <json/value.h>

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "common/wire/control_message.h"
#include "controlplane/handshake/client_driver.h"
#include "controlplane/routing/planner.h"

namespace qanat::controlplane {

[[nodiscard]] std::string_view name_of(ring::PlanRule rule);

class Explanation {
public:
    // Exits whose policy is asked: those that are picked most.
    static constexpr size_t kAskedMax = 8;

    // `nodes`: by number, also those that are not in the plan.
    Explanation(Strategy strategy, Plan plan, std::map<uint32_t, ClientDriver::NodeStatus> nodes,
                const wire::Target& target, Instant now);
    Explanation(const Explanation&) = delete;
    Explanation& operator=(const Explanation&) = delete;

    // Whose policy is to be asked; on_answer() once for each of them.
    [[nodiscard]] const std::vector<uint32_t>& to_ask() const { return to_ask_; }
    void on_answer(uint32_t node, const std::optional<wire::ControlMessage>& answer);

    // The JSON of docs/OPERATIONS.md.
    [[nodiscard]] Json::Value result() const;

private:
    struct Candidate {
        uint32_t node = 0;
        const ring::PlanHop* hop = nullptr;  // of plan_; null: not in it
        double share = 0;
        std::string reason;
    };
    struct Verdict {
        std::string verdict;
        std::string rule;
    };

    [[nodiscard]] std::string reason_of(const Candidate& candidate, const ClientDriver::NodeStatus& node,
                                        Instant now) const;
    [[nodiscard]] std::string decision() const;

    Strategy strategy_;
    Plan plan_;
    std::map<uint32_t, ClientDriver::NodeStatus> nodes_;
    std::string target_;
    std::vector<Candidate> candidates_;  // the likeliest first
    std::vector<uint32_t> to_ask_;
    std::map<uint32_t, Verdict> verdicts_;
};

}  // namespace qanat::controlplane
