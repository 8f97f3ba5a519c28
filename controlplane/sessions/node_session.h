// NodeSession: a client's relation to one node, from the first attempt through renewals, failures and back-off. Pure:
// time and randomness are arguments, and what is to be done comes back as actions that the owner carries out in order.
//
//   idle ──start──> connecting ──ok──> up ──75 % of the lifetime, or suspect──> renewing ──ok──> up
//                     ▲   │failed      │lost                                      │failed while suspect
//                     │   ▼            ▼                                          ▼
//                     └─ down      connecting                                    down
//
// A lost control connection means that the node has restarted (PROTOCOL.md 3.2): a new handshake starts at once, and
// for kHope the node stays in the plan as "connecting", so that streams wait for it instead of failing. A node that
// stays away leaves the plan and comes back through attempts with back-off.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "common/ring/messages.h"
#include "controlplane/loop/backoff.h"
#include "controlplane/loop/event_loop.h"

namespace qanat::controlplane {

class NodeSession {
public:
    enum class State : uint8_t { idle, connecting, up, renewing, down };
    [[nodiscard]] static std::string_view name_of(State state);

    enum class Action : uint8_t {
        begin_attempt,    // connect and shake hands; report attempt_succeeded() or attempt_failed()
        cancel_attempt,   // report nothing
        adopt_session,    // the session of the attempt that has just succeeded is the current one
        replace_session,  // the same, and the one before is retired: its control connection is closed
        drop_session,     // the current session ends now: RemoveSession, close its control connection
        send_ping,        // PING with ping_token() on the current session
    };
    using Actions = std::vector<Action>;

    static constexpr Duration kHope = std::chrono::seconds(3);
    static constexpr Duration kBackoffMin = std::chrono::milliseconds(200);
    static constexpr Duration kBackoffMax = std::chrono::seconds(10);
    static constexpr Duration kDrainingWait = std::chrono::seconds(1);   // before the first look whether it is back
    static constexpr Duration kProbeInterval = std::chrono::seconds(1);  // between attempts that failed streams cause
    static constexpr Duration kSuspectPingTimeout = std::chrono::seconds(2);

    // health: between PINGs. timeout: for a PONG.
    struct Settings {
        Duration health;
        Duration timeout;
    };

    explicit NodeSession(Settings settings) : settings_(settings), backoff_(kBackoffMin, kBackoffMax) {}

    // The data plane is ready. Only in state idle.
    [[nodiscard]] Actions start(Instant now);
    // The data plane died, and every session and connection with it: back to idle. Nothing is to be closed any more.
    void data_plane_lost(Instant now);

    [[nodiscard]] Actions attempt_succeeded(Instant now, Duration lifetime, uint64_t token);
    [[nodiscard]] Actions attempt_failed(Instant now, std::string reason, uint64_t random);

    // Of the current session's control connection.
    [[nodiscard]] Actions control_lost(Instant now, std::string reason);
    [[nodiscard]] Actions pong(Instant now, uint64_t token);
    [[nodiscard]] Actions draining(Instant now);

    // What a stream met on this node.
    [[nodiscard]] Actions hop_failed(Instant now, ring::HopStage stage, int error, uint8_t status, uint64_t token);

    // To be called at deadline(), or any time.
    [[nodiscard]] Actions tick(Instant now, uint64_t random);
    [[nodiscard]] std::optional<Instant> deadline(Instant now) const;

    [[nodiscard]] State state() const { return state_; }
    [[nodiscard]] bool has_session() const { return state_ == State::up || state_ == State::renewing; }
    [[nodiscard]] Instant since() const { return since_; }
    [[nodiscard]] const std::string& last_error() const { return last_error_; }
    [[nodiscard]] uint64_t failures() const { return failures_; }
    [[nodiscard]] uint64_t ping_token() const { return ping_token_; }
    [[nodiscard]] std::optional<std::chrono::microseconds> latency() const { return latency_; }

    // How the plan shows this node; nullopt: not at all.
    [[nodiscard]] std::optional<ring::HopState> hop_state(Instant now) const;

private:
    void enter(State state, Instant now);
    void ping(Instant now, Duration timeout, uint64_t token, Actions& actions);
    void lose(Instant now, std::string reason, Actions& actions);
    void retreat(Instant now, Duration wait);
    void probe(Instant now, Actions& actions);

    Settings settings_;
    Backoff backoff_;
    State state_ = State::idle;
    Instant since_{};
    Instant hope_until_{};
    Instant retry_at_{};    // down: next attempt
    Instant renew_at_{};    // up: next attempt
    Instant expires_at_{};  // up, renewing
    Instant ping_at_{};     // up, renewing: next PING
    Instant probed_at_{};
    std::optional<Instant> ping_sent_;
    Instant pong_by_{};
    uint64_t ping_token_ = 0;
    bool suspect_ = false;
    std::optional<std::chrono::microseconds> latency_;
    std::string last_error_;
    uint64_t failures_ = 0;
};

}  // namespace qanat::controlplane
