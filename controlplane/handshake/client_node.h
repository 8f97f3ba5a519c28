// ClientNode: one node of a client, from the first attempt on: carries out what the pure NodeSession decides. It has at
// most one attempt and one session at a time, answers and sends what belongs to that session, and knows what is to be
// known about the node for plans and people.
//
// Time is an argument; it has no timer and no socket of its own, and nothing blocks. Troubles of the network come to
// nobody as errors: they are NodeSession's, see machine().last_error().
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "controlplane/handshake/client_attempt.h"
#include "controlplane/handshake/installed_sessions.h"
#include "controlplane/handshake/live_session.h"
#include "controlplane/handshake/node_log.h"
#include "controlplane/handshake/node_traffic.h"
#include "controlplane/handshake/resting_paths.h"
#include "controlplane/handshake/route.h"
#include "controlplane/routing/node_spec.h"
#include "controlplane/sessions/ejection.h"
#include "controlplane/sessions/node_session.h"

namespace qanat::controlplane {

class ClientNode {
public:
    enum class Event : uint8_t {
        up,      // there is a session, and was none before; or the session has moved to another address or path
        down,    // there is no session any more; attempts go on
        failed,  // an attempt has failed over all paths; attempts go on
    };

    // Whoever has the nodes. Called from inside members that take the time; must not end the node from there.
    class Owner {
    public:
        virtual ~Owner() = default;
        // What RelayView says is different now, perhaps.
        virtual void attempt_ended(bool succeeded) = 0;
        virtual void node_event(const ClientNode& node, Event event) = 0;
        // POLICY_ANSWER or PUNCH_ANSWER to a question that somebody put with send().
        virtual void node_answered(const ClientNode& node, const wire::ControlMessage& answer) = 0;
        // What is to be said about the node, or its deadline.
        virtual void node_changed() = 0;
    };

    // What the nodes of one owner share; all of it outlives them.
    struct Context {
        CommandPort& port;
        const ClientCredentials& credentials;
        const RandomBytes& random;
        const NodeLookup& lookup;
        const RelayView& relays;
        InstalledSessions& sessions;
        uint64_t& next_connection;  // counted up
        Owner& owner;
    };

    ClientNode(const Context& context, NodeSession::Settings times, NodeSpec spec);
    ClientNode(const ClientNode&) = delete;
    ClientNode& operator=(const ClientNode&) = delete;

    // Whose control connection it is, by its number.
    [[nodiscard]] static uint32_t number_of(uint64_t connection);

    // The data plane is ready: the first attempt begins.
    void start(Instant now);
    // It ended, and the session and the connections with it. Nothing happens before the next start().
    void data_plane_lost(Instant now);
    // The node is not wanted any more: closes everything and tells the engines. Then it is to be destroyed.
    void end();

    // Of the same number and id. A session whose path is still among the paths is not touched, any other one serves
    // until it is replaced.
    void take_spec(NodeSpec spec, Instant now);
    void set_times(NodeSession::Settings times, Instant now);

    void on_opened(const ring::ControlOpened& event, Instant now);
    void on_data(uint64_t connection, Bytes bytes, Instant now);
    void on_closed(uint64_t connection, Instant now);
    // A stream to this node failed, at the node itself or on the way to it.
    void on_own_stream_failed(const ring::HopFailed& event, Instant now);
    // A stream to this node failed at a relay that its session goes through.
    void on_relay_failed(Instant now);
    // A stream to whichever node failed at this one.
    void on_failed_here(const ring::HopFailed& event, Instant now);
    void on_stats(uint32_t engine, const ring::NodeStatsEntry& entry, Instant now);
    // What the relay view says may be different; `came_up`: nodes that have a session, or another one, since last time.
    void relays_changed(const std::vector<uint32_t>& came_up, Instant now);

    // To be called at deadline(), or any time.
    void tick(Instant now);
    [[nodiscard]] std::optional<Instant> deadline(Instant now) const;
    // Destroys attempts that have ended. Not from inside a callback of the owner.
    void drop_ended_attempts() { ended_attempts_.clear(); }

    // On the control connection of the session. False, and nothing is sent: there is none, or it cannot carry it.
    [[nodiscard]] bool send(const wire::ControlMessage& message);

    // Kept in the plan although it is ejected. True: that is news.
    bool set_last_resort(bool last_resort) { return std::exchange(last_resort_, last_resort) != last_resort; }
    [[nodiscard]] bool last_resort() const { return last_resort_; }

    [[nodiscard]] const NodeSpec& spec() const { return spec_; }
    [[nodiscard]] const NodeSession& machine() const { return machine_; }
    [[nodiscard]] const Ejection& ejection() const { return ejection_; }
    [[nodiscard]] const LiveSession* session() const { return live_ ? &*live_ : nullptr; }
    // By the attempt that is under way.
    [[nodiscard]] std::optional<wire::Endpoint> address_tried() const;
    // Of the last session or, after a failure, of the last attempt.
    [[nodiscard]] const std::optional<wire::Endpoint>& last_address() const { return last_address_; }
    [[nodiscard]] bool tried() const { return tried_; }  // an attempt has ended
    [[nodiscard]] uint16_t load() const { return load_; }
    [[nodiscard]] NodeTraffic::Sum traffic() const { return traffic_.sum(); }

private:
    void perform(const NodeSession::Actions& actions, Instant now);
    void begin_attempt(Instant now);
    [[nodiscard]] std::vector<NodePath> paths_to_try(Instant now) const;
    void attempt_opened(OpenedSession opened, Instant now);
    void attempt_failed(std::string reason, Instant now);
    void discard_attempt();
    void replace_session(Instant now);
    void end_session(bool node_lost);
    void send_ping();
    void handle_input(uint64_t session_id, const ControlChannel::Input& input, Instant now);
    void ejection_changed(Instant now);
    [[nodiscard]] size_t rank_of_session() const;  // 0 also if its path is none of the node's any more
    [[nodiscard]] uint64_t random() const { return draw_u64(context_.random); }

    Context context_;
    NodeSession::Settings times_;
    NodeSpec spec_;
    NodeLog log_;
    NodeSession machine_;
    Ejection ejection_;
    RestingPaths resting_;
    NodeTraffic traffic_;
    std::unique_ptr<ClientAttempt> attempt_;
    std::vector<std::unique_ptr<ClientAttempt>> ended_attempts_;  // one of them may be running
    std::optional<LiveSession> live_;
    std::optional<LiveSession> opened_;  // agreed, until the machine says adopt or replace
    std::optional<wire::Endpoint> last_address_;
    std::vector<uint32_t> last_via_;  // of the last session
    uint16_t load_ = 0;
    bool tried_ = false;
    bool last_resort_ = false;
};

}  // namespace qanat::controlplane
