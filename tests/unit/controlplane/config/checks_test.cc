#include "controlplane/config/checks.h"

#include <gtest/gtest.h>

#include "tests/unit/controlplane/config/test_ids.h"

namespace qanat::controlplane {
namespace {

TEST(CheckSupported, RefusesWhatIsNotPartOfThisVersion) {
    EXPECT_TRUE(check_supported(Config{}));
    const PeerAddress peer{test_key(1), {*wire::Target::parse("1.2.3.4:4000"), NameFamily::any}};
    Config config;
    config.node.relay_mode = true;
    EXPECT_EQ(check_supported(config).error().message,
              "node.relay_mode: relays are not part of this version: set it to false");
    config = {};
    config.node.connect_relay = {peer};
    EXPECT_EQ(check_supported(config).error().message,
              "node.connect_relay: relays are not part of this version: remove the entries");
    config = {};
    config.nodes = {{test_key(1), {peer.address}, std::nullopt}, {test_key(2), {}, peer}};
    EXPECT_EQ(
        check_supported(config).error().message,
        "nodes[1].relay: relays are not part of this version: remove it and give the node's own address in addrs");
    config = {};
    config.discovery.enabled = true;
    EXPECT_EQ(check_supported(config).error().message,
              "discovery.enabled: discovery is not part of this version: set it to false and list the nodes in nodes");
}

TEST(CheckRole, AClientNeedsANode) {
    EXPECT_TRUE(check_role(Config{}, Role::node));
    EXPECT_EQ(check_role(Config{}, Role::client).error().message,
              "no exit node: give one with --node ID@HOST:PORT, or list nodes in the configuration file");
    Config config;
    config.nodes.push_back({test_key(1), {}, std::nullopt});
    EXPECT_TRUE(check_role(config, Role::client));
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

}  // namespace
}  // namespace qanat::controlplane
