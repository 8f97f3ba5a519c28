#include "controlplane/relay/punches.h"

#include <utility>
#include <vector>

#include "common/base/log.h"
#include "common/handshake/node_id.h"

namespace qanat::controlplane {

using wire::PunchStatus;

Punches::Punches(CommandPort& port, Services services, Instant now)
    : port_(port), services_(std::move(services)), budget_(kRate, kBurst, now) {}

bool Punches::within_rate(const PublicKey& member, Instant now) {
    auto found = members_.find(member);
    if (found == members_.end()) {
        if (members_.size() >= kMembersMax)
            for (auto at = members_.begin(); at != members_.end();)
                at = at->second.level(now) >= kMemberBurst ? members_.erase(at) : std::next(at);
        if (members_.size() >= kMembersMax) return false;
        found = members_.emplace(member, TokenBucket(kMemberRate, kMemberBurst, now)).first;
    }
    return found->second.take(now) && budget_.take(now);
}

void Punches::answer(const Answer& answer, PunchStatus status, const wire::Endpoint& address) {
    switch (status) {
        case PunchStatus::ready:
            ++counts_.ready;
            break;
        case PunchStatus::busy:
            ++counts_.busy;
            break;
        case PunchStatus::impossible:
            ++counts_.impossible;
            break;
    }
    answer(status, address);
}

void Punches::ask(uint32_t engine, const PublicKey& member, const wire::Endpoint& peer, uint16_t delay_ms, Instant now,
                  Answer done) {
    ++counts_.asked;
    if (!enabled_) return answer(done, PunchStatus::impossible);
    const auto relay = services_.relay();
    if (!relay) return answer(done, PunchStatus::busy);
    if (pending_.size() >= kPendingMax || !within_rate(member, now)) return answer(done, PunchStatus::busy);
    const uint64_t name = next_++;
    pending_[name] = {
        .engine = engine, .peer = peer, .delay_ms = delay_ms, .until = now + kObserveTime, .answer = std::move(done)};
    ring::Punch command{};
    command.punch = name;
    command.relay = relay->number;
    command.address = to_ring(relay->address);
    port_.send(engine, command);
    if (log_enabled(LogLevel::debug))
        log_debug("asked to punch", {{"client", encode_node_id(member)}, {"address", peer.format()}});
}

void Punches::on_observed(uint32_t engine, const ring::PunchObserved& event) {
    const auto found = pending_.find(event.punch);
    if (found == pending_.end() || found->second.engine != engine) return;
    const Pending pending = std::move(found->second);
    pending_.erase(found);
    if (event.error != 0) return answer(pending.answer, PunchStatus::busy);
    const wire::Endpoint observed = from_ring(event.observed);
    const bool fine = services_.may_punch(pending.peer, observed);
    if (!fine) log_debug("not punched", {{"address", pending.peer.format()}, {"seen_at", observed.format()}});
    ring::PunchPeer command{};
    command.punch = event.punch;
    command.start = fine ? ring::PunchStart::ready : ring::PunchStart::impossible;
    if (fine) {
        command.delay_ms = pending.delay_ms;
        command.peer = to_ring(pending.peer);
    }
    // The answer first: the delay counts from when it leaves.
    answer(pending.answer, fine ? PunchStatus::ready : PunchStatus::impossible, fine ? observed : wire::Endpoint{});
    port_.send(engine, command);
}

void Punches::tick(Instant now) {
    std::vector<Answer> overdue;
    for (auto at = pending_.begin(); at != pending_.end();) {
        if (now < at->second.until) {
            ++at;
            continue;
        }
        overdue.push_back(std::move(at->second.answer));
        at = pending_.erase(at);
    }
    for (const Answer& late : overdue) answer(late, PunchStatus::busy);
}

void Punches::reset() {
    pending_.clear();
}

}  // namespace qanat::controlplane
