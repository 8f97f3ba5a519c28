// Sockets of the load generator: addresses, listening and connecting, never blocking.
#pragma once

#include <netinet/in.h>

#include <cstdint>
#include <string>

#include "common/base/unique_fd.h"

namespace qanat::loadgen {

// "127.0.0.1:9000" or "[::1]:9000". Ends the program when it is neither: names are not looked up here.
struct Endpoint {
    sockaddr_storage address{};
    socklen_t size = 0;

    static Endpoint parse(const std::string& text);
    [[nodiscard]] bool is_ipv6() const { return address.ss_family == AF_INET6; }
    [[nodiscard]] uint16_t port() const;
};

[[nodiscard]] UniqueFd listen_on(const Endpoint& where);

// A connect under way. `source` is 0, or the n-th loopback source address to use (127.0.x.y), for more connections to
// one port than there are ephemeral ports. Not valid on failure; errno says why.
[[nodiscard]] UniqueFd start_connect(const Endpoint& where, uint32_t source);

[[nodiscard]] int connect_error(int fd);  // 0: connected
void set_no_delay(int fd);
void raise_fd_limit();

}  // namespace qanat::loadgen
