// SpscProducer and SpscConsumer: the two ends of one ring in shared memory. One thread each, no locks, no waiting.
//
// The other end may be hostile. Each end keeps its own position in private memory and only publishes it; the position
// of the other end is read from shared memory and believed only inside the window that it can honestly be in. A
// position outside breaks the link for good; it never becomes an index.
//
// Memory order, by name; docs/RING.md explains why:
//   (A) tail: release in publish()  → acquire in refresh_tail(): the slots before a tail are visible with it.
//   (B) head: release in release()  → acquire in refresh_head(): a slot is copied and wiped before it is written again.
//   (C) fence in publish() ↔ fence in prepare_to_sleep(): of "tail then sleeping" and "sleeping then tail" at least one
//       side sees the other's store, so either the consumer sees the message or the producer sees the sleeper.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <cstring>
#include <utility>

#include "common/base/assert.h"
#include "common/base/bytes.h"
#include "common/ring/layout.h"

namespace qanat::ring {

enum class RingFault : uint8_t {
    none = 0,
    bad_index,     // the other end's position is one it cannot have
    bad_sequence,  // a slot was not written for the position it is read at
    bad_size,      // a slot claims more bytes than it has
};

// A message after it left shared memory.
struct SlotCopy {
    uint32_t type = 0;
    uint32_t size = 0;
    alignas(16) std::array<uint8_t, kMessagePayloadMax> payload{};

    [[nodiscard]] Bytes bytes() const { return Bytes(payload).first(size); }
};

namespace detail {

// GCC warns that ThreadSanitizer does not understand fences. It need not: (C) orders two atomics and guards no data.
inline void full_fence() {
#pragma GCC diagnostic push
#if defined(__SANITIZE_THREAD__) && !defined(__clang__)
#pragma GCC diagnostic ignored "-Wtsan"
#endif
    std::atomic_thread_fence(std::memory_order_seq_cst);
#pragma GCC diagnostic pop
}

}  // namespace detail

class SpscProducer {
public:
    // Takes up where the last producer of this ring published (position 0 in a fresh region).
    explicit SpscProducer(RingSection& ring)
        : ring_(&ring), tail_(ring.tail.value.load(std::memory_order_relaxed)), published_(tail_), head_(tail_) {
        // The honest window for a first look at the head is the ring before our tail.
        const uint64_t head = ring_->head.value.load(std::memory_order_acquire);  // (B)
        if (tail_ - head > kSlotsPerRing)
            fault_ = RingFault::bad_index;
        else
            head_ = head;
    }

    // Writes one message behind those not yet published; the consumer sees it after publish(). size ≤
    // kMessagePayloadMax. False: the ring is full or the link broken, and nothing was written.
    [[nodiscard]] bool try_write(MessageType type, Bytes bytes) {
        QANAT_ASSERT(bytes.size() <= kMessagePayloadMax);
        if (tail_ - head_ == kSlotsPerRing) refresh_head();
        if (fault_ != RingFault::none || tail_ - head_ == kSlotsPerRing) return false;
        Slot& slot = ring_->slots[tail_ & (kSlotsPerRing - 1)];
        slot.type.store(static_cast<uint32_t>(type), std::memory_order_relaxed);
        slot.size.store(static_cast<uint32_t>(bytes.size()), std::memory_order_relaxed);
        slot.sequence.store(tail_, std::memory_order_relaxed);
        if (!bytes.empty()) std::memcpy(slot.payload.data(), bytes.data(), bytes.size());
        ++tail_;
        return true;
    }

    // Makes everything written visible, with one store. True: the consumer sleeps, and the caller must now write its
    // eventfd; nobody else will for this sleep.
    [[nodiscard]] bool publish() {
        if (published_ == tail_ && !first_) return false;
        ring_->tail.value.store(tail_, std::memory_order_release);  // (A)
        published_ = tail_;
        detail::full_fence();  // (C)
        // Whoever clears the word rings, so a burst costs one ring. The first publish rings in any case: the producer
        // before us may have died between the two.
        const bool first = std::exchange(first_, false);
        if (ring_->sleeping.value.load(std::memory_order_relaxed) == 0) return first;
        return ring_->sleeping.value.exchange(0, std::memory_order_relaxed) != 0 || first;
    }

    // Messages that try_write() takes from here on, unless the link is broken. Looks at the other end.
    [[nodiscard]] uint32_t free_slots() {
        refresh_head();
        return fault_ == RingFault::none ? kSlotsPerRing - static_cast<uint32_t>(tail_ - head_) : 0;
    }

    [[nodiscard]] RingFault fault() const { return fault_; }

private:
    void refresh_head() {
        const uint64_t head = ring_->head.value.load(std::memory_order_acquire);  // (B)
        // Between the last head seen and what was published: never backwards, never past us.
        if (head - head_ > published_ - head_)
            fault_ = RingFault::bad_index;
        else
            head_ = head;
    }

    RingSection* ring_;
    uint64_t tail_;       // next position to write
    uint64_t published_;  // the tail that the consumer has been told
    uint64_t head_;       // last head seen, checked: published_ - head_ ≤ tail_ - head_ ≤ kSlotsPerRing
    RingFault fault_ = RingFault::none;
    bool first_ = true;
};

class SpscConsumer {
public:
    // Takes up where the last consumer of this ring stopped (position 0 in a fresh region): behind what it released
    // and what it had taken without releasing it. A message is delivered at most once.
    explicit SpscConsumer(RingSection& ring)
        : ring_(&ring), head_(ring.head.value.load(std::memory_order_relaxed)), released_(head_), tail_(head_) {
        while (begin() && slot_at(head_).type.load(std::memory_order_relaxed) == kTaken) ++head_;
    }

    // Is there a message? Looks at the other end only when everything seen before has been read. False also when the
    // link is broken.
    [[nodiscard]] bool begin() {
        if (head_ == tail_) refresh_tail();
        return fault_ == RingFault::none && head_ != tail_;
    }

    // Moves the next message out of shared memory and wipes its slot. False: none there, or the link is broken.
    [[nodiscard]] bool read(SlotCopy& into) {
        if (!begin()) return false;
        Slot& slot = slot_at(head_);
        // Each field is loaded once, as an atomic, so that the compiler cannot fetch it a second time after the check.
        const uint32_t type = slot.type.load(std::memory_order_relaxed);
        const uint32_t size = slot.size.load(std::memory_order_relaxed);
        if (slot.sequence.load(std::memory_order_relaxed) != head_) return broken(RingFault::bad_sequence);
        if (size > kMessagePayloadMax) return broken(RingFault::bad_size);
        std::memcpy(into.payload.data(), slot.payload.data(), size);
        // For the same reason the copy ends here: what follows reads `into`, never again the slot.
        std::atomic_signal_fence(std::memory_order_seq_cst);
        into.type = type;
        into.size = size;
        // Marked before it is wiped: if this process is killed in between, its successor must not take the rest of the
        // message for a message.
        slot.type.store(kTaken, std::memory_order_relaxed);
        std::atomic_signal_fence(std::memory_order_seq_cst);
        std::memset(slot.payload.data(), 0, size);
        ++head_;
        return true;
    }

    // Gives the slots of everything read back to the producer, with one store.
    void release() {
        if (released_ == head_) return;
        ring_->head.value.store(head_, std::memory_order_release);  // (B)
        released_ = head_;
    }
    [[nodiscard]] uint32_t unreleased() const { return static_cast<uint32_t>(head_ - released_); }

    // Announces that this end will now wait for its eventfd. True: go and wait. False: something is there to read, the
    // announcement is taken back. Call it when read() has found nothing.
    [[nodiscard]] bool prepare_to_sleep() {
        release();
        if (fault_ != RingFault::none) return true;
        if (head_ != tail_) return false;
        ring_->sleeping.value.store(1, std::memory_order_relaxed);
        detail::full_fence();  // (C)
        if (ring_->tail.value.load(std::memory_order_relaxed) == head_) return true;
        cancel_sleep();
        return false;
    }

    // Awake again for another reason: the producer need not ring. Optional; without it a ring may come for nothing.
    void cancel_sleep() { ring_->sleeping.value.store(0, std::memory_order_relaxed); }

    [[nodiscard]] RingFault fault() const { return fault_; }

private:
    static constexpr uint32_t kTaken = 0;  // no MessageType

    Slot& slot_at(uint64_t position) { return ring_->slots[position & (kSlotsPerRing - 1)]; }
    void refresh_tail() {
        const uint64_t tail = ring_->tail.value.load(std::memory_order_acquire);  // (A)
        // At most a full ring behind what we gave back; never before what we saw (here tail_ == head_).
        if (tail - released_ > kSlotsPerRing || tail - head_ > kSlotsPerRing)
            fault_ = RingFault::bad_index;
        else
            tail_ = tail;
    }
    bool broken(RingFault fault) {
        fault_ = fault;
        return false;
    }

    RingSection* ring_;
    uint64_t head_;      // next position to read
    uint64_t released_;  // the head that the producer has been told
    uint64_t tail_;      // last tail seen, checked: tail_ - released_ ≤ kSlotsPerRing
    RingFault fault_ = RingFault::none;
};

}  // namespace qanat::ring
