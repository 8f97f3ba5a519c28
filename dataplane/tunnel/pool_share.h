// PoolShare: what one member holds of an engine's pools for bytes that their readers have not taken yet, and how much
// more it may take. A member may hold as much as is free: half of a pool alone, a third beside another one that does
// the same. One whose readers stand still so leaves the other half, and the next that joins it half of that. Pure.
#pragma once

#include <cstdint>

namespace qanat::dataplane {

struct PoolShare {
    uint32_t pipes = 0;
    uint32_t chunks = 0;

    // `available`: what is free in the pool. Never 0 for a member that holds nothing where something is free.
    [[nodiscard]] static constexpr uint32_t room(uint32_t held, uint32_t available) {
        return available > held ? (available - held + 1) / 2 : 0;
    }

    void add(const PoolShare& more) {
        pipes += more.pipes;
        chunks += more.chunks;
    }
    void subtract(const PoolShare& less) {
        pipes -= less.pipes;
        chunks -= less.chunks;
    }

    friend bool operator==(const PoolShare&, const PoolShare&) = default;
};

}  // namespace qanat::dataplane
