// Inbox: how one engine hands a connection to another. Each engine has a descriptor table of its own
// (docs/decisions/0006-confinement.md), so a number means nothing there: the descriptor itself travels, over a Unix
// socket pair that was made before the engines' threads were. One way, no answer.
#pragma once

#include <cstdint>
#include <vector>

#include "common/base/bytes.h"
#include "common/base/result.h"
#include "common/base/unique_fd.h"

namespace qanat::dataplane {

// Packets of at most this size.
inline constexpr size_t kInboxPacketMax = 4096;

// The inboxes of all engines of a process. Whoever makes them keeps them open; threads that take a copy of the
// descriptor table have them under the same numbers.
struct Inboxes {
    std::vector<UniqueFd> receive_ends;  // by engine
    std::vector<UniqueFd> send_ends;

    [[nodiscard]] static Result<Inboxes> make(uint32_t engines);
};

// Puts a packet into an inbox, with a descriptor unless it is −1; the sender still has that, too. False: the inbox is
// full, or the kernel refuses to carry more descriptors.
[[nodiscard]] bool send_packet(int inbox, Bytes packet, int descriptor);

struct Received {
    MutableBytes packet;  // empty: nothing is there
    UniqueFd descriptor;  // none also when this engine was out of descriptors: then the connection is lost
};
// Takes the next packet out of an inbox, non-blocking. `into` has room for kInboxPacketMax bytes.
[[nodiscard]] Received receive_packet(int inbox, MutableBytes into);

}  // namespace qanat::dataplane
