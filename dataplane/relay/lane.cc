#include "dataplane/relay/lane.h"

#include <sys/mman.h>

#include <algorithm>
#include <array>
#include <utility>

#include "common/base/assert.h"
#include "dataplane/engine/socket.h"

namespace qanat::dataplane {

Lane Lane::pass_on() {
    Lane next;
    next.key = key;
    next.key_tag = std::exchange(key_tag, 0);  // the key cache goes on under the same tag
    key.wipe();
    return next;
}

void Lane::release(ChunkPool& chunks, KeyCache& keys) {
    backlog.clear(chunks);
    if (carry != kNoChunk) chunks.release(carry);
    carry = kNoChunk;
    carry_size = 0;
    if (key_tag != 0) keys.forget(key_tag);
    key_tag = 0;
    key.wipe();
}

BurstBuffer::BurstBuffer() {
    void* memory = ::mmap(nullptr, kSize, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    QANAT_ASSERT(memory != MAP_FAILED);
    memory_ = static_cast<uint8_t*>(memory);
}

BurstBuffer::~BurstBuffer() {
    ::munmap(memory_, kSize);
}

bool flush_backlog(Lane& lane, ChunkPool& chunks, int sink_fd, Move& move) {
    std::array<iovec, kBurstRecordsMax + 4> pieces;  // a whole burst, and its carry
    while (!lane.backlog.empty()) {
        const size_t count = lane.backlog.pieces(chunks, pieces);
        const IoResult written = write_some(sink_fd, std::span<const iovec>(pieces).first(count));
        if (written.status == IoStatus::error) {
            move = Move::sink_failed;
            return false;
        }
        if (written.status != IoStatus::ok) {
            move = Move::wait_sink;
            return false;
        }
        lane.backlog.consume(chunks, written.count);
    }
    return true;
}

size_t burst_records(const Lane& lane, const ChunkPool& chunks, int sink_fd) {
    size_t records = size_t{1} << lane.burst_steps;
    // What the sink will not take has to be copied aside: when it fell behind, ask it how much it has room for.
    if (lane.sink_is_behind) records = std::clamp<size_t>(send_room(sink_fd) / wire::kRecordSizeMax, 1, records);
    while (records > 0) {
        // One more chunk for a carry, and the carry's own bytes may end up in the backlog too.
        const size_t bytes = lane.carry_size + records * wire::kRecordSizeMax;
        if (Backlog::chunks_for(bytes) + 1 <= chunks.available()) return records;
        records /= 2;
    }
    return 0;
}

void adapt_burst(Lane& lane, size_t records_read, bool source_filled_it) {
    const bool whole_burst = records_read == size_t{1} << lane.burst_steps;
    if (!lane.backlog.empty())
        lane.sink_is_behind = true;
    else if (whole_burst)
        lane.sink_is_behind = false;
    if (whole_burst && source_filled_it && lane.backlog.empty() && lane.burst_steps < kBurstStepsMax)
        ++lane.burst_steps;
}

}  // namespace qanat::dataplane
