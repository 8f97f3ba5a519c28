#include "perf/loadgen/sockets.h"

#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <sys/resource.h>
#include <sys/socket.h>

#include <cerrno>
#include <cstddef>
#include <cstdlib>
#include <cstring>

#include "perf/loadgen/fatal.h"

namespace qanat::loadgen {
namespace {

constexpr rlim_t kFdsWanted = 1 << 18;

template <class T>
const sockaddr* as_sockaddr(const T* address) {
    return reinterpret_cast<const sockaddr*>(address);
}

}  // namespace

Endpoint Endpoint::parse(const std::string& text) {
    const size_t colon = text.rfind(':');
    if (colon == std::string::npos) fatal("an address is HOST:PORT, not " + text);
    std::string host = text.substr(0, colon);
    if (host.size() > 2 && host.front() == '[') host = host.substr(1, host.size() - 2);
    const auto port = static_cast<uint16_t>(std::strtoul(text.c_str() + colon + 1, nullptr, 10));
    Endpoint endpoint;
    sockaddr_in v4{};
    sockaddr_in6 v6{};
    if (inet_pton(AF_INET, host.c_str(), &v4.sin_addr) == 1) {
        v4.sin_family = AF_INET;
        v4.sin_port = htons(port);
        std::memcpy(&endpoint.address, &v4, endpoint.size = sizeof v4);
    } else if (inet_pton(AF_INET6, host.c_str(), &v6.sin6_addr) == 1) {
        v6.sin6_family = AF_INET6;
        v6.sin6_port = htons(port);
        std::memcpy(&endpoint.address, &v6, endpoint.size = sizeof v6);
    } else {
        fatal("not an IP address: " + host);
    }
    return endpoint;
}

uint16_t Endpoint::port() const {
    uint16_t port = 0;  // at the same place in sockaddr_in and sockaddr_in6
    std::memcpy(&port, reinterpret_cast<const char*>(&address) + offsetof(sockaddr_in, sin_port), sizeof port);
    return ntohs(port);
}

UniqueFd listen_on(const Endpoint& where) {
    UniqueFd fd(socket(where.address.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
    if (!fd) fatal("socket", errno);
    const int on = 1;
    setsockopt(fd.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (bind(fd.get(), as_sockaddr(&where.address), where.size) != 0) fatal("bind", errno);
    if (listen(fd.get(), 4096) != 0) fatal("listen", errno);
    return fd;
}

UniqueFd start_connect(const Endpoint& where, uint32_t source) {
    UniqueFd fd(socket(where.address.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
    if (!fd) return fd;
    if (source > 0) {
        const int on = 1;
        setsockopt(fd.get(), IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &on, sizeof on);
        sockaddr_in from{};
        from.sin_family = AF_INET;
        from.sin_addr.s_addr = htonl((127U << 24) + (1U << 8) + source);
        if (bind(fd.get(), as_sockaddr(&from), sizeof from) != 0) return UniqueFd();
    }
    if (connect(fd.get(), as_sockaddr(&where.address), where.size) != 0 && errno != EINPROGRESS) return UniqueFd();
    set_no_delay(fd.get());
    return fd;
}

int connect_error(int fd) {
    int error = 0;
    socklen_t size = sizeof error;
    getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &size);
    return error;
}

void set_no_delay(int fd) {
    const int on = 1;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
}

void raise_fd_limit() {
    rlimit limit{};
    getrlimit(RLIMIT_NOFILE, &limit);
    rlimit wanted{kFdsWanted, kFdsWanted};
    if (limit.rlim_max >= kFdsWanted) wanted.rlim_max = limit.rlim_max;
    if (setrlimit(RLIMIT_NOFILE, &wanted) == 0) return;
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);
}

}  // namespace qanat::loadgen
