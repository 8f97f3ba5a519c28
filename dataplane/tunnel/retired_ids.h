// RetiredIds: the session ids that have been used up in this process. A session that comes back after its replay
// window died would accept every recorded first flight once more.
//
// Fixed memory, exact, no false answers: two generations. When the young one is full the old one is forgotten and the
// young one takes its place, so at least the last `capacity` ids are known. With the default that is more than a day of
// 10 000 clients renewing every hour; a session lives for an hour.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace qanat::dataplane {

class RetiredIds {
public:
    static constexpr size_t kCapacity = 384 * 1024;

    // Reserves two tables of 2 · capacity ids, rounded up to a power of two: 16 MiB with the default, touched only as
    // ids come.
    explicit RetiredIds(size_t capacity = kCapacity);

    void insert(uint64_t id);
    [[nodiscard]] bool contains(uint64_t id) const;

private:
    using Generation = std::vector<uint64_t>;  // open addressing; 0, which is no session's id, is free

    [[nodiscard]] static size_t slot_of(const Generation& generation, uint64_t id);

    size_t capacity_;
    size_t young_count_ = 0;
    Generation young_;
    Generation old_;
};

}  // namespace qanat::dataplane
