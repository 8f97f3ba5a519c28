// The sealing mover: plain bytes in, records out (PROTOCOL.md section 5).
//
// The burst is read straight into record layout: readv leaves room for each header, type byte and tag, so that sealing
// happens in place and one send takes the whole burst. End of the source becomes an authenticated close_notify.
#pragma once

#include "dataplane/relay/lane.h"

namespace qanat::dataplane {

// Moves until it must wait, at most kBurstsPerTurn bursts.
[[nodiscard]] Move seal_some(Lane& lane, const MoverResources& resources, int source_fd, int sink_fd);

// Seals bytes that are at hand already (early data of the application, at most one record) and passes them on.
[[nodiscard]] Move seal_bytes(Lane& lane, const MoverResources& resources, int sink_fd, Bytes content);

// Tells the far side that this stream was aborted. False when that cannot be said any more (behind half a record, after
// close_notify): then only a reset of the connection says it.
[[nodiscard]] bool seal_abort(Lane& lane, const MoverResources& resources, int sink_fd);

}  // namespace qanat::dataplane
