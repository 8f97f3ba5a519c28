#include "common/ring/bootstrap.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <string>
#include <system_error>
#include <utility>

#include "common/base/assert.h"
#include "common/ring/layout.h"

namespace qanat::ring {
namespace {

// The kernel's own limit (SCM_MAX_FD). With room for all of them no descriptor is ever cut off, so each one that
// comes is either used or closed.
constexpr size_t kDescriptorsMax = 253;
static_assert(reply_descriptors(kEnginesMax) <= kDescriptorsMax);

constexpr int32_t kErrnoLast = 4095;
constexpr uint32_t kLimitMax = 1U << 22;  // of streams, sessions, connections: beyond any memory we run on

[[nodiscard]] tl::unexpected<Error> fail_errno(const char* what, int error) {
    return fail(std::string("bootstrap: ") + what + ": " + std::generic_category().message(error));
}

union ControlBuffer {
    cmsghdr align;
    std::array<char, CMSG_SPACE(kDescriptorsMax * sizeof(int))> bytes;
};

template <class M>
Result<void> send_packet(int socket, const M& message, std::span<const int> fds) {
    QANAT_ASSERT(fds.size() <= kDescriptorsMax);
    ControlBuffer control{};
    M copy = message;
    iovec data{&copy, sizeof copy};
    msghdr header{};
    header.msg_iov = &data;
    header.msg_iovlen = 1;
    if (!fds.empty()) {
        header.msg_control = control.bytes.data();
        header.msg_controllen = CMSG_SPACE(fds.size_bytes());
        cmsghdr* rights = CMSG_FIRSTHDR(&header);
        rights->cmsg_level = SOL_SOCKET;
        rights->cmsg_type = SCM_RIGHTS;
        rights->cmsg_len = CMSG_LEN(fds.size_bytes());
        std::memcpy(CMSG_DATA(rights), fds.data(), fds.size_bytes());
    }
    ssize_t sent = 0;
    do {
        sent = ::sendmsg(socket, &header, MSG_NOSIGNAL | MSG_DONTWAIT);
    } while (sent < 0 && errno == EINTR);
    if (sent < 0) return fail_errno("send", errno);
    return {};
}

Result<void> wait_readable(int socket, int timeout_ms) {
    using Clock = std::chrono::steady_clock;
    const auto deadline = Clock::now() + std::chrono::milliseconds(std::max(timeout_ms, 0));
    int left_ms = timeout_ms;
    for (;;) {
        pollfd wanted{socket, POLLIN, 0};
        const int ready = ::poll(&wanted, 1, left_ms);
        if (ready > 0) return {};
        if (ready == 0) return fail("bootstrap: no answer within " + std::to_string(timeout_ms) + " ms");
        if (errno != EINTR) return fail_errno("poll", errno);
        if (timeout_ms < 0) continue;
        const auto left = std::chrono::ceil<std::chrono::milliseconds>(deadline - Clock::now()).count();
        left_ms = static_cast<int>(std::max<decltype(left)>(left, 0));
    }
}

// Appends every descriptor in the control data: from here on each has an owner.
void take_descriptors(msghdr& header, std::vector<UniqueFd>& fds) {
    for (cmsghdr* part = CMSG_FIRSTHDR(&header); part != nullptr; part = CMSG_NXTHDR(&header, part)) {
        if (part->cmsg_level != SOL_SOCKET || part->cmsg_type != SCM_RIGHTS) continue;
        const size_t count = (part->cmsg_len - CMSG_LEN(0)) / sizeof(int);
        for (size_t i = 0; i < count; ++i) {
            int fd = -1;
            std::memcpy(&fd, CMSG_DATA(part) + i * sizeof(int), sizeof fd);
            fds.emplace_back(fd);
        }
    }
}

// One packet of exactly sizeof(M) bytes, and the descriptors that came with it.
template <class M>
Result<M> receive_packet(int socket, int timeout_ms, std::vector<UniqueFd>& fds) {
    M message{};
    ControlBuffer control{};
    ssize_t size = 0;
    msghdr header{};
    iovec data{&message, sizeof message};
    for (;;) {
        if (const auto ready = wait_readable(socket, timeout_ms); !ready) return tl::unexpected(ready.error());
        header = {};
        header.msg_iov = &data;
        header.msg_iovlen = 1;
        header.msg_control = control.bytes.data();
        header.msg_controllen = control.bytes.size();
        size = ::recvmsg(socket, &header, MSG_CMSG_CLOEXEC | MSG_DONTWAIT);
        if (size >= 0) break;
        if (errno != EINTR && errno != EAGAIN) return fail_errno("receive", errno);
    }
    take_descriptors(header, fds);
    if (size == 0) return fail("bootstrap: the other side closed the socket");
    if ((header.msg_flags & MSG_CTRUNC) != 0) return fail("bootstrap: descriptors were cut off (descriptor limit?)");
    // The version comes before the size: a packet of another version is most likely of another size, too.
    constexpr size_t kPrefix = 2 * sizeof(uint32_t);
    if (std::cmp_less(size, kPrefix) || message.magic != kBootstrapMagic)
        return fail("bootstrap: not a message of Qanat");
    if (message.abi_version != kAbiVersion)
        return fail("bootstrap: the other side speaks ring version " + std::to_string(message.abi_version) +
                    ", this program version " + std::to_string(kAbiVersion) +
                    ": install qanat and qanat-dataplane of the same release");
    if (std::cmp_not_equal(size, sizeof message) || (header.msg_flags & MSG_TRUNC) != 0)
        return fail("bootstrap: message of the wrong size");
    return message;
}

// Text that fills its field to the end has no terminator; what follows the terminator is unused and zero.
template <size_t N>
bool is_text(const std::array<char, N>& field) {
    const auto end = std::find(field.begin(), field.end(), '\0');
    return end != field.end() && std::all_of(end, field.end(), [](char c) { return c == '\0'; });
}

// Names the first field that is wrong, or nothing.
const char* problem(const Bootstrap& message) {
    if (message.size != sizeof(Bootstrap)) return "size";
    if (message.engines == 0 || message.engines > kEnginesMax) return "engines";
    const auto cores = std::span(message.cores).first(message.engines);
    if (std::any_of(cores.begin(), cores.end(), [](int32_t core) { return core < -1; })) return "cores";
    if (message.role != Role::client && message.role != Role::node) return "role";
    if (message.busy_poll > 1) return "busy_poll";
    if (message.log_level > 3) return "log_level";
    if (message.log_json > 1) return "log_json";
    if (message.attach > 1) return "attach";
    if (message.relay > 1 || (message.relay == 1 && message.role != Role::node)) return "relay";
    if (message.zero != decltype(message.zero){}) return "unused bytes";
    const DataPlaneLimits& limits = message.limits;
    if (limits.streams == 0 || limits.streams > kLimitMax) return "limits.streams";
    if (limits.sessions > kLimitMax) return "limits.sessions";
    if (limits.unauthenticated > kLimitMax) return "limits.unauthenticated";
    if (!is_text(message.run_as)) return "run_as";
    return nullptr;
}

const char* problem(const BootstrapReply& message) {
    if (message.error < 0 || message.error > kErrnoLast) return "error";
    if (!is_text(message.message)) return "message";
    if (message.error != 0) return nullptr;
    if (message.engines == 0 || message.engines > kEnginesMax) return "engines";
    if (message.region_size != region_size(message.engines)) return "region_size";
    return nullptr;
}

size_t descriptors_of(const BootstrapReply& reply) {
    return reply.error == 0 ? reply_descriptors(reply.engines) : 0;
}

}  // namespace

Result<void> send_bootstrap(int socket, const Bootstrap& bootstrap) {
    return send_packet(socket, bootstrap, {});
}

Result<Bootstrap> receive_bootstrap(int socket) {
    std::vector<UniqueFd> fds;
    auto message = receive_packet<Bootstrap>(socket, -1, fds);
    if (!message) return message;
    if (!fds.empty()) return fail("bootstrap: came with descriptors");
    if (const char* field = problem(*message); field != nullptr)
        return fail(std::string("bootstrap: bad value in ") + field);
    return message;
}

Result<void> send_reply(int socket, const BootstrapReply& reply, std::span<const int> fds) {
    if (const char* field = problem(reply); field != nullptr)
        return fail(std::string("bootstrap reply: bad value in ") + field);
    if (fds.size() != descriptors_of(reply))
        return fail("bootstrap reply: " + std::to_string(fds.size()) + " descriptors, expected " +
                    std::to_string(descriptors_of(reply)));
    return send_packet(socket, reply, fds);
}

Result<ReceivedReply> receive_reply(int socket, int timeout_ms) {
    ReceivedReply received{};
    const auto reply = receive_packet<BootstrapReply>(socket, timeout_ms, received.fds);
    if (!reply) return tl::unexpected(reply.error());
    received.reply = *reply;
    if (const char* field = problem(*reply); field != nullptr)
        return fail(std::string("bootstrap reply: bad value in ") + field);
    if (received.fds.size() != descriptors_of(*reply))
        return fail("bootstrap reply: " + std::to_string(received.fds.size()) + " descriptors, expected " +
                    std::to_string(descriptors_of(*reply)));
    // An eventfd that blocks would let the other plane stop this one.
    for (size_t i = 1; i < received.fds.size(); ++i)
        if ((::fcntl(received.fds[i].get(), F_GETFL) & O_NONBLOCK) == 0)
            return fail("bootstrap reply: an event descriptor blocks");
    return received;
}

}  // namespace qanat::ring
