// The splice mover: ciphertext from one socket to the other, never looked at. For a relay, which has no keys.
//
// Bulk goes through a pipe with two calls of splice(2) and is not copied; what comes in small pieces goes through the
// burst buffer, which is cheaper below kSpliceMin. A lane learns which from its last burst. When no pipe is free, bulk
// is copied as well. End of the source becomes `finished`; there is no other end, because only the two
// sides of the tunnel could authenticate one.
//
// Both sockets must be non-blocking (SPLICE_F_NONBLOCK is about pipes only), and SIGPIPE must be ignored: splice(2) has
// no MSG_NOSIGNAL.
#pragma once

#include <cstddef>
#include <cstdint>

#include "dataplane/engine/chunks.h"
#include "dataplane/engine/pipe_pool.h"
#include "dataplane/relay/lane.h"
#include "dataplane/tunnel/pool_share.h"

namespace qanat::dataplane {

// From here on splicing is cheaper than copying (docs/PERFORMANCE.md, "Splice").
inline constexpr size_t kSpliceMin = 16 * 1024;
// The most that is copied in one burst.
inline constexpr size_t kCopyMax = 256 * 1024;
static_assert(kCopyMax <= BurstBuffer::kSize);

// One direction of a relayed stream. Its sink has not taken yet what is in the pipe or, never both, in the backlog.
struct SpliceLane {
    uint64_t bytes = 0;        // taken from the source
    PipeIndex pipe = kNoPipe;  // held only while there are bytes in it
    uint32_t in_pipe = 0;
    Backlog backlog;
    uint8_t dry_splices = 0;  // in a row
    bool bulk = false;        // the last burst was large: splice the next
    bool done = false;

    // Something is left to write: the lane does not read, and so would not notice a reset of its source.
    [[nodiscard]] bool waits_for_sink() const { return in_pipe > 0 || !backlog.empty(); }
    // What it has leased.
    [[nodiscard]] PoolShare holds() const {
        return {.pipes = pipe != kNoPipe ? 1U : 0U, .chunks = backlog.empty() ? 0 : backlog.chunks()};
    }
    // Gives back everything, written or not.
    void release(PipePool& pipes, ChunkPool& chunks);
};

struct SpliceResources {
    PipePool& pipes;
    ChunkPool& chunks;
    BurstBuffer& burst;
    PoolShare room{.pipes = UINT32_MAX, .chunks = UINT32_MAX};  // what may be leased now, if it is there
};

// Writes what is left, then moves at most one burst and at most `allowance` new bytes (a token bucket's; SIZE_MAX
// without limit). Answers wait_source, wait_sink, wait_memory (a free chunk that `room` allows ends it; a free pipe
// does not always), yield (also when the allowance was used up), finished, source_failed or sink_failed. To be called
// again when what it waits for is there: a call out of turn is harmless, but may end in wait_memory where there are no
// chunks.
[[nodiscard]] Move splice_some(SpliceLane& lane, const SpliceResources& resources, int source_fd, int sink_fd,
                               size_t allowance);

// Gives a new lane bytes that were read before the relay began (at most a chunk, which must be available): they go
// first. They count in `bytes`, not towards an allowance.
void splice_first(SpliceLane& lane, ChunkPool& chunks, Bytes bytes);

}  // namespace qanat::dataplane
