// A TCP connection over loopback, for benchmarks that want real sockets.
#pragma once

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#include <cstdlib>

#include "common/base/unique_fd.h"

namespace qanat::perf {

// Both ends are non-blocking and send at once.
struct Connection {
    Connection() {
        const UniqueFd listener(::socket(AF_INET, SOCK_STREAM, 0));
        sockaddr_in address{};
        address.sin_family = AF_INET;
        address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        socklen_t size = sizeof address;
        ::bind(listener.get(), reinterpret_cast<const sockaddr*>(&address), size);
        ::listen(listener.get(), 1);
        ::getsockname(listener.get(), reinterpret_cast<sockaddr*>(&address), &size);
        near.reset(::socket(AF_INET, SOCK_STREAM, 0));
        if (::connect(near.get(), reinterpret_cast<const sockaddr*>(&address), size) != 0) std::abort();
        far.reset(::accept(listener.get(), nullptr, nullptr));
        for (const int fd : {near.get(), far.get()}) {
            const int yes = 1;
            ::setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
            ::fcntl(fd, F_SETFL, O_NONBLOCK);
        }
    }
    UniqueFd near;
    UniqueFd far;
};

}  // namespace qanat::perf
