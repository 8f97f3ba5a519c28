// Who may send which message when. One table (permissions.cc), drawn in docs/RING.md, consulted by every Receiver.
#pragma once

#include <cstdint>
#include <string_view>

#include "common/ring/bootstrap.h"
#include "common/ring/messages.h"

namespace qanat::ring {

enum class Direction : uint8_t {
    command = 1,  // control plane → engine
    event = 2,    // engine → control plane
};

// A ring goes through these in order. They follow from the messages in that same ring (next_state), so the two ends
// always agree and nothing in flight is ever in the wrong state.
enum class LinkState : uint8_t {
    starting = 1,  // until the first Listen (commands), ListenResult (events)
    running = 2,
    draining = 3,  // from Drain or Stop (commands), Drained (events)
};

inline constexpr uint32_t kFirstEventNumber = 64;

// By number alone, also for types that do not exist.
[[nodiscard]] constexpr Direction direction_of(MessageType type) {
    return static_cast<uint32_t>(type) < kFirstEventNumber ? Direction::command : Direction::event;
}

// False for types that do not exist.
[[nodiscard]] bool permitted(MessageType type, Direction direction, Role role, LinkState state);

// The state after a permitted message.
[[nodiscard]] LinkState next_state(LinkState state, MessageType type);

[[nodiscard]] std::string_view message_name(MessageType type);  // "unknown" for types that do not exist
[[nodiscard]] std::string_view link_state_name(LinkState state);

}  // namespace qanat::ring
