#include "dataplane/relay/splice_mover.h"

#include <fcntl.h>

#include <algorithm>
#include <array>
#include <cerrno>

#include "common/base/assert.h"
#include "dataplane/engine/socket.h"

namespace qanat::dataplane {
namespace {

// Never SPLICE_F_MORE: it holds back the last segment of what may be the last burst for a while.
constexpr unsigned kFlags = SPLICE_F_MOVE | SPLICE_F_NONBLOCK;
constexpr uint8_t kDrySplicesMax = 2;
constexpr size_t kPageSize = 4096;
constexpr size_t kSegmentSize = 1448;  // of TCP over Ethernet, and so of the fragments that fill a pipe's slots

IoResult splice_bytes(int from, int to, size_t size) {
    const ssize_t count = ::splice(from, nullptr, to, nullptr, size, kFlags);
    if (count > 0) return {IoStatus::ok, 0, static_cast<size_t>(count)};
    if (count == 0) return {IoStatus::end, 0, 0};
    if (errno == EAGAIN || errno == EINTR) return {IoStatus::again, 0, 0};
    return {IoStatus::error, errno, 0};
}

// Pipe to sink. Whoever takes less than everything is full: asking again would only bring EAGAIN.
bool flush_pipe(SpliceLane& lane, PipePool& pipes, int sink_fd, Move& move) {
    const IoResult written = splice_bytes(pipes.read_end(lane.pipe), sink_fd, lane.in_pipe);
    if (written.status == IoStatus::error) {
        move = Move::sink_failed;
        return false;
    }
    if (written.status == IoStatus::ok) lane.in_pipe -= static_cast<uint32_t>(written.count);
    if (lane.in_pipe > 0) {
        move = Move::wait_sink;
        return false;
    }
    pipes.release(lane.pipe);
    lane.pipe = kNoPipe;
    return true;
}

bool flush_chunks(SpliceLane& lane, ChunkPool& chunks, int sink_fd, Move& move) {
    std::array<iovec, Backlog::chunks_for(kCopyMax)> pieces;
    const size_t count = lane.backlog.pieces(chunks, pieces);
    const IoResult written = write_some(sink_fd, std::span<const iovec>(pieces).first(count));
    if (written.status == IoStatus::error) {
        move = Move::sink_failed;
        return false;
    }
    if (written.status == IoStatus::ok) lane.backlog.consume(chunks, written.count);
    move = Move::wait_sink;
    return lane.backlog.empty();
}

bool flush(SpliceLane& lane, const SpliceResources& resources, int sink_fd, Move& move) {
    if (lane.in_pipe > 0) return flush_pipe(lane, resources.pipes, sink_fd, move);
    if (!lane.backlog.empty()) return flush_chunks(lane, resources.chunks, sink_fd, move);
    return true;
}

// Nothing is left to write: a lane reads only then.
Move finish(SpliceLane& lane) {
    lane.done = true;
    return Move::finished;
}

// Source to pipe to sink.
Move splice_burst(SpliceLane& lane, PipePool& pipes, int source_fd, int sink_fd, size_t allowance) {
    const PipeIndex pipe = pipes.acquire();
    const size_t wanted = std::min<size_t>(pipes.size(pipe), allowance);
    const IoResult read = splice_bytes(source_fd, pipes.write_end(pipe), wanted);
    if (read.status != IoStatus::ok) pipes.release(pipe);
    switch (read.status) {
        case IoStatus::error:
            return Move::source_failed;
        case IoStatus::end:
            if (ended_and_empty(source_fd)) return finish(lane);
            // Splicing stops in front of urgent data, and takes a FIN behind them for the end.
            lane.dry_splices = kDrySplicesMax;
            return Move::yield;
        case IoStatus::again:
            // Never because the pipe is full, for it was empty. Twice, so although the source was said to be readable:
            // it may be urgent data again, and without a way around them this would go on for ever.
            ++lane.dry_splices;
            return Move::wait_source;
        case IoStatus::ok:
            break;
    }
    lane.pipe = pipe;
    lane.in_pipe = static_cast<uint32_t>(read.count);
    lane.bytes += read.count;
    lane.dry_splices = 0;
    lane.bulk = read.count >= kSpliceMin;
    Move wait{};
    if (!flush_pipe(lane, pipes, sink_fd, wait)) return wait;
    // Less than was wanted: the source is most likely empty, unless small fragments have filled the pipe's slots.
    const size_t slots_full = pipes.size(pipe) / kPageSize * kSegmentSize;
    return read.count >= std::min(wanted, slots_full) ? Move::yield : Move::wait_source;
}

// Source to burst buffer to sink; what the sink does not take is put aside in chunks.
Move copy_burst(SpliceLane& lane, const SpliceResources& resources, int source_fd, int sink_fd, size_t wanted) {
    uint8_t* const burst = resources.burst.data();
    const IoResult read = read_some(source_fd, MutableBytes(burst, wanted));
    if (read.status == IoStatus::again) return Move::wait_source;
    if (read.status == IoStatus::error) return Move::source_failed;
    if (read.status == IoStatus::end) return finish(lane);
    lane.bytes += read.count;
    lane.dry_splices = 0;
    if (wanted >= kSpliceMin) lane.bulk = read.count >= kSpliceMin;

    const IoResult written = write_some(sink_fd, Bytes(burst, read.count));
    if (written.status == IoStatus::error) return Move::sink_failed;
    const size_t taken = written.status == IoStatus::ok ? written.count : 0;
    if (taken < read.count) {
        lane.backlog.append(resources.chunks, burst + taken, read.count - taken);
        return Move::wait_sink;
    }
    return read.count == wanted ? Move::yield : Move::wait_source;
}

}  // namespace

void SpliceLane::release(PipePool& pipes, ChunkPool& chunks) {
    if (pipe != kNoPipe) pipes.discard(pipe);
    pipe = kNoPipe;
    in_pipe = 0;
    backlog.clear(chunks);
}

Move splice_some(SpliceLane& lane, const SpliceResources& resources, int source_fd, int sink_fd, size_t allowance) {
    Move wait{};
    if (!flush(lane, resources, sink_fd, wait)) return wait;
    if (allowance == 0) return Move::yield;
    const bool can_splice =
        lane.dry_splices < kDrySplicesMax && resources.pipes.available() > 0 && resources.room.pipes > 0;
    // What the sink does not take of a copied burst must find a place.
    const size_t chunk_room = size_t{std::min(resources.chunks.available(), resources.room.chunks)} * kChunkSize;
    if (can_splice && ((lane.bulk && allowance >= kSpliceMin) || chunk_room == 0))
        return splice_burst(lane, resources.pipes, source_fd, sink_fd, allowance);
    if (chunk_room == 0) return Move::wait_memory;
    const size_t burst = lane.bulk ? kCopyMax : kSpliceMin;
    return copy_burst(lane, resources, source_fd, sink_fd, std::min({burst, chunk_room, allowance}));
}

void splice_first(SpliceLane& lane, ChunkPool& chunks, Bytes bytes) {
    QANAT_ASSERT(!lane.waits_for_sink() && bytes.size() <= kChunkSize);
    lane.backlog.append(chunks, bytes.data(), bytes.size());
    lane.bytes += bytes.size();
}

}  // namespace qanat::dataplane
