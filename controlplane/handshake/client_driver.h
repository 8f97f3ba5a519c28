// ClientDriver: a client's sessions with all of its nodes. For each node it carries out what the pure NodeSession
// decides: attempts, control connections, installing and removing sessions, PINGs. Time is an argument; it has no timer
// and no socket of its own.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "controlplane/handshake/client_attempt.h"
#include "controlplane/routing/planner.h"
#include "controlplane/sessions/node_session.h"

namespace qanat::controlplane {

class ClientDriver {
public:
    // A retired session stays in the engines for this long, for streams that are just being opened with it.
    static constexpr Duration kRetiredTime = std::chrono::seconds(30);

    struct Settings {
        ClientCredentials credentials;
        std::vector<NodeConfig> nodes;  // their index is their number in the plan
        Duration health;
        Duration timeout;
    };

    // `on_change`: what routable_nodes() says may be different now; may be called often, from inside any member.
    ClientDriver(CommandPort& port, Settings settings, RandomBytes random, NodeLookup lookup, Callback on_change);

    // A data plane is ready for connections: starts a handshake with every node.
    void start(Instant now);
    // The data plane ended, and all sessions and connections with it.
    void reset(Instant now);

    void on_opened(uint32_t engine, const ring::ControlOpened& event, Instant now);
    void on_data(uint32_t engine, const ring::ControlData& event, Instant now);
    void on_closed(uint32_t engine, const ring::ControlClosed& event, Instant now);
    void on_hop_failed(const ring::HopFailed& event, Instant now);

    // To be called at deadline(), or any time.
    void tick(Instant now);
    [[nodiscard]] std::optional<Instant> deadline(Instant now) const;

    // What the plan may contain now.
    [[nodiscard]] std::vector<RoutableNode> routable_nodes(Instant now) const;

    struct NodeStatus {
        PublicKey id{};
        std::string address;  // in use, or tried last, or as configured
        NodeSession::State state = NodeSession::State::idle;
        Instant since{};
        std::optional<std::chrono::microseconds> latency;
        std::string last_error;
        uint64_t failures = 0;
    };
    [[nodiscard]] size_t node_count() const { return nodes_.size(); }
    [[nodiscard]] NodeStatus status(size_t node) const;
    [[nodiscard]] size_t nodes_up() const;
    // Every node has been tried once at least, or is up.
    [[nodiscard]] bool all_tried() const;
    [[nodiscard]] uint64_t handshakes_ok() const { return handshakes_ok_; }
    [[nodiscard]] uint64_t handshakes_failed() const { return handshakes_failed_; }
    [[nodiscard]] size_t sessions() const { return nodes_up() + retired_.size(); }

private:
    struct Live {
        uint64_t session_id = 0;
        uint32_t engine = 0;
        uint64_t connection = 0;
        wire::Endpoint address;
        std::unique_ptr<ControlChannel> channel;
    };
    struct Node {
        NodeConfig config;
        NodeSession machine;
        std::unique_ptr<ClientAttempt> attempt;
        std::optional<Live> live;
        std::optional<Live> opened;  // agreed, until the machine says adopt or replace
        std::optional<wire::Endpoint> last_address;
        std::string logged_error;
        bool tried = false;
    };
    struct Retired {
        uint64_t session_id = 0;
        Instant remove_at{};
    };

    void perform(size_t index, const NodeSession::Actions& actions, Instant now);
    void begin_attempt(size_t index, Instant now);
    void attempt_opened(size_t index, OpenedSession opened, Instant now);
    void attempt_failed(size_t index, std::string reason, Instant now);
    void discard_attempt(Node& node);
    void handle_input(size_t index, uint64_t session_id, const ControlChannel::Input& input, Instant now);
    void install(size_t index, const OpenedSession& opened);
    void remove(uint64_t session_id);
    void close_control(const Live& live);
    void send_ping(Node& node);
    [[nodiscard]] bool send_control(Live& live, const wire::ControlMessage& message);
    [[nodiscard]] std::optional<size_t> node_of_attempt(uint64_t connection) const;
    [[nodiscard]] std::optional<size_t> node_of_live(uint64_t connection) const;
    [[nodiscard]] uint64_t random_u64() const;

    CommandPort& port_;
    Settings settings_;
    RandomBytes random_;
    NodeLookup lookup_;
    Callback on_change_;
    std::vector<Node> nodes_;
    std::vector<Retired> retired_;
    std::vector<std::unique_ptr<ClientAttempt>> finished_;  // destroyed when no callback of theirs is running
    uint64_t next_connection_ = 0;
    uint64_t handshakes_ok_ = 0;
    uint64_t handshakes_failed_ = 0;
};

}  // namespace qanat::controlplane
