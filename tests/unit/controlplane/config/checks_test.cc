#include "controlplane/config/checks.h"

#include <gtest/gtest.h>

#include "controlplane/config/addresses.h"
#include "tests/unit/controlplane/config/test_ids.h"

namespace qanat::controlplane {
namespace {

TEST(CheckRole, AClientNeedsANode) {
    EXPECT_TRUE(check_role(Config{}, Role::node));
    EXPECT_EQ(check_role(Config{}, Role::client).error().message,
              "no exit node: give one with --node ID@HOST:PORT, list nodes in the configuration file, or find them "
              "with --discover");
    Config discovering;
    discovering.discovery.enabled = true;
    EXPECT_TRUE(check_role(discovering, Role::client));
    Config config;
    config.nodes.push_back({test_key(1), {}, {}, {}});
    EXPECT_TRUE(check_role(config, Role::client));
}

TEST(CheckRole, ANodeListensNowhereTwice) {
    const auto check = [](const char* one, const char* other) {
        Config config;
        config.node.listen = {*wire::Endpoint::parse(one), *wire::Endpoint::parse(other)};
        const auto checked = check_role(config, Role::node);
        return checked ? std::string() : checked.error().message;
    };
    EXPECT_EQ(check("0.0.0.0:4000", "127.0.0.1:4000"),
              "--listen or node.listen: 127.0.0.1:4000 is part of 0.0.0.0:4000 already: remove one of the two");
    EXPECT_EQ(check("192.0.2.1:4000", "0.0.0.0:4000"),
              "--listen or node.listen: 192.0.2.1:4000 is part of 0.0.0.0:4000 already: remove one of the two");
    for (const char* one : {"0.0.0.0:4000", "127.0.0.1:4000", "[::1]:4000", "[::]:4000"})
        EXPECT_NE(check("[::]:4000", one), "") << one;
    EXPECT_EQ(check("0.0.0.0:4000", "127.0.0.1:4001"), "");
    EXPECT_EQ(check("0.0.0.0:4000", "[::1]:4000"), "");
    EXPECT_EQ(check("192.0.2.1:4000", "192.0.2.2:4000"), "");
    EXPECT_EQ(check("0.0.0.0:0", "127.0.0.1:0"), "") << "each gets a port of its own";
}

TEST(ConfigWarnings, ARedisPasswordInTheClear) {
    const auto warned = [](const char* address, const char* pass) {
        Config config;
        const auto url = parse_redis_url(address);
        config.discovery = {true, url->address, "t", std::chrono::seconds(1), "", pass};
        return config_warnings(config, Role::node);
    };
    for (const char* address : {"redis://localhost", "redis://127.0.0.2", "redis://[::1]:1", "rediss://redis.example",
                                "unix:///run/redis.sock"})
        EXPECT_TRUE(warned(address, "secret").empty()) << address;
    EXPECT_TRUE(warned("redis://redis.example", "").empty());
    EXPECT_EQ(warned("redis://redis.example", "secret"),
              std::vector<std::string>{"discovery sends the password of Redis in the clear to redis.example:6379: use "
                                       "rediss:// in discovery.address"});
    EXPECT_EQ(warned("redis://192.0.2.1", "secret").size(), 1U);
}

TEST(ConfigWarnings, NameWhatIsProbablyNotMeant) {
    Config config;
    EXPECT_TRUE(config_warnings(config, Role::client).empty());
    EXPECT_TRUE(config_warnings(config, Role::node).empty());
    config.server.listen = *wire::Endpoint::parse("127.8.8.8:1080");
    EXPECT_TRUE(config_warnings(config, Role::client).empty());
    config.server.listen = *wire::Endpoint::parse("[::1]:1080");
    EXPECT_TRUE(config_warnings(config, Role::client).empty());

    config.server.listen = *wire::Endpoint::parse("0.0.0.0:1080");
    config.node.exit_policy.allow.blocks = {*wire::Cidr::parse("10.0.0.0/8"), *wire::Cidr::parse("0.0.0.0/0")};
    ASSERT_EQ(config_warnings(config, Role::client).size(), 1U);
    EXPECT_EQ(config_warnings(config, Role::client)[0],
              "the SOCKS listener 0.0.0.0:1080 is reachable from other machines without a password: set server.auth, "
              "server.user and server.pass, or listen on 127.0.0.1");
    config.server.auth = true;
    EXPECT_EQ(config_warnings(config, Role::client)[0],
              "the SOCKS listener 0.0.0.0:1080 is reachable from other machines, and SOCKS5 sends its password in the "
              "clear: listen on 127.0.0.1 if you can");
    ASSERT_EQ(config_warnings(config, Role::node).size(), 1U);
    EXPECT_EQ(config_warnings(config, Role::node)[0],
              "the exit policy allows 0.0.0.0/0: clients reach this machine itself and its private networks");
}

TEST(ConfigWarnings, ARelayThatNobodyReaches) {
    Config config;
    config.node.relay_mode = true;
    config.node.listen = {*wire::Endpoint::parse("127.0.0.1:4000"), *wire::Endpoint::parse("[::1]:4000")};
    EXPECT_EQ(config_warnings(config, Role::node),
              std::vector<std::string>{
                  "relay_mode is on but the node listens on loopback only: no other machine reaches this relay"});
    EXPECT_TRUE(config_warnings(config, Role::client).empty());
    config.node.listen.push_back(*wire::Endpoint::parse("192.0.2.1:4000"));
    EXPECT_TRUE(config_warnings(config, Role::node).empty());
    config.node.relay_mode = false;
    config.node.relay_limits.streams = 1;
    EXPECT_EQ(config_warnings(config, Role::node),
              std::vector<std::string>{"node.relay_limits does nothing: relay_mode is off"});
}

}  // namespace
}  // namespace qanat::controlplane
