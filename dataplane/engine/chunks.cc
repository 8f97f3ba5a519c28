#include "dataplane/engine/chunks.h"

#include <sys/mman.h>

#include <algorithm>
#include <cstring>

#include "common/base/assert.h"

namespace qanat::dataplane {
namespace {

void* reserve(size_t size) {
    if (size == 0) return nullptr;
    void* memory = ::mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    QANAT_ASSERT(memory != MAP_FAILED);
    return memory;
}

}  // namespace

ChunkPool::ChunkPool(uint32_t chunks)
    : memory_(static_cast<uint8_t*>(reserve(size_t{chunks} * kChunkSize))),
      links_(static_cast<ChunkIndex*>(reserve(size_t{chunks} * sizeof(ChunkIndex)))),
      capacity_(chunks) {}

ChunkPool::~ChunkPool() {
    if (memory_ != nullptr) ::munmap(memory_, size_t{capacity_} * kChunkSize);
    if (links_ != nullptr) ::munmap(links_, size_t{capacity_} * sizeof(ChunkIndex));
}

ChunkIndex ChunkPool::acquire() {
    QANAT_ASSERT(used_ < capacity_);
    ++used_;
    ChunkIndex chunk = free_head_;
    if (chunk != kNoChunk)
        free_head_ = links_[chunk];
    else
        chunk = touched_++;
    links_[chunk] = kNoChunk;
    return chunk;
}

void ChunkPool::release(ChunkIndex chunk) {
    QANAT_ASSERT(chunk < touched_ && used_ > 0);
    --used_;
    links_[chunk] = free_head_;
    free_head_ = chunk;
}

void Backlog::append(ChunkPool& pool, const uint8_t* bytes, size_t size) {
    while (size > 0) {
        if (first_ == kNoChunk) {
            first_ = last_ = pool.acquire();
            begin_ = end_ = 0;
        } else if (end_ == kChunkSize) {
            const ChunkIndex chunk = pool.acquire();
            pool.next(last_) = chunk;
            last_ = chunk;
            end_ = 0;
        }
        const size_t count = std::min<size_t>(size, kChunkSize - end_);
        std::memcpy(pool.data(last_) + end_, bytes, count);
        end_ = static_cast<uint16_t>(end_ + count);
        size_ += static_cast<uint32_t>(count);
        bytes += count;
        size -= count;
    }
}

size_t Backlog::pieces(ChunkPool& pool, std::span<iovec> out) const {
    size_t count = 0;
    if (size_ == 0) return count;
    uint32_t begin = begin_;
    for (ChunkIndex chunk = first_; count < out.size(); chunk = pool.next(chunk)) {
        const uint32_t end = chunk == last_ ? end_ : kChunkSize;
        out[count++] = {.iov_base = pool.data(chunk) + begin, .iov_len = end - begin};
        if (chunk == last_) break;
        begin = 0;
    }
    return count;
}

void Backlog::consume(ChunkPool& pool, size_t size) {
    QANAT_ASSERT(size <= size_);
    size_ -= static_cast<uint32_t>(size);
    while (size > 0) {
        const uint32_t end = first_ == last_ ? end_ : kChunkSize;
        const size_t count = std::min<size_t>(size, end - begin_);
        begin_ = static_cast<uint16_t>(begin_ + count);
        size -= count;
        if (begin_ == end) {
            const ChunkIndex done = first_;
            first_ = first_ == last_ ? kNoChunk : pool.next(done);
            begin_ = 0;
            pool.release(done);
        }
    }
    if (first_ == kNoChunk) last_ = kNoChunk;
}

void Backlog::clear(ChunkPool& pool) {
    while (first_ != kNoChunk) {
        const ChunkIndex done = first_;
        first_ = first_ == last_ ? kNoChunk : pool.next(done);
        pool.release(done);
    }
    last_ = kNoChunk;
    size_ = 0;
    begin_ = end_ = 0;
}

}  // namespace qanat::dataplane
