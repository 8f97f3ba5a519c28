#include "dataplane/engine/socket.h"

#include <linux/sock_diag.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#include <array>
#include <cerrno>
#include <string_view>

namespace qanat::dataplane {
namespace {

constexpr int kListenBacklog = 4096;  // the kernel cuts it to net.core.somaxconn
constexpr int kDeferAcceptS = 1;
constexpr int kKeepAliveIdleS = 60;
constexpr int kKeepAliveIntervalS = 15;
constexpr int kKeepAliveProbes = 5;

void set_option(int fd, int level, int name, int value) {
    // Options make things better, never correct: a kernel that refuses one changes nothing for the stream.
    (void)::setsockopt(fd, level, name, &value, sizeof value);
}

// What stays on this host loses nothing and shares no bottleneck: there is nothing to pace. Where the system's choice
// is BBR, pacing every segment with a timer is half of what a byte costs here (docs/PERFORMANCE.md, section 3). Must
// come before the connection is there, because a socket that once paces goes on; reno is in every kernel.
void do_not_pace(int fd) {
    constexpr std::string_view kAlgorithm = "reno";
    (void)::setsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, kAlgorithm.data(), kAlgorithm.size());
}

IoResult result_of(ssize_t count) {
    if (count >= 0) return {IoStatus::ok, 0, static_cast<size_t>(count)};
    if (errno == EAGAIN || errno == EINTR) return {IoStatus::again, 0, 0};
    return {IoStatus::error, errno, 0};
}

IoResult read_result(ssize_t count) {
    if (count == 0) return {IoStatus::end, 0, 0};
    return result_of(count);
}

}  // namespace

IoResult read_some(int fd, MutableBytes into) {
    return read_result(::recv(fd, into.data(), into.size(), MSG_DONTWAIT));
}

IoResult read_some(int fd, std::span<const iovec> into) {
    return read_result(::readv(fd, into.data(), static_cast<int>(into.size())));
}

IoResult write_some(int fd, Bytes from) {
    return result_of(::send(fd, from.data(), from.size(), MSG_DONTWAIT | MSG_NOSIGNAL));
}

IoResult write_some(int fd, std::span<const iovec> from) {
    msghdr message{};
    message.msg_iov = const_cast<iovec*>(from.data());
    message.msg_iovlen = from.size();
    return result_of(::sendmsg(fd, &message, MSG_DONTWAIT | MSG_NOSIGNAL));
}

void end_writing(int fd) {
    (void)::shutdown(fd, SHUT_WR);
}

void no_delay(int fd) {
    set_option(fd, IPPROTO_TCP, TCP_NODELAY, 1);
}

bool ended_and_empty(int fd) {
    uint8_t byte = 0;
    return ::recv(fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT) == 0;
}

bool nothing_to_read(int fd) {
    uint8_t byte = 0;
    return ::recv(fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT) < 0 && errno == EAGAIN;
}

void keep_alive(int fd) {
    keep_alive(fd, kKeepAliveIdleS);
}

void keep_alive(int fd, int idle_s) {
    set_option(fd, SOL_SOCKET, SO_KEEPALIVE, 1);
    set_option(fd, IPPROTO_TCP, TCP_KEEPIDLE, idle_s);
    set_option(fd, IPPROTO_TCP, TCP_KEEPINTVL, kKeepAliveIntervalS);
    set_option(fd, IPPROTO_TCP, TCP_KEEPCNT, kKeepAliveProbes);
}

Connecting start_connect(const wire::Endpoint& to) {
    sockaddr_storage address{};
    const socklen_t size = to.to_sockaddr(address);
    UniqueFd fd(::socket(address.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
    if (!fd) return {UniqueFd(), errno, false};
    no_delay(fd.get());
    if (to.ip.is_loopback()) do_not_pace(fd.get());
    const auto* const where = reinterpret_cast<const sockaddr*>(&address);
    if (::connect(fd.get(), where, size) == 0) return {std::move(fd), 0, true};
    if (errno != EINPROGRESS) return {UniqueFd(), errno, false};
    // A peer on this host has answered by now. Asking costs a fraction of being woken up for it.
    if (::connect(fd.get(), where, size) == 0 || errno == EISCONN) return {std::move(fd), 0, true};
    if (errno == EALREADY || errno == EINPROGRESS) return {std::move(fd), 0, false};
    return {UniqueFd(), errno, false};
}

Connecting start_connect_from(const wire::Endpoint& from, const wire::Endpoint& to) {
    wire::Endpoint local = from;
    if (local.port == 0) local.ip = {.family = to.ip.family, .bytes = {}};
    sockaddr_storage address{};
    sockaddr_storage own{};
    const socklen_t size = to.to_sockaddr(address);
    const socklen_t own_size = local.to_sockaddr(own);
    UniqueFd fd(::socket(address.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
    if (!fd) return {UniqueFd(), errno, false};
    no_delay(fd.get());
    set_option(fd.get(), SOL_SOCKET, SO_REUSEPORT, 1);
    if (::bind(fd.get(), reinterpret_cast<const sockaddr*>(&own), own_size) != 0) return {UniqueFd(), errno, false};
    if (::connect(fd.get(), reinterpret_cast<const sockaddr*>(&address), size) == 0) return {std::move(fd), 0, true};
    if (errno != EINPROGRESS) return {UniqueFd(), errno, false};
    return {std::move(fd), 0, false};
}

int connect_error(int fd) {
    int error = 0;
    socklen_t size = sizeof error;
    if (::getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &size) != 0) return errno;
    return error;
}

wire::Endpoint local_endpoint(int fd) {
    sockaddr_storage address{};
    socklen_t size = sizeof address;
    if (::getsockname(fd, reinterpret_cast<sockaddr*>(&address), &size) != 0) return {};
    return wire::Endpoint::from_sockaddr(address).value_or(wire::Endpoint{});
}

wire::Endpoint peer_endpoint(int fd) {
    sockaddr_storage address{};
    socklen_t size = sizeof address;
    if (::getpeername(fd, reinterpret_cast<sockaddr*>(&address), &size) != 0) return {};
    return wire::Endpoint::from_sockaddr(address).value_or(wire::Endpoint{});
}

size_t send_room(int fd) {
    std::array<uint32_t, SK_MEMINFO_VARS> memory{};
    socklen_t size = sizeof memory;
    if (::getsockopt(fd, SOL_SOCKET, SO_MEMINFO, memory.data(), &size) != 0) return 0;
    const uint32_t limit = memory[SK_MEMINFO_SNDBUF];
    const uint32_t queued = memory[SK_MEMINFO_WMEM_QUEUED];
    // What is queued is counted with the kernel's own overhead, a few per cent.
    return limit > queued ? size_t{limit - queued} / 16 * 15 : 0;
}

void reset_on_close(int fd) {
    const linger now{.l_onoff = 1, .l_linger = 0};
    (void)::setsockopt(fd, SOL_SOCKET, SO_LINGER, &now, sizeof now);
}

void finish_on_close(int fd) {
    const linger off{.l_onoff = 0, .l_linger = 0};
    (void)::setsockopt(fd, SOL_SOCKET, SO_LINGER, &off, sizeof off);
}

Result<UniqueFd, int> listen_on(const wire::Endpoint& address, PortCheck check) {
    sockaddr_storage where{};
    const socklen_t size = address.to_sockaddr(where);
    const auto open_socket = [&](bool share_port) -> Result<UniqueFd, int> {
        UniqueFd fd(::socket(where.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
        if (!fd) return fail_with(errno);
        set_option(fd.get(), SOL_SOCKET, SO_REUSEADDR, 1);
        if (share_port) set_option(fd.get(), SOL_SOCKET, SO_REUSEPORT, 1);
        if (where.ss_family == AF_INET6) set_option(fd.get(), IPPROTO_IPV6, IPV6_V6ONLY, 0);
        if (::bind(fd.get(), reinterpret_cast<const sockaddr*>(&where), size) != 0) return fail_with(errno);
        set_option(fd.get(), IPPROTO_TCP, TCP_DEFER_ACCEPT, kDeferAcceptS);
        no_delay(fd.get());  // this and what follows is inherited by what is accepted
        keep_alive(fd.get());
        if (address.ip.is_loopback()) do_not_pace(fd.get());
        if (::listen(fd.get(), kListenBacklog) != 0) return fail_with(errno);
        return fd;
    };

    if (check == PortCheck::exclusive) {
        // SO_REUSEPORT would let a second program of the same user take half of the connections in silence. Without it
        // the kernel tells.
        auto probe = open_socket(false);
        if (!probe) return probe;
        const wire::Endpoint chosen = local_endpoint(probe->get());
        probe->reset();
        return listen_on(chosen, PortCheck::shared);
    }
    return open_socket(true);
}

}  // namespace qanat::dataplane
