#include "dataplane/relay/seal_mover.h"

#include <algorithm>
#include <array>
#include <cstring>

#include "common/base/assert.h"
#include "dataplane/engine/socket.h"

namespace qanat::dataplane {
namespace {

using wire::kContentSizeMax;
using wire::kRecordHeaderSize;
using wire::kRecordSizeMax;

// Reads up to `records` records' worth of content to where it belongs in the burst.
IoResult read_contents(int fd, uint8_t* burst, size_t records) {
    if (records == 1) return read_some(fd, MutableBytes(burst + kRecordHeaderSize, kContentSizeMax));
    std::array<iovec, kBurstRecordsMax> parts;
    for (size_t i = 0; i < records; ++i)
        parts[i] = {.iov_base = burst + i * kRecordSizeMax + kRecordHeaderSize, .iov_len = kContentSizeMax};
    return read_some(fd, std::span<const iovec>(parts).first(records));
}

// Seals `content_size` bytes that lie in record layout; returns the size of the records, which lie back to back.
size_t seal_in_place(Lane& lane, KeyCache& keys, uint8_t* burst, size_t content_size) {
    const crypto::Aead& aead = keys.context(lane.key, lane.key_tag);
    size_t size = 0;
    while (content_size > 0) {
        const size_t content = std::min(content_size, kContentSizeMax);
        const size_t record = wire::seal_record(aead, lane.key, burst + size, content, wire::ContentType::data);
        QANAT_ASSERT(record > 0);  // the caller has left room under the key's limit
        size += record;
        content_size -= content;
    }
    return size;
}

size_t seal_alert(Lane& lane, KeyCache& keys, uint8_t* out, const std::array<uint8_t, 2>& alert) {
    std::memcpy(out + kRecordHeaderSize, alert.data(), alert.size());
    return wire::seal_record(keys.context(lane.key, lane.key_tag), lane.key, out, alert.size(),
                             wire::ContentType::alert);
}

// Sends what it can, keeps the rest. False when the sink failed.
bool send_or_keep(Lane& lane, ChunkPool& chunks, int sink_fd, const uint8_t* data, size_t size) {
    const IoResult written = write_some(sink_fd, Bytes(data, size));
    if (written.status == IoStatus::error) return false;
    const size_t count = written.status == IoStatus::ok ? written.count : 0;
    if (count < size) lane.backlog.append(chunks, data + count, size - count);
    return true;
}

}  // namespace

Move seal_some(Lane& lane, const MoverResources& resources, int source_fd, int sink_fd) {
    uint8_t* const burst = resources.burst.data();
    for (unsigned bursts = 0; bursts < kBurstsPerTurn;) {
        Move wait{};
        if (!flush_backlog(lane, resources.chunks, sink_fd, wait)) return wait;
        if (lane.ending) {
            lane.done = true;
            return Move::finished;
        }
        const size_t records = burst_records(lane, resources.chunks, sink_fd);
        if (records == 0) return Move::wait_memory;
        // The whole burst, and the abort that may follow it.
        if (lane.key.bytes + (records + 2) * kRecordSizeMax > wire::kDirectionBytesMax) return Move::key_exhausted;

        const IoResult read = read_contents(source_fd, burst, records);
        if (read.status == IoStatus::again) return Move::wait_source;
        if (read.status == IoStatus::error) return Move::source_failed;
        if (read.status == IoStatus::end) {
            const auto& end = lane.parks ? wire::kCloseAndPark : wire::kCloseNotify;
            const size_t size = seal_alert(lane, resources.keys, burst, end);
            lane.ending = true;
            if (!send_or_keep(lane, resources.chunks, sink_fd, burst, size)) return Move::sink_failed;
            continue;
        }

        const size_t size = seal_in_place(lane, resources.keys, burst, read.count);
        lane.bytes += read.count;
        if (!send_or_keep(lane, resources.chunks, sink_fd, burst, size)) return Move::sink_failed;
        const bool filled = read.count == records * kContentSizeMax;
        adapt_burst(lane, records, filled);
        ++bursts;
        if (!lane.backlog.empty()) return Move::wait_sink;
        if (!filled) return Move::wait_source;  // the source is most likely empty; asking costs more than waiting
    }
    return Move::yield;
}

Move seal_bytes(Lane& lane, const MoverResources& resources, int sink_fd, Bytes content) {
    uint8_t* const burst = resources.burst.data();
    if (burst_records(lane, resources.chunks, sink_fd) == 0) return Move::wait_memory;
    std::memcpy(burst + kRecordHeaderSize, content.data(), content.size());
    const size_t size = seal_in_place(lane, resources.keys, burst, content.size());
    lane.bytes += content.size();
    if (!send_or_keep(lane, resources.chunks, sink_fd, burst, size)) return Move::sink_failed;
    return lane.backlog.empty() ? Move::wait_source : Move::wait_sink;
}

bool seal_abort(Lane& lane, const MoverResources& resources, int sink_fd) {
    if (!lane.backlog.empty() || lane.ending || lane.key_tag == 0) return false;
    uint8_t* const burst = resources.burst.data();
    const size_t size = seal_alert(lane, resources.keys, burst, wire::kAbort);
    const IoResult written = write_some(sink_fd, Bytes(burst, size));
    return written.status == IoStatus::ok && written.count == size;
}

}  // namespace qanat::dataplane
