// Forwarding: from an authenticated FORWARD to two spliced connections, or to a named refusal (PROTOCOL.md section 6).
//
//   (forward_wait) → (forward_dial) → Splicing
//
// The next node is reached, in this order, by a connection that it offers in this engine, by one that it offers in
// another engine (then the stream moves there), by one that is expected, or by whatever the control plane answers. The
// engine itself knows no addresses and dials none that the control plane has not just named.
#pragma once

#include "dataplane/stream/offered.h"
#include "dataplane/stream/splicing.h"

namespace qanat::dataplane {

class Forwarding {
public:
    Forwarding(EngineServices& services, StreamTable& table, Responding& responding, Offered& offered,
               Splicing& splicing)
        : services_(services), table_(table), responding_(responding), offered_(offered), splicing_(splicing) {}

    // A FORWARD that is authentic; this node relays.
    void start(Stream& stream, const wire::NextNode& next);

    void on_member(const ring::MemberResult& result);
    // Other engines have moved streams here, or found connections for streams of this one.
    void on_inbox();
    void on_dial_ready(Stream& stream);
    // Something happened to the asker's side while the next node is being reached.
    void on_watch(Stream& stream, int32_t result);
    void on_timer(Stream& stream);
    // Nothing will be offered any more.
    void end_waiting();

private:
    // Looks for an offered connection. `reserved`: one will come.
    void find(Stream& stream, bool reserved);
    // False: the connection is gone.
    [[nodiscard]] bool use(Stream& stream, EngineStream connection);
    void move(Stream& stream, EngineStream connection);
    void adopt(MutableBytes packet, UniqueFd tunnel);
    void ask(Stream& stream);
    void dial(Stream& stream, const wire::Endpoint& to);
    void connected(Stream& stream);
    void wait_until(Stream& stream, uint64_t at_ns);
    void refuse(Stream& stream, wire::StreamStatus status, ring::EndReason reason, wire::Reason why);

    EngineServices& services_;
    StreamTable& table_;
    Responding& responding_;
    Offered& offered_;
    Splicing& splicing_;
};

}  // namespace qanat::dataplane
