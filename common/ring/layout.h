// The shared memory between the planes, byte by byte; docs/RING.md draws it. Both planes compile this one definition.
//
// One memory file holds a header and then one section per engine: its command ring (control plane → engine), its event
// ring (engine → control plane) and its counters. All integers are in native byte order. Both processes can write
// every byte at any time, so nothing in here is believed: region.h, spsc_ring.h and codec.h check what they read.
//
// Any change of an offset, a size or a meaning raises kAbiVersion (bootstrap.h).
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>

#include "common/ring/bootstrap.h"
#include "common/ring/counters.h"
#include "common/ring/messages.h"

namespace qanat::ring {

inline constexpr uint32_t kRegionMagic = 0x51414e52;  // "QANR"
inline constexpr uint32_t kSlotSize = 1024;
inline constexpr uint32_t kSlotsPerRing = 1024;  // a power of two: position & (kSlotsPerRing - 1) is the slot
inline constexpr uint32_t kPageSize = 4096;

// Two cache lines: the adjacent-line prefetcher of x86 pulls lines in pairs.
inline constexpr uint32_t kLineSize = 128;

struct Slot {
    std::atomic<uint32_t> type;      // MessageType; 0 once the consumer has taken the message
    std::atomic<uint32_t> size;      // bytes of the message, ≤ kMessagePayloadMax
    std::atomic<uint64_t> sequence;  // the position this slot was written for: a stale slot cannot pass for a new one
    std::array<uint8_t, kMessagePayloadMax> payload;
};
static_assert(sizeof(Slot) == kSlotSize);
static_assert(offsetof(Slot, type) == 0);
static_assert(offsetof(Slot, size) == 4);
static_assert(offsetof(Slot, sequence) == 8);
static_assert(offsetof(Slot, payload) == 16);

// A number with a line of its own, so that the two sides do not fight over one.
template <class T>
struct alignas(kLineSize) Line {
    std::atomic<T> value;
    std::array<uint8_t, kLineSize - sizeof(T)> zero;
};
static_assert(sizeof(Line<uint64_t>) == kLineSize && sizeof(Line<uint32_t>) == kLineSize);

// One direction. Positions count messages since the region was made and never wrap in practice.
struct RingSection {
    Line<uint64_t> tail;      // written by the producer: messages published
    Line<uint64_t> head;      // written by the consumer: messages taken
    Line<uint32_t> sleeping;  // 1: the consumer waits for its eventfd. Set by the consumer, cleared by either
    std::array<uint8_t, kPageSize - 3 * kLineSize> zero;
    std::array<Slot, kSlotsPerRing> slots;
};
static_assert(sizeof(RingSection) == kPageSize + kSlotsPerRing * kSlotSize);
static_assert(offsetof(RingSection, tail) == 0);
static_assert(offsetof(RingSection, head) == 128);
static_assert(offsetof(RingSection, sleeping) == 256);
static_assert(offsetof(RingSection, slots) == 4096);
static_assert((kSlotsPerRing & (kSlotsPerRing - 1)) == 0);

struct EngineSection {
    RingSection commands;
    RingSection events;
    EngineCounters counters;
    std::array<uint8_t, kPageSize - sizeof(EngineCounters)> zero;
};
static_assert(offsetof(EngineSection, commands) == 0);
static_assert(offsetof(EngineSection, events) == 1052672);
static_assert(offsetof(EngineSection, counters) == 2105344);
static_assert(sizeof(EngineSection) == 2109440 && sizeof(EngineSection) % kPageSize == 0);

// Written once by the data plane before anybody else has the descriptor; only the epoch changes afterwards.
struct RegionHeader {
    uint32_t magic;
    uint32_t abi_version;
    uint32_t header_size;  // offset of the first engine section
    uint32_t engines;
    uint64_t region_size;
    uint32_t section_size;
    uint32_t events_offset;    // in a section
    uint32_t counters_offset;  // in a section
    uint32_t counters_size;
    uint32_t slots_offset;  // in a ring
    uint32_t slots;
    uint32_t slot_size;
    uint32_t zero;
    // 1 for the control plane that the region was made for, one more for each that attaches later.
    std::atomic<uint64_t> epoch;
    std::array<uint8_t, kPageSize - 64> zero2;
};
static_assert(sizeof(RegionHeader) == kPageSize);
static_assert(offsetof(RegionHeader, magic) == 0);
static_assert(offsetof(RegionHeader, abi_version) == 4);
static_assert(offsetof(RegionHeader, header_size) == 8);
static_assert(offsetof(RegionHeader, engines) == 12);
static_assert(offsetof(RegionHeader, region_size) == 16);
static_assert(offsetof(RegionHeader, section_size) == 24);
static_assert(offsetof(RegionHeader, events_offset) == 28);
static_assert(offsetof(RegionHeader, counters_offset) == 32);
static_assert(offsetof(RegionHeader, counters_size) == 36);
static_assert(offsetof(RegionHeader, slots_offset) == 40);
static_assert(offsetof(RegionHeader, slots) == 44);
static_assert(offsetof(RegionHeader, slot_size) == 48);
static_assert(offsetof(RegionHeader, epoch) == 56);

static_assert(std::atomic<uint32_t>::is_always_lock_free && sizeof(std::atomic<uint32_t>) == 4);
static_assert(std::atomic<uint64_t>::is_always_lock_free && sizeof(std::atomic<uint64_t>) == 8);

// Bytes of the region of `engines` engines.
[[nodiscard]] constexpr uint64_t region_size(uint32_t engines) {
    return sizeof(RegionHeader) + uint64_t{engines} * sizeof(EngineSection);
}

}  // namespace qanat::ring
