// TargetDialing: from an authenticated request to a relay with its target, or to a named refusal.
//
//   resolving → dialing → relaying
//
// A name is asked of the control plane; policy judges each address that would really be dialled; Happy Eyeballs; then
// the RESPONSE with the true outcome.
#pragma once

#include "common/wire/stream_messages.h"
#include "dataplane/stream/discarding.h"
#include "dataplane/stream/relaying.h"

namespace qanat::dataplane {

class TargetDialing {
public:
    TargetDialing(EngineServices& services, StreamTable& table, Relaying& relaying, Discarding& discarding)
        : services_(services), table_(table), relaying_(relaying), discarding_(discarding) {}

    // The stream's target is set and its records so far are authentic.
    void start(Stream& stream);

    void on_resolved(const ring::ResolveResult& result);
    void on_dial_ready(Stream& stream, uint8_t lane);
    // Something happened to the client's side while the target is being reached.
    void on_watch(Stream& stream, int32_t result);
    void on_timer(Stream& stream);

    // Sends a RESPONSE, with the preamble in front if that has not gone ahead. False: the tunnel did not take it.
    [[nodiscard]] bool respond(Stream& stream, const wire::Response& response);
    // RESPONSE, close_notify, and an end that does not overtake them.
    void refuse(Stream& stream, wire::StreamStatus status, ring::EndReason reason, wire::Reason why);

private:
    void resolve(Stream& stream);
    void dial(Stream& stream, std::span<const wire::Endpoint> candidates);
    void advance_dial(Stream& stream);
    void connected(Stream& stream, size_t slot);
    void arm_opening_deadline(Stream& stream);
    // Draws the node's random, sets the sealing key and writes the preamble.
    void make_preamble(Stream& stream, std::span<uint8_t, wire::kNodePreambleSize> out);
    void send_preamble(Stream& stream);

    EngineServices& services_;
    StreamTable& table_;
    Relaying& relaying_;
    Discarding& discarding_;
};

}  // namespace qanat::dataplane
