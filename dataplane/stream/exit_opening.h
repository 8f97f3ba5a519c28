// ExitOpening: from an accepted tunnel connection to a request that may be acted on.
//
//   first_flight → (parked) → TargetDialing, or at a relay Forwarding or Offered
//
// Order of PROTOCOL.md section 4: nothing of a connection is acted on before its first record is authenticated.
#pragma once

#include <functional>

#include "dataplane/stream/discarding.h"
#include "dataplane/stream/forwarding.h"
#include "dataplane/stream/offered.h"
#include "dataplane/stream/target_dialing.h"

namespace qanat::dataplane {

class ExitOpening {
public:
    // Takes over an accepted connection that carries a session handshake (MSG1); false when there is no room for it.
    // `peer`: who is at the other end; that of the socket, or what a relay says in its place.
    using ControlHandOver =
        std::function<bool(UniqueFd fd, Bytes first_message, uint64_t deadline_ns, const ring::RingEndpoint& peer)>;

    ExitOpening(EngineServices& services, StreamTable& table, Discarding& discarding, Responding& responding,
                TargetDialing& dialing, Forwarding& forwarding, Offered& offered, uint64_t unauthenticated_timeout_ns,
                ControlHandOver hand_over);

    void on_accept(UniqueFd fd);
    // A connection that a relay has handed on, as if it were accepted now; see NodeOffers::Accept.
    void adopt(UniqueFd fd, const std::array<uint8_t, 16>& source, Bytes received);
    void on_tunnel_ready(Stream& stream);  // Phase::first_flight, parked
    void on_timer(Stream& stream);         // the same phases
    // A stream has come to its end: its tunnel is parked again, for the client's next REQUEST.
    void take_back(Stream& ended);
    // Nobody may come back to a parked stream when the node is leaving, or when its session has ended.
    void end_parked();
    void on_session_removed(uint64_t session_id);

private:
    [[nodiscard]] Stream* begin(UniqueFd fd);
    void read_first_flight(Stream& stream);
    void digest_first_flight(Stream& stream);
    void authenticate(Stream& stream, MutableBytes flight);
    // From here on it is a stream.
    void admit(Stream& stream);
    void wait_for_request(Stream& stream);
    // As it was when it was parked.
    void borrow_opening(Stream& stream);
    void read_parked(Stream& stream);
    void digest_parked(Stream& stream);
    // `consumed`: bytes at the front of the flight that the request's record took.
    void on_request(Stream& stream, Bytes content, size_t consumed);
    void act(Stream& stream, const wire::Request& request);
    void park(Stream& stream);
    void refuse_park(Stream& stream);
    // How the other end is seen from here.
    void observe(Stream& stream);
    void leave_unauthenticated(Stream& stream);
    [[nodiscard]] SharedSession* find_session(uint64_t id);

    EngineServices& services_;
    StreamTable& table_;
    Discarding& discarding_;
    Responding& responding_;
    TargetDialing& dialing_;
    Forwarding& forwarding_;
    Offered& offered_;
    uint64_t unauthenticated_timeout_ns_;
    ControlHandOver hand_over_;
};

}  // namespace qanat::dataplane
