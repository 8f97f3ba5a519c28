// ExitOpening: from an accepted tunnel connection to a request that may be acted on.
//
//   first_flight → (parked) → TargetDialing
//
// Order of PROTOCOL.md section 4: nothing of a connection is acted on before its first record is authenticated.
#pragma once

#include <functional>

#include "dataplane/stream/discarding.h"
#include "dataplane/stream/target_dialing.h"

namespace qanat::dataplane {

class ExitOpening {
public:
    // Takes over an accepted connection that carries a session handshake (MSG1); false when there is no room for it.
    using ControlHandOver = std::function<bool(UniqueFd fd, Bytes first_message, uint64_t deadline_ns)>;

    ExitOpening(EngineServices& services, StreamTable& table, Discarding& discarding, TargetDialing& dialing,
                uint64_t unauthenticated_timeout_ns, ControlHandOver hand_over);

    void on_accept(UniqueFd fd);
    void on_tunnel_ready(Stream& stream);  // Phase::first_flight, parked
    void on_timer(Stream& stream);         // the same phases
    // Nobody may come back to a parked stream when the node is leaving.
    void end_parked();

private:
    void read_first_flight(Stream& stream);
    void authenticate(Stream& stream, MutableBytes flight);
    void read_parked(Stream& stream);
    void digest_parked(Stream& stream);
    // `consumed`: bytes at the front of the flight that the request's record took.
    void on_request(Stream& stream, Bytes content, size_t consumed);
    void leave_unauthenticated(Stream& stream);
    [[nodiscard]] SharedSession* find_session(uint64_t id);

    EngineServices& services_;
    StreamTable& table_;
    Discarding& discarding_;
    TargetDialing& dialing_;
    uint64_t unauthenticated_timeout_ns_;
    ControlHandOver hand_over_;
};

}  // namespace qanat::dataplane
