// RetiredIds: the session ids that have been used up in this process. A session that comes back after its replay
// window died would accept every recorded first flight once more.
//
// Bounded memory, exact answers: two generations. When the young one is full the old one is forgotten and the young one
// takes its place, so at least the last `capacity` ids are known. With the default that is more than a day of 10 000
// clients renewing every hour; a session lives for an hour.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <memory>

namespace qanat::dataplane {

class RetiredIds {
public:
    static constexpr size_t kCapacity = 384 * 1024;

    // Two tables of 2 · capacity ids, rounded up to a power of two: 16 MiB of address space with the default. It comes
    // as zero pages from the kernel, so what is not needed takes no memory.
    explicit RetiredIds(size_t capacity = kCapacity);

    void insert(uint64_t id);
    [[nodiscard]] bool contains(uint64_t id) const;

private:
    struct Free {
        void operator()(uint64_t* memory) const { std::free(memory); }
    };
    using Generation = std::unique_ptr<uint64_t[], Free>;  // open addressing; 0, which is no session's id, is free

    [[nodiscard]] Generation make_generation() const;
    [[nodiscard]] uint64_t& slot_of(const Generation& generation, uint64_t id) const;

    size_t capacity_;
    size_t mask_;
    size_t young_count_ = 0;
    Generation young_;
    Generation old_;
};

}  // namespace qanat::dataplane
