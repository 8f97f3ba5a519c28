// What the planes tell each other once, on a SOCK_SEQPACKET Unix socket, before the rings exist.
//
// The control plane starts the data plane with this socket as descriptor 3 and sends Bootstrap. The data plane makes
// the region (it is the side whose life is longer), answers BootstrapReply with the descriptors attached
// (SCM_RIGHTS): the region, then for each engine its command eventfd and its event eventfd. After that the socket
// carries nothing; its end tells each side that the other is gone. A control plane that comes later gets the same reply
// from a running data plane (attach = 1 in Bootstrap; reserved).
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <type_traits>
#include <vector>

#include "common/base/result.h"
#include "common/base/unique_fd.h"

namespace qanat::ring {

inline constexpr uint32_t kBootstrapMagic = 0x51414e54;  // "QANT"
inline constexpr uint32_t kAbiVersion = 3;
inline constexpr uint32_t kEnginesMax = 64;
inline constexpr int kBootstrapFd = 3;

enum class Role : uint8_t { client = 1, node = 2 };

// Every cap of the data plane. Counts are for the whole process; each engine takes its share.
struct DataPlaneLimits {
    uint32_t streams;
    uint32_t sessions;
    uint32_t unauthenticated;       // connections that have not proved anything yet
    uint32_t buffer_memory_mb;      // stream buffers; 0 = a quarter of the memory, at most 1024
    uint32_t handshake_timeout_ms;  // SOCKS handshake
    uint32_t connect_timeout_ms;    // exit: to the target
    uint32_t resolve_timeout_ms;
};

struct Bootstrap {
    uint32_t magic;
    uint32_t abi_version;
    uint32_t size;  // sizeof(Bootstrap)
    uint32_t engines;
    std::array<int32_t, kEnginesMax> cores;  // core of each engine, -1 = not pinned
    Role role;
    uint8_t busy_poll;
    uint8_t log_level;  // 0 debug, 1 info, 2 warn, 3 error
    uint8_t log_json;
    uint8_t attach;
    uint8_t relay;  // node: 1 = RelaySettings may enable relaying; what that needs is made at start
    std::array<uint8_t, 2> zero;
    DataPlaneLimits limits;
    std::array<char, 64> run_as;  // user to become when started as root; empty = stay
};

struct BootstrapReply {
    uint32_t magic;
    uint32_t abi_version;
    uint32_t engines;
    int32_t error;  // errno, 0 = ready; then the descriptors are attached
    uint64_t region_size;
    uint64_t memory_budget;         // bytes the data plane may use at its caps
    std::array<char, 256> message;  // for people: the reason of an error, or the engine's features
};

static_assert(std::is_trivially_copyable_v<Bootstrap> && std::is_trivially_copyable_v<BootstrapReply>);
static_assert(sizeof(Bootstrap) == 372 && sizeof(BootstrapReply) == 288);

// Descriptors that come with a reply that is no error.
[[nodiscard]] constexpr uint32_t reply_descriptors(uint32_t engines) {
    return 1 + 2 * engines;
}

// A reply and what came with it: fds[0] is the region, fds[1 + 2i] the command eventfd and fds[2 + 2i] the event
// eventfd of engine i. Without descriptors when reply.error is not 0.
struct ReceivedReply {
    BootstrapReply reply;
    std::vector<UniqueFd> fds;
};

// All four take a SOCK_SEQPACKET socket, and say in their error what was wrong. The sends do not wait for the other
// side; received descriptors are close-on-exec, and closed again on any error.

[[nodiscard]] Result<void> send_bootstrap(int socket, const Bootstrap& bootstrap);

// Waits for a Bootstrap. Fails when the other side closes, or when any field is not as described above; a version
// that is not ours is named.
[[nodiscard]] Result<Bootstrap> receive_bootstrap(int socket);

// `fds` in the order of ReceivedReply, exactly reply_descriptors(reply.engines) of them, none with an error; they stay
// open here.
[[nodiscard]] Result<void> send_reply(int socket, const BootstrapReply& reply, std::span<const int> fds);

// Waits at most timeout_ms (−1: for ever). A reply with error ≠ 0 is a value, not an Error: its message says why.
[[nodiscard]] Result<ReceivedReply> receive_reply(int socket, int timeout_ms);

}  // namespace qanat::ring
