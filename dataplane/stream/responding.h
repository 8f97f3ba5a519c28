// Responding: what a node tells the client of an authenticated stream before the bytes begin: its preamble, the
// RESPONSE with the outcome, or a refusal (PROTOCOL.md section 4.2).
#pragma once

#include "common/wire/stream_messages.h"
#include "dataplane/stream/discarding.h"

namespace qanat::dataplane {

class Responding {
public:
    Responding(EngineServices& services, StreamTable& table, Discarding& discarding)
        : services_(services), table_(table), discarding_(discarding) {}

    // From now on the RESPONSE is worked on.
    void begin(Stream& stream);
    // When announce_if_due() has to be called; never, once it was.
    [[nodiscard]] uint64_t announce_by_ns(const Stream& stream) const;
    // If the RESPONSE has taken too long: sends the preamble alone, or what says the same on a connection that was
    // parked, and watches the client from then on, which may give up.
    void announce_if_due(Stream& stream);
    // Sends the preamble alone, now, unless it was sent.
    void announce(Stream& stream);
    // What that watch saw means that nobody waits for the RESPONSE any more.
    [[nodiscard]] bool client_left(const Stream& stream, int32_t result) const;

    // Sends a RESPONSE, with the preamble in front if that has not gone ahead. False: the tunnel did not take it.
    [[nodiscard]] bool respond(Stream& stream, const wire::Response& response);
    // RESPONSE, close_notify, and an end that does not overtake them.
    void refuse(Stream& stream, wire::StreamStatus status, ring::EndReason reason, wire::Reason why);
    // Any RESPONSE that nothing follows.
    void conclude(Stream& stream, const wire::Response& response, ring::EndReason reason);

private:
    // Sends an empty record.
    void announce_again(Stream& stream);
    // Draws the node's random, sets the sealing key and writes the preamble.
    void make_preamble(Stream& stream, std::span<uint8_t, wire::kNodePreambleSize> out);

    EngineServices& services_;
    StreamTable& table_;
    Discarding& discarding_;
};

}  // namespace qanat::dataplane
