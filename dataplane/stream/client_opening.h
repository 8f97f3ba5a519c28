// ClientOpening: from an accepted SOCKS connection to a relay.
//
//   socks → (hop_wait) → hop_connect → hop_response → relaying
//
// The hop comes from the routing plan; a hop that fails before its RESPONSE is replaced by the next one within the
// plan's budget, which is safe because no application byte has left this host by then. What the application is told is
// what the exit reported.
#pragma once

#include "dataplane/stream/discarding.h"
#include "dataplane/stream/relaying.h"

namespace qanat::dataplane {

class ClientOpening {
public:
    ClientOpening(EngineServices& services, StreamTable& table, Relaying& relaying, Discarding& discarding)
        : services_(services), table_(table), relaying_(relaying), discarding_(discarding) {}

    void on_accept(UniqueFd fd);
    void on_plain_ready(Stream& stream);   // Phase::socks
    void on_tunnel_ready(Stream& stream);  // Phase::hop_connect, hop_response
    // Something happened to the application's side while it waits.
    void on_watch(Stream& stream, int32_t result);
    void on_timer(Stream& stream);

    // Streams in hop_wait look again.
    void on_routes_changed();
    // Streams that wait for a RESPONSE under this session start over with another one.
    void on_session_removed(uint64_t session_id);

private:
    void try_next_hop(Stream& stream);
    void send_first_flight(Stream& stream);
    void read_response(Stream& stream);
    void hop_failed(Stream& stream, ring::HopStage stage, int error, uint8_t status);
    void refuse(Stream& stream, wire::StreamStatus status, ring::EndReason reason);
    void set_hop_deadline(Stream& stream);
    // The hop's deadline, or before that the moment to begin watching the application.
    void arm_deadline(Stream& stream);

    EngineServices& services_;
    StreamTable& table_;
    Relaying& relaying_;
    Discarding& discarding_;
    PickState pick_;
};

}  // namespace qanat::dataplane
