// The resolver against a name server of our own on the same loop (UDP, 127.0.0.1), which behaves as each name asks for.
#include "controlplane/resolver/resolver.h"

#include <arpa/inet.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cstdlib>
#include <fstream>
#include <map>

#include "common/base/unique_fd.h"
#include "controlplane/loop/fd_watch.h"

namespace qanat::controlplane {
namespace {

using ring::ResolveStatus;
using std::chrono::milliseconds;

constexpr uint16_t kTypeA = 1;

class FakeNameServer {
public:
    struct Zone {
        std::vector<std::string> v4{};
        std::vector<std::string> v6{};
        int rcode = 0;
        bool silent_v4 = false;
        bool silent_v6 = false;
    };

    explicit FakeNameServer(EventLoop& loop) : fd_(::socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK, 0)) {
        sockaddr_in address{};
        address.sin_family = AF_INET;
        address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        EXPECT_EQ(::bind(fd_.get(), generic(address), sizeof address), 0);
        socklen_t size = sizeof address;
        EXPECT_EQ(::getsockname(fd_.get(), generic(address), &size), 0);
        port_ = ntohs(address.sin_port);
        watch_.emplace(loop, fd_.get(), Readiness{.readable = true}, [this](Readiness) { answer(); });
    }

    [[nodiscard]] std::string address() const { return "127.0.0.1:" + std::to_string(port_); }

    std::map<std::string, Zone> zones;
    std::vector<std::pair<std::string, uint16_t>> questions;

private:
    static sockaddr* generic(sockaddr_in& address) { return static_cast<sockaddr*>(static_cast<void*>(&address)); }

    void answer() {
        std::array<uint8_t, 512> query{};
        sockaddr_in from{};
        socklen_t from_size = sizeof from;
        const ssize_t size = ::recvfrom(fd_.get(), query.data(), query.size(), 0, generic(from), &from_size);
        if (size < 17) return;
        std::string name;
        size_t at = 12;
        while (query[at] != 0) {
            if (!name.empty()) name += '.';
            name.append(query.begin() + static_cast<ptrdiff_t>(at) + 1,
                        query.begin() + static_cast<ptrdiff_t>(at) + 1 + query[at]);
            at += query[at] + size_t{1};
        }
        const auto type = static_cast<uint16_t>(query[at + 1] << 8 | query[at + 2]);
        questions.emplace_back(name, type);
        const auto found = zones.find(name);
        if (found != zones.end() && (type == kTypeA ? found->second.silent_v4 : found->second.silent_v6)) return;

        std::vector<uint8_t> reply(query.begin(), query.begin() + static_cast<ptrdiff_t>(at) + 5);
        const int rcode = found == zones.end() ? 3 : found->second.rcode;
        reply[2] = 0x81;
        reply[3] = static_cast<uint8_t>(0x80 | rcode);
        std::fill(reply.begin() + 6, reply.begin() + 12, 0);
        if (rcode == 0) {
            const auto& addresses = type == kTypeA ? found->second.v4 : found->second.v6;
            reply[7] = static_cast<uint8_t>(addresses.size());
            for (const std::string& text : addresses) {
                std::array<uint8_t, 16> bytes{};
                const int family = type == kTypeA ? AF_INET : AF_INET6;
                EXPECT_EQ(::inet_pton(family, text.c_str(), bytes.data()), 1);
                const auto length = static_cast<uint8_t>(type == kTypeA ? 4 : 16);
                const std::array<uint8_t, 12> head{0xc0, 12, 0,     static_cast<uint8_t>(type), 0, 1, 0, 0, 0,
                                                   60,   0,  length};
                reply.insert(reply.end(), head.begin(), head.end());
                reply.insert(reply.end(), bytes.begin(), bytes.begin() + length);
            }
        }
        ::sendto(fd_.get(), reply.data(), reply.size(), 0, generic(from), from_size);
    }

    UniqueFd fd_;
    uint16_t port_ = 0;
    std::optional<FdWatch> watch_;
};

class ResolverTest : public testing::Test {
protected:
    ResolverTest() : server_(loop_), give_up_(loop_, [this] { loop_.stop(); }) {
        give_up_.start(std::chrono::seconds(10));
        settings_.servers = server_.address();
        settings_.resolv_conf = "/dev/null";
        settings_.timeout = milliseconds(600);
        settings_.try_timeout = milliseconds(200);
        settings_.tries = 2;
    }

    Resolver& resolver() {
        if (!resolver_) resolver_ = std::make_unique<Resolver>(loop_, settings_);
        return *resolver_;
    }

    Resolution resolve(const std::string& name, ResolveFamily family = ResolveFamily::any) {
        std::optional<Resolution> result;
        resolver().resolve(name, family, [&](const Resolution& found) {
            EXPECT_FALSE(result.has_value()) << "answered twice";
            result = found;
            loop_.stop();
        });
        if (!result) loop_.run();
        return result.value_or(Resolution{});
    }

    static std::string text(const Resolution& resolution) {
        std::string out;
        for (const wire::IpAddress& address : resolution.addresses) out += address.format() + " ";
        return out;
    }

    EventLoop loop_;
    FakeNameServer server_;
    Timer give_up_;
    Resolver::Settings settings_;
    std::unique_ptr<Resolver> resolver_;
};

TEST_F(ResolverTest, BothFamiliesInTurns) {
    server_.zones["both.test"] = {.v4 = {"192.0.2.1", "192.0.2.2"}, .v6 = {"2001:db8::1", "2001:db8::2"}};
    const Resolution found = resolve("both.test");
    EXPECT_EQ(found.status, ResolveStatus::ok);
    EXPECT_EQ(text(found), "2001:db8::1 192.0.2.1 2001:db8::2 192.0.2.2 ");
    EXPECT_EQ(text(resolve("both.test", ResolveFamily::v4)), "192.0.2.1 192.0.2.2 ");
    EXPECT_EQ(text(resolve("both.test", ResolveFamily::v6)), "2001:db8::1 2001:db8::2 ");
}

TEST_F(ResolverTest, OneFamilyOnly) {
    server_.zones["four.test"] = {.v4 = {"192.0.2.1"}};
    server_.zones["six.test"] = {.v6 = {"2001:db8::1"}};
    EXPECT_EQ(text(resolve("four.test")), "192.0.2.1 ");
    EXPECT_EQ(text(resolve("six.test")), "2001:db8::1 ");
    EXPECT_EQ(resolve("six.test", ResolveFamily::v4).status, ResolveStatus::not_found);
}

TEST_F(ResolverTest, AtMostSixteenAddresses) {
    FakeNameServer::Zone zone;
    for (int i = 1; i <= 20; ++i) zone.v4.push_back("192.0.2." + std::to_string(i));
    server_.zones["many.test"] = zone;
    EXPECT_EQ(resolve("many.test").addresses.size(), ring::kResolvedMax);
}

TEST_F(ResolverTest, WhatDoesNotExist) {
    EXPECT_EQ(resolve("nothing.test").status, ResolveStatus::not_found);
    server_.zones["empty.test"] = {};
    EXPECT_EQ(resolve("empty.test").status, ResolveStatus::not_found);
    EXPECT_TRUE(resolve("empty.test").addresses.empty());
}

TEST_F(ResolverTest, AServerThatFailsIsNotANameThatDoesNotExist) {
    server_.zones["broken.test"] = {.rcode = 2};
    EXPECT_NE(resolve("broken.test").status, ResolveStatus::not_found);
    EXPECT_NE(resolve("broken.test").status, ResolveStatus::ok);
}

TEST_F(ResolverTest, SilenceIsATimeout) {
    server_.zones["silent.test"] = {.silent_v4 = true, .silent_v6 = true};
    const Instant start = EventLoop::now();
    EXPECT_EQ(resolve("silent.test").status, ResolveStatus::timed_out);
    EXPECT_LT(EventLoop::now() - start, milliseconds(1500));
}

TEST_F(ResolverTest, ASilentFamilyCostsFiftyMilliseconds) {
    server_.zones["half.test"] = {.v4 = {"192.0.2.1"}, .silent_v6 = true};
    server_.zones["other.test"] = {.v6 = {"2001:db8::1"}, .silent_v4 = true};
    for (const char* name : {"half.test", "other.test"}) {
        const Instant start = EventLoop::now();
        EXPECT_EQ(resolve(name).status, ResolveStatus::ok);
        EXPECT_LT(EventLoop::now() - start, milliseconds(180));
    }
}

TEST_F(ResolverTest, NoFamilyMayHideBehindAnotherThatDoesNotExist) {
    // A says "no such data", AAAA never answers: that is not known, not "does not exist".
    server_.zones["unsure.test"] = {.silent_v6 = true};
    EXPECT_EQ(resolve("unsure.test").status, ResolveStatus::timed_out);
}

TEST_F(ResolverTest, LiteralsAndNonsenseNeverReachAServer) {
    EXPECT_EQ(text(resolve("192.0.2.7")), "192.0.2.7 ");
    EXPECT_EQ(text(resolve("2001:db8::7")), "2001:db8::7 ");
    for (const std::string& name :
         {std::string(""), std::string("."), std::string("a..b"), std::string("a b"), std::string("a\0b", 3),
          std::string("a\nb"), std::string(64, 'x') + ".test", std::string(300, 'x'), std::string("é.test"),
          std::string("a\\.b"), std::string("a/b")})
        EXPECT_EQ(resolve(name).status, ResolveStatus::not_found) << name;
    EXPECT_TRUE(server_.questions.empty());
}

TEST_F(ResolverTest, LongestNames) {
    const std::string label(63, 'x');
    const std::string name = label + "." + label + "." + label + "." + std::string(61, 'y');  // 253
    server_.zones[name] = {.v4 = {"192.0.2.1"}};
    EXPECT_EQ(resolve(name).status, ResolveStatus::ok);
    EXPECT_EQ(resolve(name + "z").status, ResolveStatus::not_found);
}

TEST_F(ResolverTest, TheHostsFileComesFirst) {
    const Resolution found = resolve("localhost", ResolveFamily::v4);
    EXPECT_EQ(found.status, ResolveStatus::ok);
    EXPECT_EQ(text(found), "127.0.0.1 ");
    for (const char* same : {"localhost.", "LOCALHOST", "LocalHost."}) {
        EXPECT_EQ(text(resolve(same, ResolveFamily::v4)), "127.0.0.1 ") << same;
    }
    EXPECT_TRUE(server_.questions.empty());
}

TEST_F(ResolverTest, MoreThanTheCapIsOverload) {
    settings_.queries_max = 3;
    server_.zones["silent.test"] = {.silent_v4 = true, .silent_v6 = true};
    std::vector<ResolveStatus> statuses;
    for (int i = 0; i < 4; ++i)
        resolver().resolve("silent.test", ResolveFamily::any, [&](const Resolution& found) {
            statuses.push_back(found.status);
            if (statuses.size() == 4) loop_.stop();
        });
    EXPECT_THAT(statuses, testing::ElementsAre(ResolveStatus::overloaded));
    EXPECT_EQ(resolver().in_flight(), 3u);
    loop_.run();
    EXPECT_THAT(statuses, testing::ElementsAre(ResolveStatus::overloaded, ResolveStatus::timed_out,
                                               ResolveStatus::timed_out, ResolveStatus::timed_out));
    // Others do not wait for names that nobody answers.
    Timer wait(loop_, [this] { loop_.stop(); });
    wait.start(milliseconds(1200));
    loop_.run();
    EXPECT_EQ(resolver().in_flight(), 0u);
}

TEST_F(ResolverTest, ManyNamesGoThroughManyChannels) {
    server_.zones["both.test"] = {.v4 = {"192.0.2.1"}, .v6 = {"2001:db8::1"}};
    for (int i = 0; i < 300; ++i) ASSERT_EQ(resolve("both.test").status, ResolveStatus::ok) << i;
}

TEST_F(ResolverTest, AskingFromInsideAnAnswer) {
    server_.zones["both.test"] = {.v4 = {"192.0.2.1"}, .v6 = {"2001:db8::1"}};
    int left = 200;
    std::function<void()> next = [&] {
        resolver().resolve("both.test", ResolveFamily::any, [&](const Resolution& found) {
            EXPECT_EQ(found.status, ResolveStatus::ok);
            if (--left == 0)
                loop_.stop();
            else
                next();
        });
    };
    next();
    loop_.run();
    EXPECT_EQ(left, 0);
}

TEST_F(ResolverTest, AChangedConfigurationIsRead) {
    char name[] = "/tmp/qanat-resolv-XXXXXX";
    const UniqueFd file(::mkstemp(name));
    ASSERT_TRUE(file);
    settings_.servers = "";
    settings_.resolv_conf = name;
    std::ofstream(name) << "nameserver 127.0.0.1\nsearch first.test\n";
    // Nobody answers on port 53 here, or it does not know these names: only the configuration matters.
    EXPECT_NE(resolve("localhost").status, ResolveStatus::failed);
    std::ofstream(name) << "";
    Timer wait(loop_, [this] { loop_.stop(); });
    wait.start(milliseconds(1100));
    loop_.run();
    EXPECT_EQ(resolve("localhost").status, ResolveStatus::ok);
    ::unlink(name);
}

TEST_F(ResolverTest, DestroyingItDropsWhatIsOpen) {
    server_.zones["silent.test"] = {.silent_v4 = true, .silent_v6 = true};
    resolver().resolve("silent.test", ResolveFamily::any, [](const Resolution&) { ADD_FAILURE(); });
    resolver_.reset();
}

}  // namespace
}  // namespace qanat::controlplane
