// Lane: one direction of a relayed stream, and what both movers (seal_mover, open_mover) share.
//
// A lane has a source socket, a sink socket and a record key. It reads a burst, transforms it in place, writes it, and
// stops at the first thing it must wait for. It never waits for two things: bytes are read only when everything read
// before has been written, so a sink that stops makes the source's window close (back-pressure), and what a lane can
// hold is bounded by one burst.
#pragma once

#include <cstddef>
#include <cstdint>

#include "common/wire/record.h"
#include "dataplane/engine/chunks.h"
#include "dataplane/tunnel/key_cache.h"

namespace qanat::dataplane {

// A burst is kRecords << n records. Small streams read little, so that a message goes on as soon as it is there; bulk
// streams grow to bursts that pay for the system calls and still fit the core's second-level cache.
inline constexpr unsigned kBurstStepsMax = 4;  // 16 KiB … 256 KiB
inline constexpr size_t kBurstRecordsMax = size_t{1} << kBurstStepsMax;
// Chunks that a lane without bytes of its own needs to move one record.
inline constexpr uint32_t kChunksPerRecord = Backlog::chunks_for(wire::kRecordSizeMax) + 1;
inline constexpr unsigned kBurstsPerTurn = 1;  // then other streams come first

enum class Move : uint8_t {
    wait_source,    // call again when the source is readable
    wait_sink,      // call again when the sink is writable
    wait_memory,    // call again when chunks have been released
    yield,          // call again soon: there is more to do
    finished,       // the source ended and everything was passed on: the caller ends the sink's direction
    source_failed,  // reset or broken
    sink_failed,
    truncated,      // open: the source ended without an authenticated close
    aborted,        // open: the far side sent an authenticated abort
    bad_record,     // open: forged, malformed or not allowed here
    key_exhausted,  // seal: too many bytes under one key
};

struct Lane {
    wire::DirectionKey key;
    uint64_t key_tag = 0;         // names this key in the KeyCache
    uint64_t bytes = 0;           // application bytes passed on
    Backlog backlog;              // transformed, not yet taken by the sink
    ChunkIndex carry = kNoChunk;  // open: undigested bytes of the source, less than a chunk
    uint16_t carry_size = 0;
    uint8_t burst_steps = 0;
    uint8_t empty_records = 0;    // in a row
    bool sink_is_behind = false;  // it did not take all of a burst
    bool carry_is_new = false;    // open: the carry has not been looked at; do so before reading
    bool parks = false;   // its end is close-and-park: the tunnel waits for the next stream. seal: to be said so
    bool ending = false;  // the source's end has been seen; done when the backlog is empty
    bool done = false;

    // A lane without a past that goes on with this one's key, which it gives up.
    [[nodiscard]] Lane pass_on();
    void release(ChunkPool& chunks, KeyCache& keys);
};

// Working memory of one engine, used within a turn only: nothing in it survives a call.
class BurstBuffer {
public:
    // Room for a carry and a burst of sealed records.
    static constexpr size_t kSize = kChunkSize + kBurstRecordsMax * wire::kRecordSizeMax;

    BurstBuffer();
    ~BurstBuffer();
    BurstBuffer(const BurstBuffer&) = delete;
    BurstBuffer& operator=(const BurstBuffer&) = delete;

    [[nodiscard]] uint8_t* data() { return memory_; }

private:
    uint8_t* memory_;
};

struct MoverResources {
    ChunkPool& chunks;
    KeyCache& keys;
    BurstBuffer& burst;
};

// Writes what is in the backlog. True when it is empty now; otherwise `move` says why not.
[[nodiscard]] bool flush_backlog(Lane& lane, ChunkPool& chunks, int sink_fd, Move& move);

// The number of records to read next: the lane's burst, cut to what a sink that has fallen behind has room for, and to
// what the pool could take if the sink took nothing. 0 = not even one: wait for memory.
[[nodiscard]] size_t burst_records(const Lane& lane, const ChunkPool& chunks, int sink_fd);

// After a burst: learns whether the sink keeps up; grows the burst that the source filled and the sink took.
void adapt_burst(Lane& lane, size_t records_read, bool source_filled_it);

}  // namespace qanat::dataplane
