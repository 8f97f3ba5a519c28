// The opening mover: records in, plain bytes out (PROTOCOL.md section 5 and 4.3).
//
// Whole records of a burst are opened in place and their contents go out with one sendmsg. What is authentic is always
// delivered, also when the record behind it is not. An authenticated close becomes `finished`; an end
// without one is `truncated`, never an end of file.
#pragma once

#include "dataplane/relay/lane.h"

namespace qanat::dataplane {

// Moves until it must wait, at most kBurstsPerTurn bursts.
[[nodiscard]] Move open_some(Lane& lane, const MoverResources& resources, int source_fd, int sink_fd);

// Gives the lane bytes that were read before the relay began (at most a chunk): it opens them before it reads.
void carry_over(Lane& lane, ChunkPool& chunks, Bytes bytes);

}  // namespace qanat::dataplane
