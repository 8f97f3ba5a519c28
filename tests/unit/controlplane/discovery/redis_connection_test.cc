// The connection against servers that say whatever they like.
#include "controlplane/discovery/redis_connection.h"

#include <arpa/inet.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/socket.h>

#include <array>

#include "common/crypto/random.h"
#include "controlplane/config/addresses.h"
#include "tests/unit/controlplane/discovery/discovery_harness.h"

namespace qanat::controlplane {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;
using ::testing::HasSubstr;

// Accepts connections on 127.0.0.1, and sends `greeting` at once and `answers` in turn: one for each time that
// something arrives.
class FakeServer {
public:
    FakeServer(EventLoop& loop, std::string greeting, std::vector<std::string> answers)
        : loop_(loop),
          greeting_(std::move(greeting)),
          answers_(std::move(answers)),
          listener_(::socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0)) {
        sockaddr_in address{};
        address.sin_family = AF_INET;
        address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        auto* generic = static_cast<sockaddr*>(static_cast<void*>(&address));
        EXPECT_EQ(::bind(listener_.get(), generic, sizeof address), 0);
        EXPECT_EQ(::listen(listener_.get(), 16), 0);
        socklen_t size = sizeof address;
        EXPECT_EQ(::getsockname(listener_.get(), generic, &size), 0);
        port_ = ntohs(address.sin_port);
        accepting_.emplace(loop_, listener_.get(), Readiness{.readable = true}, [this](Readiness) { accept(); });
    }

    [[nodiscard]] std::string url() const { return "redis://127.0.0.1:" + std::to_string(port_); }

    int accepted = 0;
    std::string received;
    bool close_after_answers = false;

private:
    void accept() {
        ++accepted;
        watch_.reset();
        peer_.reset(::accept4(listener_.get(), nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC));
        next_ = 0;
        send(greeting_);
        watch_.emplace(loop_, peer_.get(), Readiness{.readable = true}, [this](Readiness) { answer(); });
    }
    void answer() {
        std::array<char, 65536> buffer;
        const ssize_t size = ::recv(peer_.get(), buffer.data(), buffer.size(), 0);
        if (size > 0) received.append(buffer.data(), static_cast<size_t>(size));
        if (size > 0 && next_ < answers_.size()) return send(answers_[next_++]);
        if (size <= 0 || close_after_answers) watch_.reset();
        if (size <= 0 || close_after_answers) peer_.reset();
    }
    void send(const std::string& bytes) const {
        if (!bytes.empty()) (void)::send(peer_.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL);
    }

    EventLoop& loop_;
    std::string greeting_;
    std::vector<std::string> answers_;
    UniqueFd listener_;
    UniqueFd peer_;
    uint16_t port_ = 0;
    size_t next_ = 0;
    std::optional<FdWatch> accepting_;
    std::optional<FdWatch> watch_;
};

RedisSettings quick(const std::string& url) {
    RedisSettings settings = settings_for(url).redis;
    settings.timeout = milliseconds(200);
    settings.retry_min = milliseconds(1);
    settings.retry_max = milliseconds(10);
    return settings;
}

TEST(RedisConnection, NothingAServerSaysEndsTheProcess) {
    struct Case {
        std::string greeting;
        std::vector<std::string> answers;
        const char* error;
    };
    const Case cases[] = {
        {"+HELLO\r\n", {}, "not the protocol of Redis"},
        {"*3\r\n$7\r\nmessage\r\n:1\r\n:1\r\n", {}, "not the protocol of Redis"},
        {"*1\r\n$4\r\npong\r\n+PONG\r\n", {}, "an answer that nobody asked for"},
        {"HTTP/1.1 400 Bad Request\r\n", {}, "not the protocol of Redis"},
        {"*2147483647\r\n", {}, "larger than any that was asked for"},
        {std::string(1000, '*'), {}, "no answer within 200ms"},
        {"", {"$-5\r\n"}, "not the protocol of Redis"},
        {"", {"-LOADING Redis is loading\r\n"}, "Redis is not usable: LOADING"},
        {"", {"-\x1b[2J\xff\r\n"}, "Redis is not usable: \\x1b[2J\\xff"},
        {"", {"-ERR max number of clients reached\r\n"}, "Redis refused the connection: ERR max number of clients"},
        {"", {"-DENIED protected mode\r\n"}, "Redis refused the connection: DENIED"},
        {"", {"+PONG\r\n+PONG\r\n"}, "an answer that nobody asked for"},
        {"", {"+PO"}, "no answer within 200ms"},
        {"", {"*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n"}, "not the protocol of Redis"},
    };
    for (const Case& c : cases) {
        EventLoop loop;
        FakeServer server(loop, c.greeting, c.answers);
        RedisConnection connection(loop, "test", quick(server.url()), no_lookup(), &crypto::random_bytes, {});
        connection.start();
        // Again and again.
        const bool tried = run_until(loop, [&] { return server.accepted >= 3; });
        EXPECT_TRUE(tried) << c.greeting << c.error;
        EXPECT_TRUE(run_until(loop, [&] { return connection.last_error().find(c.error) != std::string::npos; }))
            << connection.last_error() << " instead of " << c.error;
    }
}

// Ends of connections at every point of the dialogue.
TEST(RedisConnection, CutAfterEveryByte) {
    const std::string whole = "+OK\r\n+OK\r\n+PONG\r\n";
    for (size_t size = 0; size <= whole.size(); ++size) {
        EventLoop loop;
        FakeServer server(loop, "", {whole.substr(0, size)});
        server.close_after_answers = true;
        RedisSettings settings = quick(server.url() + "/4");
        settings.pass = "p";
        settings.ping = milliseconds(5);
        int lost = 0;
        int ready = 0;
        RedisConnection connection(loop, "test", settings, no_lookup(), &crypto::random_bytes,
                                   {.on_ready = [&] { ++ready; }, .on_lost = [&] { ++lost; }});
        connection.start();
        if (size == whole.size())
            EXPECT_TRUE(run_until(loop, [&] { return ready >= 2 && lost >= 2; })) << size;
        else
            EXPECT_TRUE(run_until(loop, [&] { return server.accepted >= 2; })) << size;
        EXPECT_EQ(size == whole.size(), ready > 0) << size;
    }
}

TEST(RedisConnection, APushedMessageOfTheWrongForm) {
    for (const char* message :
         {"*2\r\n$7\r\nmessage\r\n$1\r\nc\r\n", "*3\r\n$7\r\nmessage\r\n$1\r\nc\r\n:5\r\n",
          "*4\r\n$7\r\nmessage\r\n$1\r\nc\r\n$1\r\nx\r\n$1\r\ny\r\n", "*0\r\n", "$-1\r\n", "*1\r\n:7\r\n"}) {
        EventLoop loop;
        FakeServer server(loop, "", {"+PONG\r\n", std::string("*3\r\n$9\r\nsubscribe\r\n$1\r\nc\r\n:1\r\n") + message});
        int subscribed = 0;
        int messages = 0;
        RedisConnection connection(
            loop, "test", quick(server.url()), no_lookup(), &crypto::random_bytes,
            {.on_ready = [&] { connection.subscribe("c", [&](const RedisReply&) { ++subscribed; }); },
             .on_message = [&](const std::string&) { ++messages; }});
        connection.start();
        EXPECT_TRUE(run_until(loop, [&] { return server.accepted >= 2; })) << message;
        EXPECT_GE(subscribed, 1) << message;
        EXPECT_EQ(messages, 0) << message;
    }
}

TEST(RedisConnection, ErrorsNeverRepeatThePassword) {
    EventLoop loop;
    FakeServer server(loop, "", {"-ERR unknown command 'AUTH', with args beginning with: 'hunter2'\r\n"});
    RedisSettings settings = quick(server.url());
    settings.pass = "hunter2";
    RedisConnection connection(loop, "test", settings, no_lookup(), &crypto::random_bytes, {});
    EXPECT_EQ(connection.text_of({.kind = RedisReply::Kind::error, .text = "ERR said 'hunter2'"}),
              "ERR (the rest repeats the password)");
    EXPECT_EQ(connection.text_of({.kind = RedisReply::Kind::error, .text = "OOM no\n"}), "OOM no\\n");
    connection.start();
    ASSERT_TRUE(run_until(loop, [&] { return !connection.last_error().empty(); }));
    EXPECT_EQ(connection.last_error().find("hunter2"), std::string::npos);
    EXPECT_THAT(server.received, HasSubstr("hunter2"));
}

TEST(RedisConnection, PausesGrowAndAreDrawnByLot) {
    EventLoop loop;
    FakeServer server(loop, "-ERR max number of clients reached\r\n", {});
    RedisSettings settings = quick(server.url());
    settings.retry_min = milliseconds(20);
    settings.retry_max = milliseconds(160);
    int drawn = 0;
    const RandomBytes random = [&](MutableBytes out) {
        ++drawn;
        crypto::random_bytes(out);
    };
    RedisConnection connection(loop, "test", settings, no_lookup(), random, {});
    connection.start();
    const Instant begin = EventLoop::now();
    ASSERT_TRUE(run_until(loop, [&] { return server.accepted >= 6; }));
    // At least half of 20 + 40 + 80 + 160 + 160.
    EXPECT_GE(EventLoop::now() - begin, milliseconds(230 - 10));
    EXPECT_GE(drawn, 5);
}

TEST(RedisConnection, MayBeStoppedAndDestroyedAnyTime) {
    for (int when = 0; when < 6; ++when) {
        EventLoop loop;
        FakeServer server(loop, "", {"+PONG\r\n"});
        auto connection = std::make_unique<RedisConnection>(loop, "test", quick(server.url()), no_lookup(),
                                                            &crypto::random_bytes, RedisConnection::Handlers{});
        connection->start();
        const Instant until = EventLoop::now() + milliseconds(when);
        ASSERT_TRUE(run_until(loop, [&] { return EventLoop::now() >= until; }));
        if (when % 2 == 0) connection->stop();
        EXPECT_EQ(when % 2 == 0 && connection->ready(), false);
        connection.reset();
    }
    // A lookup that answers when nobody waits any more.
    EventLoop loop;
    std::function<void(Result<std::vector<wire::IpAddress>>)> late;
    {
        RedisConnection connection(loop, "test", quick("redis://redis.example"),
                                   [&](const std::string&, NameFamily, auto done) { late = std::move(done); },
                                   &crypto::random_bytes, {});
        connection.start();
    }
    late(fail("too late"));
}

}  // namespace
}  // namespace qanat::controlplane
