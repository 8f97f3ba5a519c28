// ClientOpening: from an accepted SOCKS connection to a relay.
//
//   socks → (hop_wait) → hop_connect → hop_response → relaying
//
// With a connection that was kept ready (ClientPool) there is nothing to connect: hop_response follows at once.
//
// The hop comes from the routing plan, and with it the path: the relays in front of the node are asked in the same
// flight and answer before it. A path that fails before the node's RESPONSE is replaced by the next one within the
// plan's budget, which is safe because no application byte has left this host by then. What the application is told is
// what the exit reported.
#pragma once

#include "dataplane/stream/client_pool.h"
#include "dataplane/stream/discarding.h"
#include "dataplane/stream/relaying.h"

namespace qanat::dataplane {

class ClientOpening {
public:
    ClientOpening(EngineServices& services, StreamTable& table, Relaying& relaying, Discarding& discarding,
                  ClientPool& pool);

    void on_accept(UniqueFd fd);
    void on_plain_ready(Stream& stream);   // Phase::socks
    void on_tunnel_ready(Stream& stream);  // Phase::hop_connect, hop_response
    // Something happened to the application's side while it waits.
    void on_watch(Stream& stream, int32_t result);
    void on_timer(Stream& stream);

    // Streams in hop_wait look again.
    void on_routes_changed();
    // Streams that wait for a RESPONSE under this session, the node's or a relay's, start over with another one. Those
    // whose node has answered and works on their target only if `node_lost`.
    void on_session_removed(uint64_t session_id, bool node_lost);

private:
    enum class Connect : uint8_t { begun, failed, no_resources };

    void try_next_hop(Stream& stream);
    void wait_for_hop(Stream& stream, uint64_t until_ns);
    // The hop for the next try, or null if none is usable.
    [[nodiscard]] const ring::PlanHop* pick_hop(const Opening& opening);
    void begin_try(Stream& stream, const ring::PlanHop& hop);
    [[nodiscard]] Connect connect(Stream& stream, const ring::PlanHop& hop);
    void connected(Stream& stream);
    void send_first_flight(Stream& stream);
    void send_parked_request(Stream& stream);
    // The parked connection that it had was dead, or says nothing.
    void leave_stale(Stream& stream);
    // One try is taken back: what went wrong is not the hop's fault.
    void start_over(Stream& stream);
    void on_tunnel_bytes(Stream& stream);
    // Takes the relays' answers from the front of what has come. True when all are there.
    [[nodiscard]] bool read_relays(Stream& stream);
    void read_response(Stream& stream);
    // Reports who of the path is at fault, and lets go of it.
    void hop_failed(Stream& stream, ring::HopStage stage, int error, uint8_t status);
    void refuse(Stream& stream, wire::StreamStatus status, ring::EndReason reason);
    void set_hop_deadline(Stream& stream);
    // The hop's deadline, or before that the moment to begin watching the application.
    void arm_deadline(Stream& stream);

    EngineServices& services_;
    StreamTable& table_;
    Relaying& relaying_;
    Discarding& discarding_;
    ClientPool& pool_;
    PickState pick_;
    uint64_t dice_ = 0;  // a choice of hops has to be even, not secret: no system call for each
};

}  // namespace qanat::dataplane
