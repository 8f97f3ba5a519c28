// Token: what a submitted operation was for, packed into io_uring's 64-bit user_data.
//
// It names a slot and the slot's generation, never a pointer: a completion that arrives after its slot was given away
// is recognised and dropped.
#pragma once

#include <cstdint>

namespace qanat::dataplane {

enum class OpKind : uint8_t {
    none = 0,     // nobody waits for it (cancellations)
    accept,       // slot = listener
    commands,     // the command eventfd
    seal,         // stream: lane plain → tunnel, and the plain side before the relay begins
    open,         // stream: lane tunnel → plain, and the tunnel side before the relay begins
    watch,        // stream: what happens to the source of `lane` while that lane does not read it
    dial,         // stream: connection attempts of the exit; the attempt is in `lane`
    control_in,   // control connection: readable
    control_out,  // control connection: connected or writable
    punch,        // a connection through NATs: its relay or the other side; the try is in `lane`
    inbox,        // another engine has put something into this one's inbox
};

struct Token {
    OpKind kind = OpKind::none;
    uint8_t lane = 0;
    uint16_t generation = 0;
    uint32_t slot = 0;

    [[nodiscard]] constexpr uint64_t pack() const {
        return uint64_t{static_cast<uint8_t>(kind)} << 56 | uint64_t{lane} << 48 | uint64_t{generation} << 32 | slot;
    }
    [[nodiscard]] static constexpr Token unpack(uint64_t value) {
        return {.kind = static_cast<OpKind>(value >> 56),
                .lane = static_cast<uint8_t>(value >> 48),
                .generation = static_cast<uint16_t>(value >> 32),
                .slot = static_cast<uint32_t>(value)};
    }
};

}  // namespace qanat::dataplane
