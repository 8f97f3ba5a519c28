#include "dataplane/bootstrap/shares.h"

#include <algorithm>

#include "common/ring/layout.h"
#include "dataplane/engine/chunks.h"
#include "dataplane/engine/pipe_pool.h"
#include "dataplane/stream/stream.h"
#include "dataplane/stream/stream_table.h"

namespace qanat::dataplane {
namespace {

constexpr uint64_t kMiB = 1024 * 1024;
constexpr uint64_t kBufferMemoryMaxMiB = 1024;  // of the automatic choice
constexpr uint32_t kChunksMin = 64;             // of one engine, whatever was configured: a few bursts
constexpr uint64_t kDescriptorsPerStream = 2;
constexpr uint64_t kDescriptorsReserved = 64;  // rings, listeners, logs, and one for refusing
constexpr uint32_t kPipes = 64;                // of one engine that relays
constexpr uint64_t kPipesPart = 8;             // pipes take at most this part of the descriptors
constexpr uint64_t kSessionBytes = 12 * 1024;  // secrets, replay window at its default size, table entries

uint32_t share(uint64_t whole, uint32_t engines) {
    return static_cast<uint32_t>(std::max<uint64_t>((whole + engines - 1) / engines, 1));
}

}  // namespace

Shares divide(const ring::DataPlaneLimits& limits, uint32_t engines, uint64_t descriptors, uint64_t memory_bytes,
              bool relay) {
    Shares shares;
    // Every engine has a descriptor table of its own.
    uint64_t spare = descriptors > 2 * kDescriptorsReserved ? descriptors - kDescriptorsReserved : descriptors / 2;
    if (relay) {
        spare -= std::min(spare, 2 * uint64_t{engines});  // both ends of all inboxes
        shares.pipes =
            static_cast<uint32_t>(std::min<uint64_t>(kPipes, spare / kPipesPart / PipePool::kDescriptorsPerPipe));
        spare -= uint64_t{shares.pipes} * PipePool::kDescriptorsPerPipe;
    }
    const uint64_t affordable = std::max<uint64_t>(spare / kDescriptorsPerStream, 1) * engines;
    shares.streams = static_cast<uint32_t>(std::min<uint64_t>(limits.streams, affordable));

    uint64_t buffer_mib = limits.buffer_memory_mb;
    if (buffer_mib == 0) buffer_mib = std::clamp<uint64_t>(memory_bytes / 4 / kMiB, 16, kBufferMemoryMaxMiB);
    shares.chunks = std::max(share(buffer_mib * kMiB / kChunkSize, engines), kChunksMin);

    shares.engine = limits;
    shares.engine.streams = share(shares.streams, engines);
    shares.engine.unauthenticated = share(limits.unauthenticated, engines);

    const uint64_t per_engine =
        uint64_t{StreamTable::slots(shares.engine)} * (sizeof(Stream) + sizeof(Opening) + 2 * sizeof(void*)) +
        uint64_t{shares.chunks} * kChunkSize + uint64_t{shares.pipes} * RelayRole::kPipeBytes + BurstBuffer::kSize;
    shares.memory_budget = per_engine * engines + ring::region_size(engines) + limits.sessions * kSessionBytes;
    return shares;
}

}  // namespace qanat::dataplane
