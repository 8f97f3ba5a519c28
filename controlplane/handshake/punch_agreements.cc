#include "controlplane/handshake/punch_agreements.h"

#include <algorithm>

namespace qanat::controlplane {

bool PunchAgreements::possible(const ClientNode& node) const {
    const LiveSession* session = node.session();
    return enabled_ && may_punch_ && session != nullptr && !session->path().via.empty() && !session->path().fixed &&
           session->node_can(handshake::kCapabilityPunch);
}

bool PunchAgreements::worth_trying(const ClientNode& node, const wire::Endpoint& dialled) const {
    // Who is met on loopback is behind no NAT.
    const wire::Endpoint outside{.ip = dialled.ip, .port = UINT16_MAX};
    return possible(node) && may_punch_(outside, outside);
}

bool PunchAgreements::on_observed(ClientNode* node, uint32_t engine, const ring::PunchObserved& event, Instant now) {
    const ClientPunches::Question question{.node = event.node,
                                           .engine = engine,
                                           .punch = event.punch,
                                           .observed = from_ring(event.observed),
                                           .until = now + ClientPunches::kAnswerTime};
    if (node == nullptr || !possible(*node)) {
        tell_engine(question, ring::PunchStart::impossible);
        return false;
    }
    // Its answer reaches us half a round trip after it left; the node waits for that, and the SYNs of both cross.
    const auto half = std::chrono::duration_cast<std::chrono::milliseconds>(
        node->machine().latency().value_or(std::chrono::microseconds(0)) / 2);
    const uint64_t token = draw_u64(random_);
    if (punches_.full() ||
        !node->send({.kind = wire::ControlMessage::Kind::punch,
                     .token = token,
                     .address = question.observed,
                     .delay_ms = static_cast<uint16_t>(std::min<int64_t>(half.count(), wire::kPunchDelayMaxMs))}) ||
        !punches_.add(token, question)) {
        tell_engine(question, ring::PunchStart::busy);
        return false;
    }
    return true;
}

void PunchAgreements::on_answer(const ClientNode& node, const wire::ControlMessage& answer) {
    const auto question = punches_.take(answer.token, node.spec().number);
    if (!question) return;  // too late
    if (answer.punch == wire::PunchStatus::busy) return tell_engine(*question, ring::PunchStart::busy);
    const bool ready = answer.punch == wire::PunchStatus::ready && may_punch_(answer.address, question->observed);
    tell_engine(*question, ready ? ring::PunchStart::ready : ring::PunchStart::impossible, answer.address);
}

void PunchAgreements::node_lost(uint32_t node) {
    for (const auto& question : punches_.take_of(node)) tell_engine(question, ring::PunchStart::busy);
}

void PunchAgreements::tick(Instant now) {
    for (const auto& question : punches_.take_overdue(now)) tell_engine(question, ring::PunchStart::busy);
}

void PunchAgreements::tell_engine(const ClientPunches::Question& question, ring::PunchStart start,
                                  const wire::Endpoint& peer) {
    ring::PunchPeer command{};
    command.punch = question.punch;
    command.start = start;
    if (start == ring::PunchStart::ready) command.peer = to_ring(peer);
    port_.send(question.engine, command);
}

}  // namespace qanat::controlplane
