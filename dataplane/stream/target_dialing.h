// TargetDialing: from an authenticated request to a relay with its target, or to a named refusal.
//
//   resolving → dialing → relaying
//
// A name is asked of the control plane; policy judges each address that would really be dialled; Happy Eyeballs; then
// the RESPONSE with the true outcome.
#pragma once

#include "dataplane/stream/relaying.h"
#include "dataplane/stream/responding.h"

namespace qanat::dataplane {

class TargetDialing {
public:
    TargetDialing(EngineServices& services, StreamTable& table, Relaying& relaying, Responding& responding)
        : services_(services), table_(table), relaying_(relaying), responding_(responding) {}

    // The stream's target is set and its records so far are authentic.
    void start(Stream& stream);

    void on_resolved(const ring::ResolveResult& result);
    void on_dial_ready(Stream& stream, uint8_t lane);
    // Something happened to the client's side while the target is being reached.
    void on_watch(Stream& stream, int32_t result);
    void on_timer(Stream& stream);

private:
    void resolve(Stream& stream);
    void dial(Stream& stream, std::span<const wire::Endpoint> candidates);
    void advance_dial(Stream& stream);
    void connected(Stream& stream, size_t slot);
    void arm_opening_deadline(Stream& stream);

    EngineServices& services_;
    StreamTable& table_;
    Relaying& relaying_;
    Responding& responding_;
};

}  // namespace qanat::dataplane
