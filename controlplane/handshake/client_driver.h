// ClientDriver: sessions with a set of nodes that may change at any time. For each node it carries out what the pure
// NodeSession decides: attempts over the node's paths, control connections, installing and removing sessions, PINGs;
// and it keeps what is known about each of them. Time is an argument; it has no timer and no socket of its own.
//
// A client uses it for its exits and their relays, a node for the relays that it offers connections to and for members
// that it has to find for others.
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "common/base/log.h"
#include "common/ring/channel.h"
#include "controlplane/handshake/client_attempt.h"
#include "controlplane/handshake/client_punches.h"
#include "controlplane/routing/node_spec.h"
#include "controlplane/routing/planner.h"
#include "controlplane/sessions/ejection.h"
#include "controlplane/sessions/node_session.h"

namespace qanat::controlplane {

class ClientDriver final : private RelayView {
public:
    // A retired session stays in the engines for this long, for streams that are just being opened with it.
    static constexpr Duration kRetiredTime = std::chrono::seconds(30);
    // Paths that failed less than this ago are tried after the others.
    static constexpr Duration kPathRest = std::chrono::seconds(30);
    static constexpr Duration kPolicyAnswerTime = std::chrono::seconds(3);

    struct Settings {
        ClientCredentials credentials;
        Duration health;
        Duration timeout;
        bool punch = false;  // direct connections to nodes behind relays
    };

    enum class NodeEvent : uint8_t {
        up,      // there is a session, and was none before; or the session has moved to another address or path
        down,    // there is no session any more; attempts go on
        failed,  // an attempt has failed over all paths; attempts go on. See status().last_error
    };
    // Called from inside any member; must not call set_nodes() or reset() from there, nor end the driver.
    struct Hooks {
        Callback on_change;                                             // of what routable_nodes() says, and often
        std::function<void(uint32_t node, NodeEvent event)> on_node{};  // may be empty
        // May a connection be punched to `peer` by who is seen at `observed`? Empty: no.
        std::function<bool(const wire::Endpoint& peer, const wire::Endpoint& observed)> may_punch{};
    };

    ClientDriver(CommandPort& port, Settings settings, RandomBytes random, NodeLookup lookup, Hooks hooks);

    // The nodes from now on, by number. New ones start (once start() was called), missing ones end at once, changed
    // paths are taken over: a session whose path is still among them is not touched, any other one serves until it is
    // replaced. A number that comes with another id is another node. Relays of paths are nodes of the list too.
    void set_nodes(std::vector<NodeSpec> specs, Instant now);
    void set_times(Duration health, Duration timeout, Instant now);
    void set_punch(bool punch);

    // A data plane is ready for connections: starts a handshake with every node.
    void start(Instant now);
    // The data plane ended, and all sessions and connections with it. Nothing starts before the next start().
    void reset(Instant now);

    // Hands an event to the member below that takes it; false, and nothing is done, if none of them does.
    bool on_event(uint32_t engine, const ring::MessageView& event, Instant now);
    void on_opened(uint32_t engine, const ring::ControlOpened& event, Instant now);
    void on_data(uint32_t engine, const ring::ControlData& event, Instant now);
    void on_closed(uint32_t engine, const ring::ControlClosed& event, Instant now);
    void on_hop_failed(const ring::HopFailed& event, Instant now);
    void on_node_stats(uint32_t engine, const ring::NodeStats& event, Instant now);
    void on_punch_observed(uint32_t engine, const ring::PunchObserved& event, Instant now);

    // To be called at deadline(), or any time.
    void tick(Instant now);
    [[nodiscard]] std::optional<Instant> deadline(Instant now) const;

    // What the plan may contain now, in the order of the numbers. If every node with a session is ejected, the least
    // bad one of them is in it nevertheless.
    [[nodiscard]] std::vector<RoutableNode> routable_nodes(Instant now) const;

    // Asks the exit's policy of a node about a target over the control connection; nothing goes to the target. Answers
    // once, with nothing if no answer comes in kPolicyAnswerTime or the node has no session.
    using PolicyAnswer = std::function<void(const std::optional<wire::ControlMessage>& answer)>;
    void ask_policy(uint32_t node, const wire::Target& target, Instant now, PolicyAnswer done);

    struct Traffic {
        uint64_t in_flight = 0;
        uint64_t parked = 0;
        uint64_t opened = 0;
        uint64_t failed = 0;
        uint64_t bytes_up = 0;
        uint64_t bytes_down = 0;
        uint64_t punched = 0;
        uint64_t punch_failed = 0;
    };
    struct NodeStatus {
        PublicKey id{};
        bool routable = true;
        bool from_discovery = false;
        std::string region;
        std::string path;     // "direct", "via ID (address) → …"
        std::string address;  // of the node: in use, or tried last, or as configured; empty: only by a reservation
        NodeSession::State state = NodeSession::State::idle;
        Instant since{};
        std::optional<std::chrono::microseconds> latency;
        std::string last_error;
        uint64_t failures = 0;
        uint64_t probes_sent = 0;
        uint64_t probes_lost = 0;
        uint16_t load = 0;  // as the node said last, in 1/10000
        Traffic traffic;
        Ejection::State ejection = Ejection::State::in;
        Instant ejected_until{};   // if ejected
        bool last_resort = false;  // ejected, and in the plan nevertheless
    };
    [[nodiscard]] bool knows(uint32_t node) const { return nodes_.contains(node); }
    [[nodiscard]] std::vector<uint32_t> numbers() const;   // ascending
    [[nodiscard]] NodeStatus status(uint32_t node) const;  // of a node that it knows
    // False for nodes that it does not know, too.
    [[nodiscard]] bool is_up(uint32_t node) const;
    // Where the node's session is: the address of the node itself on a direct path, else of the first relay.
    [[nodiscard]] std::optional<wire::Endpoint> session_address(uint32_t node) const;

    [[nodiscard]] size_t node_count() const { return nodes_.size(); }
    [[nodiscard]] size_t routable_count() const;
    [[nodiscard]] size_t routable_up() const;
    [[nodiscard]] size_t nodes_up() const;
    // Every routable node has been tried once at least, or is up.
    [[nodiscard]] bool all_tried() const;
    [[nodiscard]] uint64_t handshakes_ok() const { return handshakes_ok_; }
    [[nodiscard]] uint64_t handshakes_failed() const { return handshakes_failed_; }
    [[nodiscard]] size_t sessions() const { return nodes_up() + retired_.size(); }

private:
    struct Live {
        uint64_t session_id = 0;
        uint32_t engine = 0;
        uint64_t connection = 0;
        NodePath path;
        std::optional<NodeAddress> target;      // of the path's addresses, the one that answered; none: a reservation
        std::optional<wire::Endpoint> address;  // the same, looked up
        std::unique_ptr<ControlChannel> channel;
        uint32_t capabilities = 0;  // of the node
    };
    struct RestingPath {
        NodePath path;
        Instant failed_at{};
    };
    struct Node {
        explicit Node(NodeSession::Settings settings) : machine(settings) {}

        NodeSpec spec;
        NodeSession machine;
        Ejection ejection;
        std::unique_ptr<ClientAttempt> attempt;
        std::optional<Live> live;
        std::optional<Live> opened;  // agreed, until the machine says adopt or replace
        std::optional<wire::Endpoint> last_address;
        std::vector<uint32_t> last_via;  // of the last session
        std::vector<RestingPath> resting;
        std::map<uint32_t, ring::NodeStatsEntry> stats;  // by engine
        Traffic past;                                    // of engines that began anew
        uint16_t load = 0;
        std::string logged_error;
        bool tried = false;
        std::optional<bool> punched;  // what was logged about it last
        bool last_resort = false;
    };
    struct Retired {
        uint64_t session_id = 0;
        Instant remove_at{};
    };
    struct Question {
        uint32_t node = 0;
        PolicyAnswer done;
        Instant until{};
    };

    // RelayView
    [[nodiscard]] Answer route(std::span<const uint32_t> via, const std::optional<wire::Endpoint>& node) const override;
    [[nodiscard]] std::string describe(uint32_t node) const override;

    void end_node(Node& node);
    void take_paths(Node& node, NodeSpec spec, Instant now);
    void perform(Node& node, const NodeSession::Actions& actions, Instant now);
    void begin_attempt(Node& node, Instant now);
    [[nodiscard]] std::vector<NodePath> paths_to_try(const Node& node, Instant now) const;
    // The place of the session's path among those of the node; none: it is not one of them any more.
    [[nodiscard]] static std::optional<size_t> rank_of_path(const Node& node);
    [[nodiscard]] Answer route_within(std::span<const uint32_t> via, const std::optional<wire::Endpoint>& node,
                                      size_t relays_max) const;
    void attempt_opened(Node& node, OpenedSession opened, Instant now);
    void attempt_failed(Node& node, std::string reason, Instant now);
    static void log_event(const Node& node, LogLevel level, std::string_view message, LogFields fields);
    void discard_attempt(Node& node);
    void path_failed(Node& node, const NodePath& path, Instant now);
    void handle_input(Node& node, uint64_t session_id, const ControlChannel::Input& input, Instant now);
    void take_stats(Node& node, uint32_t engine, const ring::NodeStatsEntry& entry, Instant now);
    void note_punched(Node& node, bool punched);
    [[nodiscard]] bool punchable(const Node& node) const;
    void on_punch_answer(const Node& node, const wire::ControlMessage& answer);
    void start_punch(const ClientPunches::Question& question, ring::PunchStart start, const wire::Endpoint& peer = {});
    void answer_question(uint64_t token, const std::optional<wire::ControlMessage>& answer);
    void ejection_changed(Node& node, Instant now);
    void choose_last_resort();
    void end_session(Node& node, uint8_t node_lost);
    void install(const Node& node, const OpenedSession& opened);
    void remove(uint64_t session_id, uint8_t node_lost);
    void close_control(const Live& live);
    void send_ping(Node& node);
    [[nodiscard]] bool send_control(Live& live, const wire::ControlMessage& message);
    void announce(const Node& node, NodeEvent event);
    // Ends what every event ends with: whoever waits for relays or has lost one, and objects that ended on the way.
    void settle(Instant now);
    [[nodiscard]] std::string path_text(const NodePath& path) const;
    [[nodiscard]] static bool carried_by(const Node& node, uint32_t relay);
    [[nodiscard]] static bool may_go_through(const Node& node, const std::vector<uint32_t>& relays);
    [[nodiscard]] Node* find(uint32_t number);
    [[nodiscard]] Node* node_of_connection(uint64_t connection);
    [[nodiscard]] uint64_t random_u64() const;

    CommandPort& port_;
    Settings settings_;
    RandomBytes random_;
    NodeLookup lookup_;
    Hooks hooks_;
    std::map<uint32_t, Node> nodes_;
    std::vector<Retired> retired_;
    std::map<uint64_t, Question> questions_;  // by token
    ClientPunches punches_;
    std::vector<std::unique_ptr<ClientAttempt>> finished_;  // destroyed when no callback of theirs is running
    uint64_t next_connection_ = 0;
    uint64_t handshakes_ok_ = 0;
    uint64_t handshakes_failed_ = 0;
    bool started_ = false;
    bool relays_changed_ = false;
    std::vector<uint32_t> came_up_;  // since settle()
};

}  // namespace qanat::controlplane
