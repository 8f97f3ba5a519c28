#include "controlplane/loop/http_server.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <array>
#include <atomic>
#include <future>

namespace qanat::controlplane {
namespace {

using testing::EndsWith;
using testing::HasSubstr;
using testing::StartsWith;

TEST(HttpRequestLine, WhatIsOneAndWhatIsNot) {
    const auto line = HttpRequestLine::parse("GET /metrics?x=1 HTTP/1.1");
    ASSERT_TRUE(line);
    EXPECT_EQ(line->method, "GET");
    EXPECT_EQ(line->path, "/metrics");
    EXPECT_EQ(HttpRequestLine::parse("POST / HTTP/1.0")->method, "POST");
    for (const char* text : {"", "GET", "GET /", "GET / HTTP/2", "GET  HTTP/1.1", " / HTTP/1.1", "GET x HTTP/1.1",
                             "GET http://a/ HTTP/1.1", "GET /a b HTTP/1.1", "GET / HTTP/1.1 ", "GET HTTP/1.1"})
        EXPECT_FALSE(HttpRequestLine::parse(text)) << text;
}

class HttpServerTest : public testing::Test {
protected:
    HttpServerTest() {
        UniqueFd listener(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
        sockaddr_in address{};
        address.sin_family = AF_INET;
        address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        socklen_t size = sizeof address;
        EXPECT_EQ(::bind(listener.get(), generic(address), size), 0);
        EXPECT_EQ(::listen(listener.get(), 64), 0);
        EXPECT_EQ(::getsockname(listener.get(), generic(address), &size), 0);
        address_ = address;
        server_.emplace(loop_, std::move(listener), [this](std::string_view path) {
            ++asked_;
            return path == "/page" ? std::optional(HttpServer::Page{"text/x", page_}) : std::nullopt;
        });
    }
    static sockaddr* generic(sockaddr_in& address) { return static_cast<sockaddr*>(static_cast<void*>(&address)); }

    UniqueFd connect() {
        UniqueFd fd(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
        EXPECT_EQ(::connect(fd.get(), generic(address_), sizeof address_), 0);
        return fd;
    }
    static void send(const UniqueFd& fd, const std::string& bytes) {
        (void)::send(fd.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL);
    }
    // Until the server ends the connection.
    static std::string receive(const UniqueFd& fd) {
        std::string text;
        std::array<char, 4096> bytes{};
        for (ssize_t size = 0; (size = ::recv(fd.get(), bytes.data(), bytes.size(), 0)) > 0;)
            text.append(bytes.data(), static_cast<size_t>(size));
        return text;
    }
    // Runs `client` in a thread and the loop in this one until it has returned.
    template <class Client>
    auto with_loop(Client client) {
        std::atomic<bool> done{false};
        auto result = std::async(std::launch::async, [&] {
            auto value = client();
            done = true;
            return value;
        });
        Timer watch(loop_, [&] {
            if (done) loop_.stop();
        });
        watch.start_every(std::chrono::milliseconds(1));
        loop_.run();
        return result.get();
    }
    std::string ask(const std::string& request) {
        return with_loop([&] {
            const UniqueFd fd = connect();
            send(fd, request);
            return receive(fd);
        });
    }

    EventLoop loop_;
    sockaddr_in address_{};
    std::string page_ = "hello\n";
    int asked_ = 0;
    std::optional<HttpServer> server_;
};

TEST_F(HttpServerTest, GetAndHead) {
    const std::string headers =
        "HTTP/1.1 200 OK\r\nContent-Type: text/x\r\nContent-Length: 6\r\nConnection: close\r\n\r\n";
    EXPECT_EQ(ask("GET /page HTTP/1.1\r\nHost: a\r\n\r\n"), headers + "hello\n");
    EXPECT_EQ(ask("HEAD /page?a HTTP/1.0\r\n\r\n"), headers);
    // What comes behind a request is nobody's.
    EXPECT_EQ(ask("GET /page HTTP/1.1\r\n\r\nGET /page HTTP/1.1\r\n\r\n"), headers + "hello\n");
    EXPECT_EQ(asked_, 3);
}

TEST_F(HttpServerTest, TheRequestMayComeInPieces) {
    const std::string request = "GET /page HTTP/1.1\r\nHost: a\r\n\r\n";
    const std::string answer = with_loop([&] {
        const UniqueFd fd = connect();
        for (const char c : request) send(fd, std::string(1, c));
        return receive(fd);
    });
    EXPECT_THAT(answer, EndsWith("hello\n"));
}

TEST_F(HttpServerTest, LargePagesArriveWhole) {
    page_ = std::string(8 << 20, 'x');
    EXPECT_THAT(ask("GET /page HTTP/1.1\r\n\r\n"), EndsWith("\r\n\r\n" + page_));
}

TEST_F(HttpServerTest, WhatIsRefused) {
    EXPECT_THAT(ask("GET / HTTP/1.1\r\n\r\n"), StartsWith("HTTP/1.1 404 "));
    EXPECT_THAT(ask("HEAD / HTTP/1.1\r\n\r\n"), EndsWith("\r\n\r\n"));
    const std::string body(100'000, 'b');
    const std::string post = ask("POST /page HTTP/1.1\r\nContent-Length: 100000\r\n\r\n" + body);
    EXPECT_THAT(post, StartsWith("HTTP/1.1 405 "));
    EXPECT_THAT(post, HasSubstr("\r\nAllow: GET, HEAD\r\n"));
    EXPECT_THAT(ask("nonsense\r\n\r\n"), StartsWith("HTTP/1.1 400 "));
    EXPECT_THAT(ask(std::string(HttpServer::kRequestSizeMax + 1, 'x')), StartsWith("HTTP/1.1 431 "));
    EXPECT_EQ(asked_, 2);
}

TEST_F(HttpServerTest, ConnectionsAreBoundedAndIdleOnesKeepNobodyOut) {
    std::vector<UniqueFd> held;
    for (size_t i = 0; i < HttpServer::kConnectionsMax; ++i) {
        held.push_back(connect());
        with_loop([] { return 0; });
    }
    EXPECT_THAT(ask("GET /page HTTP/1.1\r\n\r\n"), EndsWith("hello\n"));
    char byte = 0;
    EXPECT_EQ(::recv(held.front().get(), &byte, 1, MSG_DONTWAIT), 0) << "the oldest was to make room";
    EXPECT_EQ(::recv(held.back().get(), &byte, 1, MSG_DONTWAIT), -1) << "and no other";
}

}  // namespace
}  // namespace qanat::controlplane
