// Offered: connections that members keep ready at this relay (PROTOCOL.md section 6.2), from their OFFER until a stream
// takes them or they end. While one waits it costs its slot and one poll.
#pragma once

#include "dataplane/stream/responding.h"

namespace qanat::dataplane {

class Offered {
public:
    Offered(EngineServices& services, StreamTable& table, Responding& responding)
        : services_(services), table_(table), responding_(responding) {}

    // An OFFER that is authentic; this node relays.
    void accept(Stream& stream);
    // Before TAKEN a member has nothing to say but that it ends the connection.
    void on_ready(Stream& stream) { table_.finish(stream, ring::EndReason::parked_expired, PlainEnd::close); }
    void end_all();

    // Sends TAKEN on a connection of this engine and gives it away; what comes from there on is the node's answer to
    // the stream. None if `id` does not offer it any more. `asker`: whose stream it is for.
    [[nodiscard]] UniqueFd take(uint64_t handle, const MemberId& id, const MemberId& asker);

    // A connection, of whatever engine, waits to be taken; wakes the engine of the stream that has waited longest.
    void publish(const MemberId& id, EngineStream connection);

private:
    [[nodiscard]] bool send_taken(Stream& stream, const MemberId& asker);

    EngineServices& services_;
    StreamTable& table_;
    Responding& responding_;
};

}  // namespace qanat::dataplane
