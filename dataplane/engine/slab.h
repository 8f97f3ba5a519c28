// Slab<T>: a fixed number of slots for T, reserved as address space at construction and touched only when used. A slot
// is acquired, used in place and released; its generation changes with each release, so that late completions and
// timers can be told from current ones.
#pragma once

#include <sys/mman.h>

#include <cstdint>
#include <memory>
#include <new>
#include <utility>

#include "common/base/assert.h"

namespace qanat::dataplane {

template <class T>
class Slab {
public:
    explicit Slab(uint32_t capacity) : capacity_(capacity) {
        const size_t size = sizeof(Slot) * capacity;
        if (capacity == 0) return;
        void* memory =
            ::mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        QANAT_ASSERT(memory != MAP_FAILED);
        slots_ = static_cast<Slot*>(memory);
    }
    ~Slab() {
        if (slots_ == nullptr) return;
        for (uint32_t i = 0; i < touched_; ++i)
            if (slots_[i].used) std::destroy_at(value(slots_[i]));
        ::munmap(slots_, sizeof(Slot) * capacity_);
    }
    Slab(const Slab&) = delete;
    Slab& operator=(const Slab&) = delete;

    [[nodiscard]] uint32_t capacity() const { return capacity_; }
    [[nodiscard]] uint32_t used() const { return used_; }
    [[nodiscard]] bool full() const { return used_ == capacity_; }

    // A new T made from `arguments`, or nullptr when every slot is in use. Slots used last are given out first.
    template <class... Arguments>
    T* acquire(Arguments&&... arguments) {
        uint32_t index = free_head_;
        if (index != kNone) {
            free_head_ = slots_[index].next_free;
        } else if (touched_ < capacity_) {
            index = touched_++;
        } else {
            return nullptr;
        }
        Slot& slot = slots_[index];
        slot.used = true;
        ++used_;
        // Not T(): that would zero first what T leaves as it is, which are buffers of kilobytes.
        if constexpr (sizeof...(Arguments) == 0) return ::new (static_cast<void*>(slot.storage)) T;
        return ::new (static_cast<void*>(slot.storage)) T(std::forward<Arguments>(arguments)...);
    }

    void release(T* object) {
        Slot& slot = slots_[index_of(object)];
        QANAT_ASSERT(slot.used);
        std::destroy_at(object);
        slot.used = false;
        ++slot.generation;
        slot.next_free = free_head_;
        free_head_ = index_of(object);
        --used_;
    }

    [[nodiscard]] uint32_t index_of(const T* object) const {
        const auto offset = static_cast<size_t>(reinterpret_cast<const unsigned char*>(object) -
                                                reinterpret_cast<const unsigned char*>(slots_));
        return static_cast<uint32_t>(offset / sizeof(Slot));
    }
    [[nodiscard]] uint16_t generation_of(const T* object) const { return slots_[index_of(object)].generation; }

    // The object in this slot if it is the one with this generation, else nullptr.
    [[nodiscard]] T* find(uint32_t index, uint16_t generation) {
        if (index >= touched_ || !slots_[index].used || slots_[index].generation != generation) return nullptr;
        return value(slots_[index]);
    }

    template <class F>
    void for_each(F&& visit) {
        for (uint32_t i = 0; i < touched_; ++i)
            if (slots_[i].used) visit(*value(slots_[i]));
    }

private:
    static constexpr uint32_t kNone = UINT32_MAX;

    struct Slot {
        alignas(T) unsigned char storage[sizeof(T)];
        uint32_t next_free;
        uint16_t generation;
        bool used;
    };
    static T* value(Slot& slot) { return std::launder(reinterpret_cast<T*>(slot.storage)); }

    Slot* slots_ = nullptr;
    uint32_t capacity_;
    uint32_t used_ = 0;
    uint32_t touched_ = 0;  // slots below this index have been in use at least once
    uint32_t free_head_ = kNone;
};

}  // namespace qanat::dataplane
