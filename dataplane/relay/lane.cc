#include "dataplane/relay/lane.h"

#include <sys/mman.h>

#include <algorithm>

#include "common/base/assert.h"
#include "dataplane/engine/socket.h"

namespace qanat::dataplane {

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

BurstBuffer::~BurstBuffer() { ::munmap(memory_, kSize); }

bool flush_backlog(Lane& lane, ChunkPool& chunks, int sink_fd, Move& move) {
    while (!lane.backlog.empty()) {
        const Backlog::Front front = lane.backlog.front(chunks);
        const IoResult written = write_some(sink_fd, Bytes(front.data, front.size));
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

size_t burst_records(const Lane& lane, const ChunkPool& chunks) {
    size_t records = size_t{1} << lane.burst_steps;
    while (records > 0) {
        // One more chunk for a carry, and the carry's own bytes may end up in the backlog too.
        const size_t bytes = lane.carry_size + records * wire::kRecordSizeMax;
        if (Backlog::chunks_for(bytes) + 1 <= chunks.available()) return records;
        records /= 2;
    }
    return 0;
}

void adapt_burst(Lane& lane, size_t records_offered, bool source_filled_it, bool sink_took_it) {
    if (!sink_took_it) {
        if (lane.burst_steps > 0) --lane.burst_steps;
    } else if (source_filled_it) {
        if (records_offered == size_t{1} << lane.burst_steps && lane.burst_steps < kBurstStepsMax) ++lane.burst_steps;
    }
}

}  // namespace qanat::dataplane
