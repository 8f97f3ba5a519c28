#include "controlplane/sessions/node_session.h"

#include <algorithm>
#include <cerrno>
#include <utility>

#include "common/base/assert.h"
#include "controlplane/routing/planner.h"

namespace qanat::controlplane {
namespace {

// StreamStatus of PROTOCOL.md 4.2 that speaks of the node and not of the target.
constexpr uint8_t kStatusAtCapacity = 11;
constexpr uint8_t kStatusDraining = 12;

bool speaks_of_the_network(int error) {
    return error == ECONNREFUSED || error == ECONNRESET || error == ETIMEDOUT || error == ENETUNREACH ||
           error == EHOSTUNREACH || error == ENETDOWN || error == EHOSTDOWN || error == 0;
}

}  // namespace

std::string_view NodeSession::name_of(State state) {
    switch (state) {
        case State::idle:
            return "idle";
        case State::connecting:
            return "connecting";
        case State::up:
            return "up";
        case State::renewing:
            return "renewing";
        case State::down:
            return "down";
    }
    return "unknown";
}

NodeSession::Actions NodeSession::start(Instant now) {
    QANAT_ASSERT(state_ == State::idle);
    hope_until_ = now + kHope;
    backoff_.reset();
    enter(State::connecting, now);
    return {Action::begin_attempt};
}

void NodeSession::set_settings(Settings settings, Instant now) {
    settings_ = settings;
    ping_at_ = std::min(ping_at_, now + settings_.health);
}

void NodeSession::data_plane_lost(Instant now) {
    suspect_ = false;
    improving_ = false;
    improve_at_.reset();
    ping_sent_.reset();
    last_error_ = "the data plane ended";
    enter(State::idle, now);
}

NodeSession::Actions NodeSession::attempt_succeeded(Instant now, Duration lifetime, uint64_t token, bool new_path) {
    QANAT_ASSERT(state_ == State::connecting || state_ == State::renewing);
    const bool renewal = state_ == State::renewing;
    Actions actions{renewal ? Action::replace_session : Action::adopt_session};
    // A renewed session was up all the time.
    if (renewal)
        state_ = State::up;
    else
        enter(State::up, now);
    suspect_ = false;
    improving_ = false;
    improve_at_.reset();
    new_path_ = new_path_ || new_path;
    proved_ = renewal && proved_;
    last_error_.clear();
    renew_at_ = now + lifetime * 3 / 4;
    expires_at_ = now + lifetime;
    ping_sent_.reset();
    ping(now, settings_.timeout, token, actions);  // confirms the session, PROTOCOL.md 3.2
    return actions;
}

NodeSession::Actions NodeSession::attempt_failed(Instant now, std::string reason, uint64_t random) {
    QANAT_ASSERT(state_ == State::connecting || state_ == State::renewing);
    if (improving_) {
        improving_ = false;
        state_ = State::up;
        set_improvable(true, now, random);
        return {};
    }
    ++failures_;
    last_error_ = std::move(reason);
    if (state_ == State::connecting) {
        retreat(now, backoff_.next(random));
        return {};
    }
    if (suspect_) {
        hope_until_ = now + kHope;
        retreat(now, backoff_.next(random));
        return {Action::lose_session};
    }
    // The session that is there serves on.
    state_ = State::up;
    renew_at_ = now + backoff_.next(random);
    return {};
}

NodeSession::Actions NodeSession::control_lost(Instant now, std::string reason) {
    Actions actions;
    // Who takes the session and ends it before the first PONG would have us shake hands without pause.
    if (state_ == State::up && !proved_) {
        ++failures_;
        last_error_ = std::move(reason);
        hope_until_ = now + kHope;
        retreat(now, backoff_.next(ping_token_));
        return {Action::lose_session};
    }
    if (has_session()) lose(now, std::move(reason), Action::lose_session, actions);
    return actions;
}

NodeSession::Actions NodeSession::path_lost(Instant now, std::string reason) {
    Actions actions;
    if (has_session()) lose(now, std::move(reason), Action::leave_session, actions);
    return actions;
}

NodeSession::Actions NodeSession::path_removed(Instant) {
    Actions actions;
    if (has_session()) suspect(actions);
    return actions;
}

void NodeSession::set_improvable(bool improvable, Instant now, uint64_t random) {
    if (!improvable)
        improve_at_.reset();
    else if (!improve_at_ || *improve_at_ <= now)
        improve_at_ = now + kImproveMin + Duration(static_cast<int64_t>(random % (kImproveMin.count() + 1)));
}

void NodeSession::hurry(Instant now) {
    if (state_ == State::down) retry_at_ = std::min(retry_at_, now);
    if (improve_at_) improve_at_ = std::min(*improve_at_, now);
}

NodeSession::Actions NodeSession::pong(Instant now, uint64_t token) {
    // A PONG nobody waits for is the answer to a PING that was given up; its round trip says nothing.
    if (!has_session() || !ping_sent_ || token != ping_token_) return {};
    measure(std::chrono::duration_cast<std::chrono::microseconds>(now - *ping_sent_));
    ping_sent_.reset();
    proved_ = true;
    backoff_.reset();
    return {};
}

bool NodeSession::speaks_of_the_node(ring::HopStage stage, int error, uint8_t status) {
    if (status != 0) return status == kStatusAtCapacity;
    return stage != ring::HopStage::connect || speaks_of_the_network(error);
}

NodeSession::Actions NodeSession::check(Instant now, uint64_t token) {
    Actions actions;
    if (has_session() && !ping_sent_) ping(now, pong_time(), token, actions);
    return actions;
}

void NodeSession::round_trip(std::chrono::microseconds sample) {
    if (has_session()) measure(sample);
}

NodeSession::Actions NodeSession::draining(Instant now) {
    if (!has_session()) return {};
    Actions actions;
    if (state_ == State::renewing) actions.push_back(Action::cancel_attempt);
    actions.push_back(Action::leave_session);
    last_error_ = "the node is draining";
    hope_until_ = now;
    retreat(now, kDrainingWait);
    return actions;
}

NodeSession::Actions NodeSession::hop_failed(Instant now, ring::HopStage stage, int error, uint8_t status,
                                             uint64_t token) {
    if (!has_session()) return {};
    if (status == kStatusDraining) return draining(now);
    // Any other status is an answer: the node is alive, and what failed is the target or a cap.
    if (status != 0) return {};
    Actions actions;
    switch (stage) {
        case ring::HopStage::connect:
            // Our own lack of ports or descriptors says nothing about the node.
            if (speaks_of_the_network(error)) probe(now, actions);
            break;
        case ring::HopStage::first_flight:
            probe(now, actions);
            break;
        case ring::HopStage::response:
            // Slow targets look like this too, so the node is asked before it is doubted.
            if (!ping_sent_) ping(now, std::min(kSuspectPingTimeout, settings_.timeout), token, actions);
            break;
    }
    return actions;
}

NodeSession::Actions NodeSession::tick(Instant now, uint64_t random) {
    Actions actions;
    switch (state_) {
        case State::idle:
        case State::connecting:
            return actions;
        case State::down:
            if (now >= retry_at_) {
                enter(State::connecting, now);
                actions.push_back(Action::begin_attempt);
            }
            return actions;
        case State::up:
        case State::renewing:
            break;
    }
    if (now >= expires_at_) {
        lose(now, "the session expired before it could be renewed", Action::leave_session, actions);
        return actions;
    }
    if (ping_sent_ && now >= pong_by_) {
        ++probes_lost_;
        lose(now, "no answer to a ping", Action::lose_session, actions);
        return actions;
    }
    if (!ping_sent_ && now >= ping_at_) ping(now, pong_time(), random, actions);
    if (state_ == State::up && now >= renew_at_) {
        state_ = State::renewing;
        actions.push_back(Action::begin_attempt);
    } else if (state_ == State::up && improve_at_ && now >= *improve_at_) {
        state_ = State::renewing;
        improving_ = true;
        actions.push_back(Action::begin_attempt);
    }
    return actions;
}

std::optional<Instant> NodeSession::deadline(Instant now) const {
    std::optional<Instant> next;
    const auto consider = [&next](Instant at) { next = next ? std::min(*next, at) : at; };
    switch (state_) {
        case State::idle:
            return std::nullopt;
        case State::down:
            consider(retry_at_);
            break;
        case State::connecting:
            break;
        case State::up:
            consider(renew_at_);
            if (improve_at_) consider(*improve_at_);
            [[fallthrough]];
        case State::renewing:
            consider(expires_at_);
            consider(ping_sent_ ? pong_by_ : ping_at_);
            return next;
    }
    // The plan changes when hope ends.
    if (now < hope_until_) consider(hope_until_);
    return next;
}

std::optional<ring::HopState> NodeSession::hop_state(Instant now) const {
    if (has_session()) return suspect_ ? ring::HopState::connecting : ring::HopState::up;
    if (state_ == State::idle || now >= hope_until_) return std::nullopt;
    return ring::HopState::connecting;
}

void NodeSession::enter(State state, Instant now) {
    state_ = state;
    since_ = now;
}

void NodeSession::ping(Instant now, Duration timeout, uint64_t token, Actions& actions) {
    ping_token_ = token;
    ping_sent_ = now;
    pong_by_ = now + timeout;
    ping_at_ = now + settings_.health;
    ++probes_sent_;
    actions.push_back(Action::send_ping);
}

// So that a node which stands still leaves the plan within two intervals; but not one that is only far away.
Duration NodeSession::pong_time() const {
    const Duration patience = latency_ ? std::chrono::duration_cast<Duration>(*latency_ * 4) : settings_.timeout;
    return std::min(settings_.timeout, std::max(settings_.health, patience));
}

void NodeSession::measure(std::chrono::microseconds sample) {
    if (std::exchange(new_path_, false)) latency_.reset();
    latency_ = smooth_latency(latency_, sample);
    settled_ = settle_latency(settled_, *latency_);
}

void NodeSession::lose(Instant now, std::string reason, Action how, Actions& actions) {
    ++failures_;
    last_error_ = std::move(reason);
    hope_until_ = now + kHope;
    ping_sent_.reset();
    suspect_ = false;
    improve_at_.reset();
    actions.push_back(how);
    // A renewal that is on its way becomes the new attempt, unless it leaves paths out.
    if (improving_) actions.push_back(Action::cancel_attempt);
    if (state_ == State::up || improving_) actions.push_back(Action::begin_attempt);
    improving_ = false;
    enter(State::connecting, now);
}

void NodeSession::retreat(Instant now, Duration wait) {
    suspect_ = false;
    improving_ = false;
    improve_at_.reset();
    ping_sent_.reset();
    retry_at_ = now + wait;
    enter(State::down, now);
}

void NodeSession::suspect(Actions& actions) {
    suspect_ = true;
    if (improving_) actions.push_back(Action::cancel_attempt);
    if (state_ == State::up || improving_) actions.push_back(Action::begin_attempt);
    improving_ = false;
    state_ = State::renewing;
}

void NodeSession::probe(Instant now, Actions& actions) {
    if (now - probed_at_ < kProbeInterval) return;
    probed_at_ = now;
    suspect(actions);
}

}  // namespace qanat::controlplane
