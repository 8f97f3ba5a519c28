// Punches: a node's side of direct connections through NATs (PROTOCOL.md section 6.3). A client asks over its control
// connection; the engine that carries it asks a relay how it sees this node; both answers go out, and the engine
// connects. Here is decided whether, how often, and to whom. Time is an argument.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <optional>

#include "common/handshake/key_pair.h"
#include "common/ring/messages.h"
#include "common/wire/control_message.h"
#include "controlplane/handshake/admission.h"
#include "controlplane/plane_link/command_port.h"

namespace qanat::controlplane {

class Punches {
public:
    // Of one member, and of all together. What a member can cost is a few SYNs each.
    static constexpr double kMemberRate = 0.5;
    static constexpr double kMemberBurst = 20;
    static constexpr double kRate = 5;
    static constexpr double kBurst = 100;
    static constexpr size_t kMembersMax = 1024;
    static constexpr size_t kPendingMax = 64;
    static constexpr Duration kObserveTime = std::chrono::seconds(4);

    struct Relay {
        uint32_t number = 0;
        wire::Endpoint address;
    };
    struct Services {
        // One that this node has a session with, directly.
        std::function<std::optional<Relay>()> relay;
        std::function<bool(const wire::Endpoint& peer, const wire::Endpoint& observed)> may_punch;
    };
    struct Counts {
        uint64_t asked = 0;
        uint64_t ready = 0;
        uint64_t busy = 0;
        uint64_t impossible = 0;
    };
    // Called once, perhaps at once. The address is the node's, with ready.
    using Answer = std::function<void(wire::PunchStatus status, const wire::Endpoint& address)>;

    // `port` outlives the object.
    Punches(CommandPort& port, Services services, Instant now);

    void set_enabled(bool enabled) { enabled_ = enabled; }
    [[nodiscard]] bool enabled() const { return enabled_; }

    // `engine` carries the member's control connection, and will punch.
    void ask(uint32_t engine, const PublicKey& member, const wire::Endpoint& peer, uint16_t delay_ms, Instant now,
             Answer answer);
    void on_observed(uint32_t engine, const ring::PunchObserved& event);
    void tick(Instant now);
    // The data plane ended.
    void reset();

    [[nodiscard]] const Counts& counts() const { return counts_; }

private:
    struct Pending {
        uint32_t engine = 0;
        wire::Endpoint peer;
        uint16_t delay_ms = 0;
        Instant until{};
        Answer answer;
    };

    [[nodiscard]] bool within_rate(const PublicKey& member, Instant now);
    void answer(const Answer& answer, wire::PunchStatus status, const wire::Endpoint& address = {});

    CommandPort& port_;
    Services services_;
    TokenBucket budget_;
    std::map<PublicKey, TokenBucket> members_;
    std::map<uint64_t, Pending> pending_;  // by the name that the engine has for it
    uint64_t next_ = 1;
    Counts counts_;
    bool enabled_ = false;
};

}  // namespace qanat::controlplane
