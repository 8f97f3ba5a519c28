#include "controlplane/relay/members.h"

#include <algorithm>

#include "common/base/assert.h"
#include "controlplane/plane_link/command_port.h"

namespace qanat::controlplane {

using ring::MemberStatus;

Members::Members(const PublicKey& own_id, Services services, Instant now)
    : own_id_(own_id), services_(std::move(services)), rate_(kVerificationsPerSecond, kVerificationsBurst, now) {}

void Members::ask(uint32_t engine, const ring::MemberWanted& wanted, Instant now) {
    const Question question{engine, wanted.query};
    ++counts_.questions;
    // Whoever names us as the next node has drawn a circle.
    if (wanted.id == own_id_) return answer(question, MemberStatus::unknown);
    if (const auto relay = services_.relay_address(wanted.id)) return answer(question, MemberStatus::reachable, *relay);
    if (Entry* met = met_entry(wanted.id)) {
        met->until = now + kIdleTime;
        return answer(question, MemberStatus::reachable, met->address);
    }

    Key key{wanted.id, std::nullopt};
    if (wanted.hint.family != 0) key.second = from_ring(wanted.hint);
    // A client that says no address counts on a reservation.
    if (!key.second && services_.has_session_here(wanted.id)) return answer(question, MemberStatus::reserved);
    std::vector<NodeAddress> addresses = services_.known_addresses(wanted.id);
    if (!addresses.empty())
        key.second.reset();
    else if (key.second && services_.may_dial_hint(*key.second))
        addresses.push_back({.target = wire::Target(*key.second)});
    if (addresses.empty()) return answer(question, without_address(wanted.id));

    auto at = entries_.find(key);
    if (at != entries_.end() && at->second.state == State::failed && now < at->second.until)
        return answer(question, without_address(wanted.id));
    if (questions_ >= kQuestionsMax) return answer(question, MemberStatus::busy);
    if (at == entries_.end() || at->second.state == State::failed) {
        if (!may_verify(wanted.id, now)) return answer(question, MemberStatus::busy);
        at = entries_.try_emplace(key).first;
        at->second.addresses = std::move(addresses);
        at->second.number = next_number();
        verify(key, at->second, now);
        at->second.waiting.push_back(question);
        ++questions_;
        return services_.targets_changed();
    }
    at->second.waiting.push_back(question);
    ++questions_;
}

std::vector<NodeSpec> Members::targets() const {
    std::vector<NodeSpec> targets;
    for (const auto& [key, entry] : entries_) {
        if (entry.state == State::failed || entry.over) continue;
        NodeSpec spec;
        spec.number = entry.number;
        spec.id = key.first;
        spec.paths.push_back({.via = {}, .addrs = entry.addresses});
        spec.routable = false;
        spec.on_request = true;
        targets.push_back(std::move(spec));
    }
    return targets;
}

void Members::report(uint32_t number, const std::optional<wire::Endpoint>& met, bool failed, Instant now) {
    const auto at = std::find_if(entries_.begin(), entries_.end(), [number](const auto& item) {
        return item.second.number == number && item.second.state != State::failed && !item.second.over;
    });
    if (at == entries_.end()) return;
    Entry& entry = at->second;
    if (met) {
        if (entry.state != State::met) entry.until = now + kIdleTime;
        entry.state = State::met;
        entry.was_met = true;
        entry.address = *met;
        entry.backoff.reset();
        for (const Question& question : std::exchange(entry.waiting, {})) {
            --questions_;
            answer(question, MemberStatus::reachable, entry.address);
        }
        return;
    }
    // Its session ended: it may be back at once, the driver tries by itself.
    if (entry.state == State::met) verify(at->first, entry, now);
    if (!failed) return;
    if (entry.was_met || !at->first.second) return fail_entry(at, now);
    entry.over = true;
    services_.targets_changed();
}

void Members::tick(Instant now) {
    bool changed = false;
    for (auto at = entries_.begin(); at != entries_.end();) {
        Entry& entry = at->second;
        // What failed is remembered for a while after it may be tried again, for its back-off.
        const Instant end =
            entry.until + (entry.state == State::failed ? Instant::duration(kBackoffMax) : Instant::duration::zero());
        if (now < end) {
            ++at;
            continue;
        }
        if (entry.state == State::verifying) {
            fail_entry(at, now);
            ++at;
            continue;
        }
        changed = changed || entry.state == State::met;
        at = entries_.erase(at);
    }
    if (changed) services_.targets_changed();
}

void Members::reset() {
    entries_.clear();
    questions_ = 0;
}

Members::Entry* Members::met_entry(const PublicKey& id) {
    for (auto at = entries_.lower_bound({id, std::nullopt}); at != entries_.end() && at->first.first == id; ++at)
        if (at->second.state == State::met) return &at->second;
    return nullptr;
}

bool Members::may_verify(const PublicKey& id, Instant now) {
    // The cheap question first: a flood of FORWARDs comes through here.
    if (!rate_.take(now) || verifying() >= kVerifyingMax || reachable() >= kMetMax) return false;
    size_t of_this = 0;
    for (auto at = entries_.lower_bound({id, std::nullopt}); at != entries_.end() && at->first.first == id; ++at)
        if (at->second.state == State::verifying) ++of_this;
    return of_this < kHintsPerMember && make_room(now);
}

void Members::verify(const Key& key, Entry& entry, Instant now) {
    entry.state = State::verifying;
    entry.over = false;
    const auto addresses = static_cast<int64_t>(std::min<size_t>(entry.addresses.size(), 4));
    entry.until = now + (key.second ? kHintTime : kAddressTime * addresses);
}

void Members::fail_entry(Entries::iterator at, Instant now) {
    Entry& entry = at->second;
    entry.state = State::failed;
    entry.was_met = false;
    entry.over = false;
    entry.until = now + entry.backoff.next(services_.random());
    const MemberStatus status = without_address(at->first.first);
    for (const Question& question : std::exchange(entry.waiting, {})) {
        --questions_;
        answer(question, status);
    }
    services_.targets_changed();
}

void Members::answer(const Question& question, MemberStatus status, const wire::Endpoint& address) {
    ring::MemberResult result{};
    result.query = question.query;
    result.status = status;
    switch (status) {
        case MemberStatus::reachable:
            ++counts_.reachable;
            result.address = to_ring(address);
            break;
        case MemberStatus::reserved:
            ++counts_.reserved;
            break;
        case MemberStatus::unknown:
            ++counts_.unknown;
            break;
        case MemberStatus::busy:
            ++counts_.busy;
            break;
    }
    services_.answer(question.engine, result);
}

MemberStatus Members::without_address(const PublicKey& id) const {
    return services_.has_session_here(id) ? MemberStatus::reserved : MemberStatus::unknown;
}

bool Members::make_room(Instant now) {
    if (entries_.size() < kEntriesMax) return true;
    const auto expendable = std::find_if(entries_.begin(), entries_.end(), [now](const auto& item) {
        return item.second.state == State::failed && now >= item.second.until;
    });
    if (expendable == entries_.end()) return false;
    entries_.erase(expendable);
    return true;
}

uint32_t Members::next_number() {
    static_assert(ring::kPlanHopsMax - kFirstNumber > kEntriesMax);
    const auto taken = [this](uint32_t number) {
        return std::any_of(entries_.begin(), entries_.end(),
                           [number](const auto& item) { return item.second.number == number; });
    };
    // In turn: a number comes back after minutes.
    do {
        last_number_ = last_number_ + 1 < ring::kPlanHopsMax ? last_number_ + 1 : kFirstNumber;
    } while (taken(last_number_));
    return last_number_;
}

size_t Members::count(State state) const {
    return static_cast<size_t>(std::count_if(entries_.begin(), entries_.end(),
                                             [state](const auto& item) { return item.second.state == state; }));
}

}  // namespace qanat::controlplane
