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
//
// Which paths an attempt takes is the owner's affair; the machine knows only that there are better ones than the
// session's (set_improvable), and then tries them now and then while the session serves on.
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
        lose_session,     // the node is lost: RemoveSession with node_lost = 1, close the control connection
        leave_session,    // the node lives and takes no new streams: the same with node_lost = 0
        send_ping,        // PING with ping_token() on the current session
    };
    using Actions = std::vector<Action>;

    static constexpr Duration kHope = std::chrono::seconds(3);
    static constexpr Duration kBackoffMin = std::chrono::milliseconds(200);
    static constexpr Duration kBackoffMax = std::chrono::seconds(10);
    static constexpr Duration kDrainingWait = std::chrono::seconds(1);   // before the first look whether it is back
    static constexpr Duration kProbeInterval = std::chrono::seconds(1);  // between attempts that failed streams cause
    static constexpr Duration kSuspectPingTimeout = std::chrono::seconds(2);
    static constexpr Duration kImproveMin = std::chrono::seconds(30);  // between looks for a better path; up to twice

    // health: between PINGs; a PONG has to come before the next one is due, and within `timeout`.
    struct Settings {
        Duration health;
        Duration timeout;
    };

    explicit NodeSession(Settings settings) : settings_(settings), backoff_(kBackoffMin, kBackoffMax) {}

    // In force from the next PING on.
    void set_settings(Settings settings, Instant now);

    // The data plane is ready. Only in state idle.
    [[nodiscard]] Actions start(Instant now);
    // The data plane died, and every session and connection with it: back to idle. Nothing is to be closed any more.
    void data_plane_lost(Instant now);

    // new_path: the session takes another way than the one before.
    [[nodiscard]] Actions attempt_succeeded(Instant now, Duration lifetime, uint64_t token, bool new_path = false);
    [[nodiscard]] Actions attempt_failed(Instant now, std::string reason, uint64_t random);

    // Of the current session's control connection.
    [[nodiscard]] Actions control_lost(Instant now, std::string reason);
    [[nodiscard]] Actions pong(Instant now, uint64_t token);
    [[nodiscard]] Actions draining(Instant now);

    // A relay of the session's path takes no streams any more, or is lost itself: a new attempt over what is left.
    [[nodiscard]] Actions path_lost(Instant now, std::string reason);
    // The session's path is not wanted any more; it goes on until an attempt over the others succeeds or fails.
    [[nodiscard]] Actions path_removed(Instant now);
    // Whether there is a better path than the session's. If so, it is tried from time to time (see improving()).
    void set_improvable(bool improvable, Instant now, uint64_t random);
    // Something has changed that makes an attempt worth while now: another address, a relay that is up.
    void hurry(Instant now);

    // What a stream met on this node.
    [[nodiscard]] Actions hop_failed(Instant now, ring::HopStage stage, int error, uint8_t status, uint64_t token);

    // Whether a failed stream says something about the node: not what its target did, nor our own lack of ports or
    // descriptors.
    [[nodiscard]] static bool speaks_of_the_node(ring::HopStage stage, int error, uint8_t status);

    // A PING out of turn, unless one is on its way.
    [[nodiscard]] Actions check(Instant now, uint64_t token);
    // What streams saw: a round trip to the node.
    void round_trip(std::chrono::microseconds sample);

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
    // The same, standing still while it moves a little: what plans are made of.
    [[nodiscard]] std::optional<std::chrono::microseconds> settled_latency() const { return settled_; }
    // The attempt on its way is to use better paths only; what becomes of it does not touch the session otherwise.
    [[nodiscard]] bool improving() const { return improving_; }
    [[nodiscard]] uint64_t probes_sent() const { return probes_sent_; }
    [[nodiscard]] uint64_t probes_lost() const { return probes_lost_; }

    // How the plan shows this node; nullopt: not at all.
    [[nodiscard]] std::optional<ring::HopState> hop_state(Instant now) const;

private:
    void enter(State state, Instant now);
    void ping(Instant now, Duration timeout, uint64_t token, Actions& actions);
    void lose(Instant now, std::string reason, Action how, Actions& actions);
    void retreat(Instant now, Duration wait);
    void suspect(Actions& actions);
    void probe(Instant now, Actions& actions);
    void measure(std::chrono::microseconds sample);
    [[nodiscard]] Duration pong_time() const;

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
    std::optional<Instant> improve_at_;  // up: there is a better path
    std::optional<Instant> ping_sent_;
    Instant pong_by_{};
    uint64_t ping_token_ = 0;
    uint64_t probes_sent_ = 0;
    uint64_t probes_lost_ = 0;
    bool suspect_ = false;
    bool proved_ = false;  // a PONG has come since the node was reached
    bool improving_ = false;
    bool new_path_ = false;  // what was measured before says nothing about this session
    std::optional<std::chrono::microseconds> latency_;
    std::optional<std::chrono::microseconds> settled_;
    std::string last_error_;
    uint64_t failures_ = 0;
};

}  // namespace qanat::controlplane
