#include "controlplane/cli/settings.h"

#include <gtest/gtest.h>

#include "controlplane/cli/command_line.h"
#include "tests/unit/controlplane/config/temp_directory.h"
#include "tests/unit/controlplane/config/test_ids.h"

namespace qanat::controlplane {
namespace {

using namespace std::chrono_literals;

template <class T>
T parsed(const std::vector<std::string>& arguments) {
    auto result = parse_command_line(arguments);
    if (const auto* exit = std::get_if<CliExit>(&result)) {
        ADD_FAILURE() << exit->text;
        return {};
    }
    return std::get<T>(std::get<Command>(result));
}

NodeAddress address(const char* text) {
    return {*wire::Target::parse(text), NameFamily::any};
}

// A file in which everything differs from the defaults.
Config file_config() {
    Config config;
    config.key = "file.key";
    config.identity = "file.id";
    config.server.listen = *wire::Endpoint::parse("127.0.0.1:9");
    config.routing = {Strategy::fastest, 1s, 2s};
    config.nodes = {{test_key(1), {address("192.0.2.1:4000")}, {}, {}}};
    config.node.listen = {*wire::Endpoint::parse("127.0.0.1:8")};
    config.node.exit_policy.allow.blocks = {*wire::Cidr::parse("10.0.0.0/8")};
    config.node.exit_policy.deny.private_ranges = true;
    config.log = {LogLevel::error, LogFormat::json};
    config.data_plane.cores = {{1}};
    config.data_plane.busy_poll = true;
    config.limits.sessions = 7;
    return config;
}

TEST(MergeFlags, NoFlagsLeaveTheFileAlone) {
    EXPECT_EQ(merge_flags(file_config(), NodeCommand{}), file_config());
    EXPECT_EQ(merge_flags(file_config(), ClientCommand{}), file_config());
}

TEST(MergeFlags, NodeFlagsBeatTheFile) {
    Config expected = file_config();
    expected.key = "flag.key";
    expected.identity = "flag.id";
    expected.admin = "flag.sock";
    expected.node.listen = {*wire::Endpoint::parse("[::]:4000"), *wire::Endpoint::parse("127.0.0.1:4001")};
    expected.node.exit_policy.allow = {true, {}};
    expected.data_plane.cores = {};
    expected.log = {LogLevel::debug, LogFormat::text};
    EXPECT_EQ(merge_flags(file_config(), parsed<NodeCommand>({"node", "--key", "flag.key", "--identity", "flag.id",
                                                              "--admin", "flag.sock", "--listen", ":4000", "--listen",
                                                              "127.0.0.1:4001", "--allow", "private", "--cores", "auto",
                                                              "--log-level", "debug", "--log-format", "text"})),
              expected);
    Config defaults;
    defaults.data_plane.busy_poll = true;
    EXPECT_EQ(merge_flags(Config{}, parsed<NodeCommand>({"node", "--busy-poll"})), defaults);
}

TEST(MergeFlags, ClientFlagsBeatTheFile) {
    Config expected = file_config();
    expected.server.listen = *wire::Endpoint::parse("127.0.0.1:1081");
    expected.routing.strategy = Strategy::random;
    expected.nodes = {{test_key(2), {address("192.0.2.2:4000"), address("[2001:db8::2]:4000")}, {}, {}},
                      {test_key(3), {address("exit.example:4000")}, {}, {}}};
    EXPECT_EQ(
        merge_flags(file_config(),
                    parsed<ClientCommand>({"client", "--socks", "127.0.0.1:1081", "--strategy", "random", "--node",
                                           test_id(2) + "@192.0.2.2", "--node", test_id(3) + "@exit.example", "--node",
                                           test_id(2) + "@[2001:db8::2]", "--node", test_id(2) + "@192.0.2.2:4000"})),
        expected);
}

class EffectiveConfig : public ::testing::Test {
protected:
    EffectiveConfig() {
        environment_.uid = 1000;
        environment_.working_directory = directory_ / "work";
        environment_.home = directory_ / "home";
    }

    std::string node_error(const std::vector<std::string>& arguments) {
        const auto config = effective_config(parsed<NodeCommand>(arguments), environment_);
        return config ? "no error" : config.error().message;
    }
    std::string client_error(const std::vector<std::string>& arguments) {
        const auto config = effective_config(parsed<ClientCommand>(arguments), environment_);
        return config ? "no error" : config.error().message;
    }

    TempDirectory directory_;
    Environment environment_;
};

TEST_F(EffectiveConfig, WithoutAnyFileTheDefaultsAndTheFlagsCount) {
    EXPECT_EQ(effective_config(NodeCommand{}, environment_).value(), Config{});
    const auto client =
        effective_config(parsed<ClientCommand>({"client", "--node", test_id(1) + "@192.0.2.1"}), environment_);
    ASSERT_TRUE(client) << client.error().message;
    EXPECT_EQ(client->nodes.size(), 1U);
}

TEST_F(EffectiveConfig, TheRolesDefaultFileIsRead) {
    directory_.write("home/.config/qanat/node.json", R"({"log": {"level": "warn"}, "key": "x.key"})");
    const auto node = effective_config(NodeCommand{}, environment_);
    ASSERT_TRUE(node);
    EXPECT_EQ(node->log.level, LogLevel::warn);
    EXPECT_EQ(node->key, directory_ / "home/.config/qanat/x.key");
    EXPECT_EQ(effective_config(parsed<NodeCommand>({"node", "--log-level", "debug"}), environment_)->log.level,
              LogLevel::debug);
    EXPECT_EQ(client_error({"client"}),
              "no exit node: give one with --node ID@HOST:PORT, list nodes in the configuration file, or find them "
              "with --discover");
}

TEST_F(EffectiveConfig, AGivenFileIsReadInsteadOfTheDefaultOne) {
    directory_.write("home/.config/qanat/node.json", "broken");
    const std::string file = directory_.write("mine.json", R"({"log": {"level": "error"}})");
    EXPECT_EQ(effective_config(parsed<NodeCommand>({"node", "--config", file}), environment_)->log.level,
              LogLevel::error);
    EXPECT_TRUE(node_error({"node"}).starts_with(directory_ / "home/.config/qanat/node.json" + ":1:1: "));
    EXPECT_EQ(node_error({"node", "--config", directory_ / "none.json"}),
              directory_ / "none.json" +
                  ": cannot be read (No such file or directory): check the path given with --config, "
                  "and that this user may read it");
}

TEST_F(EffectiveConfig, DiscoveryFlags) {
    const auto client =
        effective_config(parsed<ClientCommand>({"client", "--discover", "--discover-address",
                                                "rediss://me:pw@redis.example/3", "--discover-topic", "t"}),
                         environment_);
    ASSERT_TRUE(client) << client.error().message;
    EXPECT_TRUE(client->discovery.enabled);
    EXPECT_EQ(client->discovery.topic, "t");
    EXPECT_EQ(client->discovery.user, "me");
    EXPECT_EQ(client->discovery.pass, "pw");
    EXPECT_TRUE(client->discovery.address.tls);
    EXPECT_EQ(client->discovery.address.database, 3U);

    EXPECT_EQ(node_error({"node", "--discover-topic", "t"}), "--discover-topic: discovery is off: add --discover");
    EXPECT_EQ(client_error({"client", "--discover-address", "redis://h"}),
              "--discover-address: discovery is off: add --discover");
    const std::string file = directory_.write("on.json", R"({"discovery": {"enabled": true, "pass": "in-file"}})");
    const auto node = effective_config(
        parsed<NodeCommand>({"node", "--config", file, "--discover-address", "redis://h"}), environment_);
    ASSERT_TRUE(node);
    EXPECT_EQ(node->discovery.pass, "");  // the password of one server is not sent to another
}

TEST_F(EffectiveConfig, RelaysFromDiscoveryNeedDiscovery) {
    const auto flag = [&](std::initializer_list<const char*> more) {
        std::vector<std::string> arguments{"node", "--relays-from-discovery", "2"};
        arguments.insert(arguments.end(), more.begin(), more.end());
        return effective_config(parsed<NodeCommand>(arguments), environment_);
    };
    const auto on = flag({"--discover"});
    ASSERT_TRUE(on) << on.error().message;
    EXPECT_EQ(on->node.relays_from_discovery, 2U);
    const auto off = flag({});
    ASSERT_FALSE(off);
    EXPECT_EQ(off.error().message,
              "--relays-from-discovery or node.relays_from_discovery: discovery is off: add --discover");
    const std::string file = directory_.write("r.json", R"({"node": {"relays_from_discovery": 3}})");
    EXPECT_FALSE(effective_config(parsed<NodeCommand>({"node", "--config", file}), environment_));
    EXPECT_EQ(effective_config(parsed<NodeCommand>({"node", "--config", file, "--discover"}), environment_)
                  ->node.relays_from_discovery,
              3U);
    EXPECT_TRUE(effective_config(parsed<NodeCommand>({"node", "--config", file, "--relays-from-discovery", "0"}),
                                 environment_));
}

TEST_F(EffectiveConfig, RelaysAndMetricsByFlagAndFile) {
    const std::string relay = test_id(1) + "@192.0.2.1:4000";
    const auto node = effective_config(
        parsed<NodeCommand>({"node", "--relay-mode", "--connect-relay", relay, "--metrics", "[::1]:9"}), environment_);
    ASSERT_TRUE(node) << node.error().message;
    EXPECT_TRUE(node->node.relay_mode);
    EXPECT_EQ(node->node.connect_relay.size(), 1U);
    EXPECT_EQ(node->metrics.listen->format(), "[::1]:9");
    const std::string file =
        directory_.write("m.json", R"({"metrics": {"listen": "127.0.0.1:7"}, "node": {"relay_mode": true}})");
    const auto client =
        effective_config(parsed<ClientCommand>({"client", "--node", relay, "--config", file}), environment_);
    ASSERT_TRUE(client);
    EXPECT_EQ(client->metrics.listen->format(), "127.0.0.1:7");
    EXPECT_EQ(effective_config(parsed<NodeCommand>({"node", "--config", file, "--metrics", "127.0.0.2"}), environment_)
                  ->metrics.listen->format(),
              "127.0.0.2:9464");
}

}  // namespace
}  // namespace qanat::controlplane
