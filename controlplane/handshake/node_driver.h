// NodeDriver: a node's side of every session handshake and control connection (PROTOCOL.md, section 3). It turns the
// events of the engines into steps of the pure machines (gate, Noise, control records) and their results into commands.
// Time is an argument; it has no timer and no socket of its own.
//
// Whatever is wrong before a client is authenticated takes the one silent path: ControlClose{silent}, and the engine
// does the same as for a scanner.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "common/crypto/psk.h"
#include "common/handshake/cookie_jar.h"
#include "common/handshake/seen_ephemerals.h"
#include "common/handshake/session_node.h"
#include "common/ring/messages.h"
#include "common/wire/stream_messages.h"
#include "controlplane/handshake/admission.h"
#include "controlplane/handshake/control_channel.h"
#include "controlplane/plane_link/command_port.h"
#include "controlplane/sessions/session_table.h"

namespace qanat::controlplane {

// Fills its argument with random bytes; crypto::random_bytes outside of tests.
using RandomBytes = std::function<void(MutableBytes)>;

class NodeDriver {
public:
    struct Settings {
        Identity identity;
        std::vector<crypto::NetworkKeys> network_keys;  // every one that is accepted
        std::vector<crypto::Suite> suites;              // allowed; non-empty
        uint32_t capabilities = 0;
        Duration lifetime = std::chrono::seconds(3600);
        size_t sessions_max = 4096;
        Admission::Settings admission;
    };

    // What the driver asks of the rest of the node.
    struct Services {
        // Would the exit connect to this? Calls back at most once, possibly at once, with a status that POLICY_ANSWER
        // may carry and the rule that decided. Not set: nobody is answered.
        std::function<void(const wire::Target&, std::function<void(wire::StreamStatus, wire::Reason)>)> ask_policy;
        // A direct connection through NATs with this member (PROTOCOL.md section 6.3): `engine` carries its control
        // connection. Calls back at most once. Not set: impossible.
        std::function<void(uint32_t engine, const PublicKey& member, const wire::Endpoint& peer, uint16_t delay_ms,
                           std::function<void(wire::PunchStatus, const wire::Endpoint&)>)>
            punch;
        // The load of PONG, 0 … 10000. Not set: 0.
        std::function<uint16_t()> load;
    };

    // Questions of one connection that wait for their answer. More are thrown away: whoever asks has a deadline.
    static constexpr size_t kQuestionsPerConnection = 8;

    // Replay windows, in stream numbers (PROTOCOL.md 4): the default, and what a client may wish for.
    static constexpr uint32_t kWindowDefault = 65536;
    static constexpr uint32_t kWindowMax = 8 * 65536;

    NodeDriver(CommandPort& port, Settings settings, RandomBytes random, Instant now, Services services = {});

    // A data plane without state is there, still in the link state "starting": NodeKeys goes to it.
    void start();
    // The data plane ended: no connection and no session is left.
    void reset();

    void on_accepted(uint32_t engine, const ring::ControlAccepted& event, Instant now);
    void on_data(uint32_t engine, const ring::ControlData& event, Instant now);
    void on_closed(uint32_t engine, const ring::ControlClosed& event, Instant now);
    void on_confirmed(const ring::SessionConfirmed& event);

    // About once a second.
    void tick(Instant now);

    // DRAINING to every client; new handshakes are refused from here on.
    void announce_draining();

    [[nodiscard]] const SessionTable& sessions() const { return sessions_; }
    [[nodiscard]] uint64_t handshakes_ok() const { return handshakes_ok_; }
    // By reason: "bad_gate_tag", "rate_limited", "refused_draining", …
    [[nodiscard]] const std::map<std::string, uint64_t, std::less<>>& handshakes_failed() const { return failed_; }
    [[nodiscard]] uint64_t challenges() const { return challenges_; }
    [[nodiscard]] size_t control_connections() const { return connections_.size(); }

private:
    using Key = std::pair<uint32_t, uint64_t>;  // engine and its number for the connection
    struct Connection {
        wire::Endpoint peer;
        handshake::NodeHandshake handshake;
        std::vector<uint8_t> input;               // of a second MSG1, after a challenge
        uint64_t session_id = 0;                  // 0: no session yet
        PublicKey client{};                       // with a session: whose it is
        std::unique_ptr<ControlChannel> channel;  // from MSG2 on
        bool proved = false;                      // by a valid control record
        size_t questions = 0;                     // that wait for their answer
    };
    using Connections = std::map<Key, Connection>;

    void handle_msg1(Connections::iterator at, Bytes msg1, Instant now);
    void open_session(Connections::iterator at, const crypto::NetworkKeys& keys, Instant now);
    void refuse(Connections::iterator at, handshake::SessionStatus status, std::string_view reason);
    void install(const handshake::AcceptedSession& accepted, const PublicKey& client, uint32_t window);
    void handle_control(Connections::iterator at, Bytes bytes, Instant now);
    void ask_policy(Connections::iterator at, const wire::ControlMessage& question);
    void punch(Connections::iterator at, const wire::ControlMessage& question);
    [[nodiscard]] bool send_message(Connections::iterator at, const wire::ControlMessage& message);
    void send(const Key& key, Bytes bytes, bool authenticated);
    void close(Connections::iterator at, ring::CloseHow how);
    void drop(Connections::iterator at, std::string_view reason);
    void end_session(uint64_t session_id);
    void count_failure(std::string_view reason);
    [[nodiscard]] uint64_t random_session_id();

    CommandPort& port_;
    Settings settings_;
    Services services_;
    RandomBytes random_;
    Admission admission_;
    SessionTable sessions_;
    Secret<32> header_key_;  // K_hdr
    handshake::CookieJar cookies_;
    handshake::SeenEphemerals seen_;
    Connections connections_;
    std::unordered_map<uint64_t, Key> connection_of_;  // by session
    bool draining_ = false;
    uint64_t handshakes_ok_ = 0;
    uint64_t challenges_ = 0;
    std::map<std::string, uint64_t, std::less<>> failed_;
};

}  // namespace qanat::controlplane
