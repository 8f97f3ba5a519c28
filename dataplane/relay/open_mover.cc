#include "dataplane/relay/open_mover.h"

#include <array>
#include <cstring>

#include "common/base/assert.h"
#include "dataplane/engine/socket.h"

namespace qanat::dataplane {
namespace {

// Contents to send, gathered in place. Small ones are moved together: a hundred bytes are cheaper to copy than to
// describe to the kernel.
class Contents {
public:
    void add(MutableBytes content) {
        if (content.empty()) return;
        size_ += content.size();
        if (count_ > 0 && content.size() <= kCopyMax) {
            iovec& last = parts_[count_ - 1];
            std::memmove(static_cast<uint8_t*>(last.iov_base) + last.iov_len, content.data(), content.size());
            last.iov_len += content.size();
            return;
        }
        QANAT_ASSERT(count_ < parts_.size());
        parts_[count_++] = {.iov_base = content.data(), .iov_len = content.size()};
    }
    [[nodiscard]] size_t size() const { return size_; }
    [[nodiscard]] std::span<const iovec> parts() const { return std::span(parts_).first(count_); }

private:
    static constexpr size_t kCopyMax = 2048;
    static constexpr size_t kPartsMax = BurstBuffer::kSize / (kCopyMax + 1) + 2;
    std::array<iovec, kPartsMax> parts_;
    size_t count_ = 0;
    size_t size_ = 0;
};

struct Digest {
    size_t consumed = 0;               // bytes of whole records
    Move verdict = Move::wait_source;  // or what ends the lane after delivery: aborted, bad_record
};

// Opens every whole record of `input`.
Digest open_records(Lane& lane, KeyCache& keys, MutableBytes input, Contents& contents) {
    Digest digest;
    const crypto::Aead& aead = keys.context(lane.key, lane.key_tag);
    const auto bad = [&] {
        digest.verdict = Move::bad_record;
        return digest;
    };
    while (input.size() - digest.consumed >= wire::kRecordHeaderSize) {
        if (lane.ending) return bad();  // nothing may follow close_notify
        MutableBytes rest = input.subspan(digest.consumed);
        const auto size = wire::record_size(rest);
        if (!size) return bad();
        if (rest.size() < *size) break;
        const auto record = wire::open_record(aead, lane.key, rest.first(*size));
        if (!record) return bad();
        digest.consumed += *size;
        switch (record->type) {
            case wire::ContentType::data:
                lane.empty_records = record->content.empty() ? static_cast<uint8_t>(lane.empty_records + 1) : 0;
                // A member that sends nothing, authentically and without end, costs us work and brings none.
                if (lane.empty_records > wire::kEmptyRecordsMax) return bad();
                contents.add(record->content);
                break;
            case wire::ContentType::alert:
                if (record->content.size() != 2) return bad();
                lane.parks = std::memcmp(record->content.data(), wire::kCloseAndPark.data(), 2) == 0;
                if (lane.parks || std::memcmp(record->content.data(), wire::kCloseNotify.data(), 2) == 0) {
                    lane.ending = true;
                    break;
                }
                digest.verdict = Move::aborted;
                return digest;
            case wire::ContentType::control:
                return bad();
        }
    }
    return digest;
}

// Sends what it can, keeps the rest. False when the sink failed.
bool send_or_keep(Lane& lane, ChunkPool& chunks, int sink_fd, const Contents& contents) {
    if (contents.size() == 0) return true;
    const IoResult written = write_some(sink_fd, contents.parts());
    if (written.status == IoStatus::error) return false;
    size_t skip = written.status == IoStatus::ok ? written.count : 0;
    if (skip == contents.size()) return true;
    for (const iovec& part : contents.parts()) {
        if (skip >= part.iov_len) {
            skip -= part.iov_len;
            continue;
        }
        lane.backlog.append(chunks, static_cast<const uint8_t*>(part.iov_base) + skip, part.iov_len - skip);
        skip = 0;
    }
    return true;
}

void keep_carry(Lane& lane, ChunkPool& chunks, Bytes rest) {
    if (rest.empty()) {
        if (lane.carry != kNoChunk) chunks.release(lane.carry);
        lane.carry = kNoChunk;
    } else {
        if (lane.carry == kNoChunk) lane.carry = chunks.acquire();
        std::memcpy(chunks.data(lane.carry), rest.data(), rest.size());
    }
    lane.carry_size = static_cast<uint16_t>(rest.size());
}

// What is missing of the record that the carry begins with, or of its header.
size_t rest_of_record(const Lane& lane, ChunkPool& chunks) {
    const Bytes begun(chunks.data(lane.carry), lane.carry_size);
    if (begun.size() < wire::kRecordHeaderSize) return wire::kRecordHeaderSize - begun.size();
    const auto size = wire::record_size(begun);
    return size && *size > begun.size() ? *size - begun.size() : 1;  // malformed: opening it will tell
}

}  // namespace

Move open_some(Lane& lane, const MoverResources& resources, int source_fd, int sink_fd) {
    ChunkPool& chunks = resources.chunks;
    uint8_t* const burst = resources.burst.data();
    for (unsigned bursts = 0; bursts < kBurstsPerTurn;) {
        Move wait{};
        if (!flush_backlog(lane, chunks, sink_fd, wait)) return wait;
        if (lane.ending) {
            lane.done = true;
            return Move::finished;
        }
        const size_t records = burst_records(lane, chunks, sink_fd);
        size_t room = records * wire::kRecordSizeMax;
        if (records == 0) {
            // A lane that holds memory must not wait for more, or all could wait for each other. The chunk of half a
            // record is enough to end that record: what it frees takes the content.
            const bool enough = lane.carry_is_new ? chunks.available() > 0 : lane.carry != kNoChunk;
            if (!enough) return Move::wait_memory;
            room = rest_of_record(lane, chunks);
        }

        const size_t carried = lane.carry_size;
        size_t arrived = 0;
        if (!lane.carry_is_new) {
            const IoResult read = read_some(source_fd, MutableBytes(burst + carried, room));
            if (read.status == IoStatus::again) return Move::wait_source;
            if (read.status == IoStatus::error) return Move::source_failed;
            if (read.status == IoStatus::end) return Move::truncated;
            arrived = read.count;
        }
        if (carried > 0) std::memcpy(burst, chunks.data(lane.carry), carried);
        const bool looked_before_reading = lane.carry_is_new;
        lane.carry_is_new = false;

        const MutableBytes input(burst, carried + arrived);
        Contents contents;
        const Digest digest = open_records(lane, resources.keys, input, contents);
        // The rest first: it lies behind the contents, and keeping the contents does not move it.
        keep_carry(lane, chunks, digest.verdict == Move::wait_source ? input.subspan(digest.consumed) : MutableBytes());
        lane.bytes += contents.size();
        if (!send_or_keep(lane, chunks, sink_fd, contents)) return Move::sink_failed;
        if (digest.verdict != Move::wait_source) return digest.verdict;
        if (lane.ending && lane.carry_size > 0) return Move::bad_record;

        const bool filled = arrived == room;
        adapt_burst(lane, records, filled);
        if (!lane.backlog.empty()) return Move::wait_sink;
        if (!filled && !lane.ending && !looked_before_reading) return Move::wait_source;
        if (!lane.ending) ++bursts;
    }
    return Move::yield;
}

void carry_over(Lane& lane, ChunkPool& chunks, Bytes bytes) {
    if (bytes.empty()) return;
    QANAT_ASSERT(lane.carry == kNoChunk && bytes.size() <= kChunkSize);
    lane.carry = chunks.acquire();
    std::memcpy(chunks.data(lane.carry), bytes.data(), bytes.size());
    lane.carry_size = static_cast<uint16_t>(bytes.size());
    lane.carry_is_new = true;
}

}  // namespace qanat::dataplane
