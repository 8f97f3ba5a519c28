// Blocking sockets for tests, with a time limit on every call: a test that waits for ever tells nothing.
#pragma once

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <sys/time.h>

#include <cerrno>
#include <cstdint>
#include <stdexcept>
#include <string>

#include "common/base/unique_fd.h"

namespace qanat::testing {

inline sockaddr_in loopback_address(uint16_t port) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(port);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    return address;
}

class TestSocket {
public:
    TestSocket() = default;
    explicit TestSocket(int fd) : fd_(fd) {
        const timeval limit{.tv_sec = 10, .tv_usec = 0};
        ::setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
        ::setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit);
        const int yes = 1;
        ::setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
    }
    static TestSocket connect(uint16_t port) {
        TestSocket socket(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
        const sockaddr_in address = loopback_address(port);
        if (::connect(socket.fd(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0)
            throw std::runtime_error("connect to port " + std::to_string(port));
        return socket;
    }

    [[nodiscard]] int fd() const { return fd_.get(); }
    void send(const std::string& text) {
        size_t sent = 0;
        while (sent < text.size()) {
            const ssize_t count = ::send(fd(), text.data() + sent, text.size() - sent, MSG_NOSIGNAL);
            if (count <= 0) throw std::runtime_error("send failed");
            sent += static_cast<size_t>(count);
        }
    }
    // Exactly this many bytes, fewer only at the end of the stream.
    std::string receive(size_t count) {
        std::string text(count, '\0');
        size_t have = 0;
        while (have < count) {
            const ssize_t got = ::recv(fd(), text.data() + have, count - have, 0);
            if (got < 0) throw std::runtime_error("receive failed: " + std::to_string(errno));
            if (got == 0) break;
            have += static_cast<size_t>(got);
        }
        text.resize(have);
        return text;
    }
    // Everything up to the end of the stream.
    std::string receive_all() {
        std::string all;
        while (true) {
            const std::string part = receive(65536);
            all += part;
            if (part.size() < 65536) return all;
        }
    }
    // How the stream ends: 0 = cleanly, else errno. Bytes before the end are dropped.
    int receive_end() {
        char buffer[4096];
        while (true) {
            const ssize_t got = ::recv(fd(), buffer, sizeof buffer, 0);
            if (got == 0) return 0;
            if (got < 0) return errno;
        }
    }
    void shut_down() { ::shutdown(fd(), SHUT_WR); }
    void reset() {
        const linger now{.l_onoff = 1, .l_linger = 0};
        ::setsockopt(fd(), SOL_SOCKET, SO_LINGER, &now, sizeof now);
        fd_.reset();
    }
    void close() { fd_.reset(); }

private:
    UniqueFd fd_;
};

class TestListener {
public:
    TestListener() : fd_(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
        const sockaddr_in address = loopback_address(0);
        ::bind(fd_.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address);
        ::listen(fd_.get(), 512);
        sockaddr_in bound{};
        socklen_t size = sizeof bound;
        ::getsockname(fd_.get(), reinterpret_cast<sockaddr*>(&bound), &size);
        port_ = ntohs(bound.sin_port);
        const timeval limit{.tv_sec = 10, .tv_usec = 0};
        ::setsockopt(fd_.get(), SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
    }
    [[nodiscard]] int fd() const { return fd_.get(); }
    [[nodiscard]] uint16_t port() const { return port_; }
    TestSocket accept() {
        const int fd = ::accept4(fd_.get(), nullptr, nullptr, SOCK_CLOEXEC);
        if (fd < 0) throw std::runtime_error("accept");
        return TestSocket(fd);
    }
    void close() { fd_.reset(); }

private:
    UniqueFd fd_;
    uint16_t port_ = 0;
};

}  // namespace qanat::testing
