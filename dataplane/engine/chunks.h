// ChunkPool: the engine's buffer memory, in chunks that hold one whole record each. A stream leases chunks only for
// bytes that it cannot pass on now (a sink that is full, half a record) and gives them back when they are gone; an
// idle stream holds none.
//
// The pool is address space at first; pages become memory when they are used, and stay. Not thread-safe: one per
// engine.
#pragma once

#include <sys/uio.h>

#include <cstdint>
#include <span>

#include "common/wire/record.h"

namespace qanat::dataplane {

inline constexpr uint32_t kChunkSize = 16640;  // the largest record, rounded up to cache lines
static_assert(kChunkSize >= wire::kRecordSizeMax && kChunkSize % 64 == 0);

using ChunkIndex = uint32_t;
inline constexpr ChunkIndex kNoChunk = UINT32_MAX;

class ChunkPool {
public:
    explicit ChunkPool(uint32_t chunks);
    ~ChunkPool();
    ChunkPool(const ChunkPool&) = delete;
    ChunkPool& operator=(const ChunkPool&) = delete;

    [[nodiscard]] uint32_t capacity() const { return capacity_; }
    [[nodiscard]] uint32_t available() const { return capacity_ - used_; }
    [[nodiscard]] uint32_t used() const { return used_; }

    // Callers make sure beforehand that enough chunks are available (back-pressure); running out here is a mistake.
    [[nodiscard]] ChunkIndex acquire();
    void release(ChunkIndex chunk);

    [[nodiscard]] uint8_t* data(ChunkIndex chunk) { return memory_ + size_t{chunk} * kChunkSize; }
    // Links of the lists that streams keep: which chunk follows this one.
    [[nodiscard]] ChunkIndex& next(ChunkIndex chunk) { return links_[chunk]; }

private:
    uint8_t* memory_ = nullptr;
    ChunkIndex* links_ = nullptr;
    uint32_t capacity_;
    uint32_t used_ = 0;
    uint32_t touched_ = 0;
    ChunkIndex free_head_ = kNoChunk;
};

// Backlog: bytes in order, in a list of chunks. Empty, it owns nothing.
class Backlog {
public:
    [[nodiscard]] bool empty() const { return size_ == 0; }
    [[nodiscard]] uint32_t size() const { return size_; }
    [[nodiscard]] uint32_t chunks() const { return (begin_ + size_ + kChunkSize - 1) / kChunkSize; }

    void append(ChunkPool& pool, const uint8_t* bytes, size_t size);
    // The bytes from the front on, piece by piece, as far as `out` has room. Returns how many pieces there are; they
    // are valid until the next call.
    [[nodiscard]] size_t pieces(ChunkPool& pool, std::span<iovec> out) const;
    void consume(ChunkPool& pool, size_t size);
    void clear(ChunkPool& pool);

    // How many chunks append() takes at the most for this many bytes.
    [[nodiscard]] static constexpr uint32_t chunks_for(size_t bytes) {
        return static_cast<uint32_t>((bytes + kChunkSize - 1) / kChunkSize) + 1;
    }

private:
    ChunkIndex first_ = kNoChunk;
    ChunkIndex last_ = kNoChunk;
    uint32_t size_ = 0;
    uint16_t begin_ = 0;  // offset of the first byte in the first chunk
    uint16_t end_ = 0;    // offset behind the last byte in the last chunk
};

}  // namespace qanat::dataplane
