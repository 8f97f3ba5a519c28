#include "dataplane/engine/socket.h"

#include <gtest/gtest.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>

#include <array>
#include <string>

namespace qanat::dataplane {
namespace {

std::string congestion_control(int fd) {
    std::array<char, 16> name{};
    socklen_t size = name.size();
    EXPECT_EQ(::getsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, name.data(), &size), 0);
    return name.data();
}

std::string congestion_control_of_this_system() {
    return congestion_control(UniqueFd(::socket(AF_INET, SOCK_STREAM, 0)).get());
}

wire::Endpoint endpoint(const char* text) {
    return *wire::Endpoint::parse(text);
}

UniqueFd listen_at(const char* text) {
    auto fd = listen_on(endpoint(text), PortCheck::shared);
    EXPECT_TRUE(fd.has_value());
    return std::move(*fd);
}

// A connection to `listener`, and what it accepts for it.
struct Pair {
    explicit Pair(const UniqueFd& listener) : connecting(start_connect(to(listener))) {
        // TCP_DEFER_ACCEPT: there is nothing to accept before the first byte
        EXPECT_EQ(::send(connecting.fd.get(), "x", 1, 0), 1);
        pollfd wait{.fd = listener.get(), .events = POLLIN, .revents = 0};
        EXPECT_EQ(::poll(&wait, 1, 10'000), 1);
        accepted = UniqueFd(::accept(listener.get(), nullptr, nullptr));
        EXPECT_TRUE(accepted);
    }
    static wire::Endpoint to(const UniqueFd& listener) {
        wire::Endpoint at = local_endpoint(listener.get());
        if (at.ip.is_wildcard()) at.ip = wire::IpAddress::v4(127, 0, 0, 1);
        return at;
    }

    Connecting connecting;
    UniqueFd accepted;
};

TEST(SocketTest, nothing_is_paced_on_loopback) {
    for (const char* address : {"127.0.0.1:0", "[::1]:0"}) {
        const UniqueFd listener = listen_at(address);
        const Pair pair(listener);
        EXPECT_EQ(congestion_control(pair.connecting.fd.get()), "reno") << address;
        EXPECT_EQ(congestion_control(pair.accepted.get()), "reno") << address;
    }
}

TEST(SocketTest, what_may_come_from_elsewhere_has_the_congestion_control_of_the_system) {
    const UniqueFd listener = listen_at("0.0.0.0:0");
    EXPECT_EQ(congestion_control(listener.get()), congestion_control_of_this_system());
    EXPECT_EQ(congestion_control(Pair(listener).accepted.get()), congestion_control_of_this_system());
}

TEST(SocketTest, a_taken_port_is_an_error_where_it_has_to_be_exclusive) {
    const UniqueFd first = listen_at("127.0.0.1:0");
    const wire::Endpoint taken = local_endpoint(first.get());
    const auto second = listen_on(taken, PortCheck::exclusive);
    ASSERT_FALSE(second.has_value());
    EXPECT_EQ(second.error(), EADDRINUSE);
    EXPECT_TRUE(listen_on(taken, PortCheck::shared).has_value());
}

}  // namespace
}  // namespace qanat::dataplane
