#include "controlplane/sessions/node_session.h"

#include <algorithm>
#include <cerrno>

#include "common/base/assert.h"
#include "controlplane/routing/planner.h"

namespace qanat::controlplane {
namespace {

// StreamStatus of PROTOCOL.md 4.2 that speaks of the node and not of the target.
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

void NodeSession::data_plane_lost(Instant now) {
    suspect_ = false;
    ping_sent_.reset();
    last_error_ = "the data plane ended";
    enter(State::idle, now);
}

NodeSession::Actions NodeSession::attempt_succeeded(Instant now, Duration lifetime, uint64_t token) {
    QANAT_ASSERT(state_ == State::connecting || state_ == State::renewing);
    Actions actions{state_ == State::renewing ? Action::replace_session : Action::adopt_session};
    // A renewed session was up all the time.
    if (state_ == State::renewing)
        state_ = State::up;
    else
        enter(State::up, now);
    suspect_ = false;
    backoff_.reset();
    last_error_.clear();
    renew_at_ = now + lifetime * 3 / 4;
    expires_at_ = now + lifetime;
    ping_sent_.reset();
    ping(now, settings_.timeout, token, actions);  // confirms the session, PROTOCOL.md 3.2
    return actions;
}

NodeSession::Actions NodeSession::attempt_failed(Instant now, std::string reason, uint64_t random) {
    QANAT_ASSERT(state_ == State::connecting || state_ == State::renewing);
    ++failures_;
    last_error_ = std::move(reason);
    if (state_ == State::connecting) {
        retreat(now, backoff_.next(random));
        return {};
    }
    if (suspect_) {
        hope_until_ = now + kHope;
        retreat(now, backoff_.next(random));
        return {Action::drop_session};
    }
    // The session that is there serves on.
    state_ = State::up;
    renew_at_ = now + backoff_.next(random);
    return {};
}

NodeSession::Actions NodeSession::control_lost(Instant now, std::string reason) {
    Actions actions;
    if (has_session()) lose(now, std::move(reason), actions);
    return actions;
}

NodeSession::Actions NodeSession::pong(Instant now, uint64_t token) {
    // A PONG nobody waits for is the answer to a PING that was given up; its round trip says nothing.
    if (!has_session() || !ping_sent_ || token != ping_token_) return {};
    latency_ = smooth_latency(latency_, std::chrono::duration_cast<std::chrono::microseconds>(now - *ping_sent_));
    ping_sent_.reset();
    ping_at_ = now + settings_.health;
    return {};
}

NodeSession::Actions NodeSession::draining(Instant now) {
    if (!has_session()) return {};
    Actions actions;
    if (state_ == State::renewing) actions.push_back(Action::cancel_attempt);
    actions.push_back(Action::drop_session);
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
        lose(now, "the session expired before it could be renewed", actions);
        return actions;
    }
    if (ping_sent_ && now >= pong_by_) {
        lose(now, "no answer to a ping", actions);
        return actions;
    }
    if (!ping_sent_ && now >= ping_at_) ping(now, settings_.timeout, random, actions);
    if (state_ == State::up && now >= renew_at_) {
        state_ = State::renewing;
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
    actions.push_back(Action::send_ping);
}

void NodeSession::lose(Instant now, std::string reason, Actions& actions) {
    ++failures_;
    last_error_ = std::move(reason);
    hope_until_ = now + kHope;
    ping_sent_.reset();
    suspect_ = false;
    actions.push_back(Action::drop_session);
    // A renewal that is on its way becomes the new attempt.
    if (state_ == State::up) actions.push_back(Action::begin_attempt);
    enter(State::connecting, now);
}

void NodeSession::retreat(Instant now, Duration wait) {
    suspect_ = false;
    ping_sent_.reset();
    retry_at_ = now + wait;
    enter(State::down, now);
}

void NodeSession::probe(Instant now, Actions& actions) {
    if (state_ != State::up) {
        suspect_ = state_ == State::renewing;
        return;
    }
    if (now - probed_at_ < kProbeInterval) return;
    probed_at_ = now;
    suspect_ = true;
    state_ = State::renewing;
    actions.push_back(Action::begin_attempt);
}

}  // namespace qanat::controlplane
