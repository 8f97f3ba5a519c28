// The first flight of a tunnel connection as its client makes it: preamble and REQUEST; and a REQUEST as a later record
// of a connection that was kept ready (PROTOCOL.md sections 4 and 4.1).
#pragma once

#include "common/wire/stream_messages.h"
#include "dataplane/stream/services.h"
#include "dataplane/stream/stream.h"

namespace qanat::dataplane {

// Draws a stream number of the session, sets the key schedule of the stream's Opening and its sealing key. Returns the
// size, which is kRequestFlightMultiple; `out` has room for that.
[[nodiscard]] size_t seal_first_flight(EngineServices& services, Stream& stream, SharedSession& session,
                                       const wire::Request& request, MutableBytes out);

// The same size, under the sealing key that the stream has.
[[nodiscard]] size_t seal_later_request(EngineServices& services, Stream& stream, const wire::Request& request,
                                        MutableBytes out);

}  // namespace qanat::dataplane
