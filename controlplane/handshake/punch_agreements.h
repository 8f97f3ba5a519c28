// PunchAgreements: how a client agrees with its nodes on direct connections through NATs (PROTOCOL.md section 6.3). An
// engine has learned how a relay sees it; the node is asked over its control connection to punch to there, and its
// answer tells the engine where to punch to, or why not. An engine hears exactly once about each of its punches.
//
// Time is an argument; nothing blocks.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>

#include "controlplane/handshake/client_attempt.h"
#include "controlplane/handshake/client_node.h"
#include "controlplane/handshake/client_punches.h"
#include "controlplane/plane_link/command_port.h"

namespace qanat::controlplane {

class PunchAgreements {
public:
    // May a connection be punched to `peer` by who is seen at `observed`? Empty: no, never.
    using MayPunch = std::function<bool(const wire::Endpoint& peer, const wire::Endpoint& observed)>;

    // All of these outlive it.
    PunchAgreements(CommandPort& port, const RandomBytes& random, const MayPunch& may_punch)
        : port_(port), random_(random), may_punch_(may_punch) {}

    void set_enabled(bool enabled) { enabled_ = enabled; }

    // Whether streams through the node's session, whose route begins at `dialled`, are to ask for direct connections.
    [[nodiscard]] bool worth_trying(const ClientNode& node, const wire::Endpoint& dialled) const;

    // An engine wants to punch to this node; nullptr: it is not known. True: the node was asked, and deadline() may be
    // another one; else the engine has its answer.
    bool on_observed(ClientNode* node, uint32_t engine, const ring::PunchObserved& event, Instant now);
    // The node's PUNCH_ANSWER. Nothing happens if it was not asked that, or too long ago.
    void on_answer(const ClientNode& node, const wire::ControlMessage& answer);
    // The node's session has ended: not now.
    void node_lost(uint32_t node);
    // The engines ended: nobody waits.
    void forget() { punches_.clear(); }

    // To be called at deadline(), or any time.
    void tick(Instant now);
    [[nodiscard]] std::optional<Instant> deadline() const { return punches_.deadline(); }

private:
    [[nodiscard]] bool possible(const ClientNode& node) const;
    void tell_engine(const ClientPunches::Question& question, ring::PunchStart start, const wire::Endpoint& peer = {});

    CommandPort& port_;
    const RandomBytes& random_;
    const MayPunch& may_punch_;
    bool enabled_ = false;
    ClientPunches punches_;
};

}  // namespace qanat::controlplane
