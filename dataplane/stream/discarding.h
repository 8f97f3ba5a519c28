// Discarding: reads and throws away until the other side closes or a deadline passes. Two uses:
//
// * after a refusal, so that the answer is not overtaken by the reset which closing with unread bytes would cause;
// * the silent path of PROTOCOL.md section 8, so that a connection that proved nothing learns nothing from how it ends.
#pragma once

#include "dataplane/stream/stream_table.h"

namespace qanat::dataplane {

class Discarding {
public:
    Discarding(EngineServices& services, StreamTable& table) : services_(services), table_(table) {}

    // Client: the application's side. The reply has been sent.
    void linger_plain(Stream& stream, ring::EndReason reason);
    // Exit: the tunnel's side. The RESPONSE has been sent.
    void linger_tunnel(Stream& stream, ring::EndReason reason);
    // Exit: nothing was proved. Keeps the deadline that the stream got when it was accepted.
    void silence(Stream& stream);

    void on_plain_ready(Stream& stream);
    void on_tunnel_ready(Stream& stream);
    void on_timer(Stream& stream) { table_.finish(stream, stream.reason, PlainEnd::close); }

private:
    // True when the other side has closed.
    [[nodiscard]] bool drain(int fd);

    EngineServices& services_;
    StreamTable& table_;
};

}  // namespace qanat::dataplane
