// ControlConnections: the sockets that carry session handshakes and control records, on behalf of the control plane.
// This plane moves their bytes between socket and ring and understands none of them. It opens the path to a node behind
// relays, and the control plane sees a connection as to any other.
//
// Few, slow and capped; none of it is on a stream's path.
#pragma once

#include <array>
#include <unordered_map>

#include "common/ring/messages.h"
#include "dataplane/engine/list.h"
#include "dataplane/engine/slab.h"
#include "dataplane/stream/services.h"
#include "dataplane/tunnel/chain.h"

namespace qanat::dataplane {

class ControlConnections {
public:
    // Room for one connection per session, and for `unauthenticated_max` that have proved nothing yet; of these the
    // oldest is closed when there are more.
    ControlConnections(EngineServices& services, uint32_t sessions, uint32_t unauthenticated_max)
        : services_(services),
          unauthenticated_max_(unauthenticated_max),
          connections_(sessions + unauthenticated_max + kClosingSlots) {}

    // Takes over an accepted connection that has sent MSG1. It is closed at the deadline unless the control plane says
    // that its peer is authenticated. False: no room, or no room in the ring; the caller closes.
    // `peer`: what the control plane is told of its other end.
    [[nodiscard]] bool adopt(UniqueFd fd, Bytes first_message, uint64_t deadline_ns, const ring::RingEndpoint& peer);

    void connect(const ring::ControlConnect& command);
    void send(const ring::ControlSend& command);
    void close(const ring::ControlClose& command);
    void close_all();

    void on_in(const Completion& completion);
    void on_out(const Completion& completion);
    void on_timer(Timer& timer);

    [[nodiscard]] uint32_t active() const { return connections_.used(); }

private:
    static constexpr uint32_t kClosingSlots = 64;  // for those that wait for their last completion
    static constexpr size_t kOutMax = 4096;        // more than the control plane ever has under way on one connection

    struct Connection {
        Timer timer;
        UniqueFd fd;
        uint64_t id = 0;
        uint64_t deadline_ns = TimerWheel::kNever;
        ListHook<Connection> unauthenticated_hook;
        uint8_t in_flight = 0;
        bool in_armed = false;
        bool out_armed = false;
        bool connecting = false;  // to the first address
        bool asking = false;      // … is done, and the relays of the path have not all answered
        bool silent = false;      // discard what comes
        bool close_when_sent = false;
        bool ended = false;     // ControlClosed is due, or sent
        bool reported = false;  // … sent
        int32_t error = 0;
        std::array<uint8_t, kOutMax> out;
        size_t out_size = 0;
        Chain chain;
        std::array<uint8_t, Chain::kAnswerMax> answers;  // of relays, not yet digested
        size_t answers_size = 0;
    };

    Connection* find(uint64_t id);
    void deadline(Connection& connection, uint64_t at_ns);
    void prove(Connection& connection);
    Connection* find(const Token& token) { return connections_.find(token.slot, token.generation); }
    Connection* take(const Completion& completion);
    void arm_in(Connection& connection);
    void arm_out(Connection& connection);
    void connected(Connection& connection);
    void ask_relays(Connection& connection);
    void read_answers(Connection& connection);
    void path_open(Connection& connection);
    // The path cannot be opened. `error` or `status` says why; who is at fault follows from how far it has come.
    void path_failed(Connection& connection, int error, wire::StreamStatus status = {});
    void pass_on(const Connection& connection, Bytes bytes);
    void flush(Connection& connection);
    void end(Connection& connection, int32_t error);
    void release_if_done(Connection& connection);

    EngineServices& services_;
    uint32_t unauthenticated_max_;
    uint32_t unauthenticated_count_ = 0;
    bool leaving_ = false;  // nobody may be reading events any more
    Slab<Connection> connections_;
    List<Connection, &Connection::unauthenticated_hook> unauthenticated_;  // oldest first
    std::unordered_map<uint64_t, Connection*> by_id_;
};

}  // namespace qanat::dataplane
