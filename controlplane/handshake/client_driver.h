// ClientDriver: sessions with a set of nodes that may change at any time. It hands events and time to the nodes
// (ClientNode), lets them be each other's relays (ClientRoutes), puts questions over their control connections, and
// says what the plan may contain. Time is an argument; it has no timer and no socket of its own, and nothing blocks.
//
// A client uses it for its exits and their relays, a node for the relays that it offers connections to and for members
// that it has to find for others.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <vector>

#include "common/ring/channel.h"
#include "controlplane/handshake/client_node.h"
#include "controlplane/handshake/client_routes.h"
#include "controlplane/handshake/installed_sessions.h"
#include "controlplane/handshake/node_status.h"
#include "controlplane/handshake/policy_questions.h"
#include "controlplane/handshake/punch_agreements.h"
#include "controlplane/routing/node_spec.h"
#include "controlplane/routing/planner.h"

namespace qanat::controlplane {

class ClientDriver final : private ClientNode::Owner {
public:
    using NodeEvent = ClientNode::Event;
    using NodeStatus = controlplane::NodeStatus;
    using PolicyAnswer = PolicyQuestions::Answer;

    struct Settings {
        ClientCredentials credentials;
        Duration health;
        Duration timeout;
        bool punch = false;  // direct connections to nodes behind relays
    };

    // Called from inside any member; must not call set_nodes() or reset() from there, nor end the driver.
    struct Hooks {
        Callback on_change;                                             // of what routable_nodes() says, and often
        std::function<void(uint32_t node, NodeEvent event)> on_node{};  // may be empty
        PunchAgreements::MayPunch may_punch{};                          // empty: there are no direct connections
    };

    // The port outlives it.
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
    // once, with nothing if no answer comes in PolicyQuestions::kAnswerTime or the node has no session.
    void ask_policy(uint32_t node, const wire::Target& target, Instant now, PolicyAnswer done);

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
    [[nodiscard]] size_t sessions() const { return nodes_up() + sessions_.retired(); }

private:
    // ClientNode::Owner
    void attempt_ended(bool succeeded) override;
    void node_event(const ClientNode& node, NodeEvent event) override;
    void node_answered(const ClientNode& node, const wire::ControlMessage& answer) override;
    void node_changed() override { hooks_.on_change(); }

    [[nodiscard]] std::optional<RoutableNode> hop_of(const ClientNode& node, Instant now) const;
    // Ends what every event ends with: whoever waits for relays or has lost one, and objects that ended on the way.
    void settle(Instant now);
    void choose_last_resort();
    [[nodiscard]] ClientNode* find(uint32_t number);
    [[nodiscard]] const ClientNode* find(uint32_t number) const;

    CommandPort& port_;
    Settings settings_;
    RandomBytes random_;
    NodeLookup lookup_;
    Hooks hooks_;
    InstalledSessions sessions_;
    PolicyQuestions questions_;
    PunchAgreements punches_;
    uint64_t next_connection_ = 0;
    ClientRoutes routes_;
    std::map<uint32_t, ClientNode> nodes_;
    uint64_t handshakes_ok_ = 0;
    uint64_t handshakes_failed_ = 0;
    bool started_ = false;
    bool relays_changed_ = false;
    std::vector<uint32_t> came_up_;  // since settle()
};

}  // namespace qanat::controlplane
