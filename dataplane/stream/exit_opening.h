// ExitOpening: from an accepted tunnel connection to a relay with its target.
//
//   first_flight → (parked) → resolving → dialing → relaying
//
// Order of PROTOCOL.md section 4: nothing of a connection is acted on before its first record is authenticated; then
// policy, resolution, policy again on each address that would really be dialled, Happy Eyeballs, RESPONSE.
#pragma once

#include <functional>

#include "dataplane/stream/discarding.h"
#include "dataplane/stream/relaying.h"

namespace qanat::dataplane {

class ExitOpening {
public:
    // Takes over an accepted connection that carries a session handshake (MSG1); false when there is no room for it.
    using ControlHandOver = std::function<bool(UniqueFd fd, Bytes first_message, uint64_t deadline_ns)>;

    ExitOpening(EngineServices& services, StreamTable& table, Relaying& relaying, Discarding& discarding,
                uint64_t unauthenticated_timeout_ns, ControlHandOver hand_over);

    void on_accept(UniqueFd fd);
    void on_tunnel_ready(Stream& stream);  // Phase::first_flight, parked
    void on_dial_ready(Stream& stream, uint8_t lane);
    void on_resolved(const ring::ResolveResult& result);
    // Something happened to the client's side while the target is being reached.
    void on_watch(Stream& stream, int32_t result);
    void on_timer(Stream& stream);
    // Nobody may come back to a parked stream when the node is leaving.
    void end_parked();

private:
    void read_first_flight(Stream& stream);
    void authenticate(Stream& stream, MutableBytes flight);
    void read_parked(Stream& stream);
    void digest_parked(Stream& stream);
    // `consumed`: bytes at the front of the flight that the request's record took.
    void on_request(Stream& stream, Bytes content, size_t consumed);
    void resolve(Stream& stream);
    void dial(Stream& stream, std::span<const wire::Endpoint> candidates);
    void advance_dial(Stream& stream);
    void connected(Stream& stream, size_t slot);
    void arm_opening_deadline(Stream& stream);

    // Draws the node's random, sets the sealing key and writes the preamble.
    void make_preamble(Stream& stream, std::span<uint8_t, wire::kNodePreambleSize> out);
    void send_preamble(Stream& stream);
    [[nodiscard]] bool respond(Stream& stream, const wire::Response& response);
    void refuse(Stream& stream, wire::StreamStatus status, ring::EndReason reason, wire::Reason why);
    void leave_unauthenticated(Stream& stream);
    [[nodiscard]] SharedSession* find_session(uint64_t id);

    EngineServices& services_;
    StreamTable& table_;
    Relaying& relaying_;
    Discarding& discarding_;
    uint64_t unauthenticated_timeout_ns_;
    ControlHandOver hand_over_;
};

}  // namespace qanat::dataplane
