// Listeners: which address each engine listens on, through starts and restarts of the data plane. Pure.
//
// Engine 0 goes first and makes sure that nobody else holds the address; only then the others join it there with
// SO_REUSEPORT. A port that was chosen for port 0 is asked for again after a restart: clients know it.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "common/ring/messages.h"
#include "common/wire/address.h"

namespace qanat::controlplane {

struct ListenerSpec {
    ring::ListenerKind kind = ring::ListenerKind::tunnel;
    wire::Endpoint address;
    std::string origin{};  // where an operator changes it: "--listen or node.listen[0]"
};

class Listeners {
public:
    struct Command {
        uint32_t engine = 0;
        ring::Listen listen{};
    };
    enum class Progress : uint8_t {
        waiting,    // for further results
        listening,  // every engine listens on every address
        failed,     // see failure(); retry() or give up
        stray,      // the result belongs to no question: the engine breaks the protocol
    };
    struct Failure {
        uint32_t listener = 0;
        uint32_t engine = 0;
        int error = 0;  // errno
    };

    explicit Listeners(std::vector<ListenerSpec> specs);

    // A data plane is there: what to send to it.
    [[nodiscard]] std::vector<Command> start(uint32_t engines);

    // The answer of an engine; appends what to send next to `commands`.
    [[nodiscard]] Progress on_result(uint32_t engine, const ring::ListenResult& result, std::vector<Command>& commands);

    // The question that failed, once more.
    [[nodiscard]] Command retry() const;
    [[nodiscard]] const std::optional<Failure>& failure() const { return failure_; }

    // One line: what, where, why, and what to do about it.
    [[nodiscard]] std::string describe_failure() const;

    [[nodiscard]] const std::vector<ListenerSpec>& specs() const { return specs_; }
    // The addresses with their real ports, in the order of the specs; as configured before the first success.
    [[nodiscard]] std::vector<wire::Endpoint> addresses() const;
    [[nodiscard]] bool listening() const { return engines_ > 0 && open_ == 0; }

private:
    struct State {
        wire::Endpoint address;     // with the real port once it is known
        std::vector<bool> waiting;  // per engine
    };
    [[nodiscard]] Command make(uint32_t listener, uint32_t engine) const;

    std::vector<ListenerSpec> specs_;
    std::vector<State> states_;
    uint32_t engines_ = 0;
    size_t open_ = 0;  // results that are still to come
    std::optional<Failure> failure_;
};

}  // namespace qanat::controlplane
