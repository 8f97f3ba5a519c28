#include "controlplane/cli/command_line.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/unit/controlplane/config/test_ids.h"

namespace qanat::controlplane {
namespace {

using Arguments = std::vector<std::string>;
using ::testing::HasSubstr;

template <class T>
T parsed(const Arguments& arguments) {
    auto result = parse_command_line(arguments);
    if (const auto* exit = std::get_if<CliExit>(&result)) {
        ADD_FAILURE() << exit->text;
        return {};
    }
    auto* command = std::get_if<T>(&std::get<Command>(result));
    if (command == nullptr) {
        ADD_FAILURE() << "another command";
        return {};
    }
    return std::move(*command);
}

PeerAddress peer(uint8_t number, const char* target) {
    return {test_key(number), {*wire::Target::parse(target), NameFamily::any}};
}

TEST(CommandLine, Keygen) {
    EXPECT_EQ(parsed<KeygenCommand>({"keygen"}).out, "");
    EXPECT_EQ(parsed<KeygenCommand>({"keygen", "--out", "a.key"}).out, "a.key");
    EXPECT_EQ(parsed<KeygenCommand>({"keygen", "--out=a.key"}).out, "a.key");
    EXPECT_EQ(parsed<KeygenCommand>({"keygen", "--out", "-"}).out, "-");
    EXPECT_EQ(parsed<KeygenCommand>({"keygen", "--out", "node"}).out, "node");
}

TEST(CommandLine, Id) {
    EXPECT_EQ(parsed<IdCommand>({"id"}).identity, "");
    EXPECT_EQ(parsed<IdCommand>({"id", "--identity", "x.key"}).identity, "x.key");
}

TEST(CommandLine, StatusAndVersion) {
    EXPECT_FALSE(parsed<StatusCommand>({"status"}).json);
    EXPECT_TRUE(parsed<StatusCommand>({"status", "--json"}).json);
    EXPECT_EQ(parsed<StatusCommand>({"status", "--admin", "/x.sock"}).admin, "/x.sock");
    EXPECT_TRUE(parsed<PeersCommand>({"peers", "--json", "--admin", "/x.sock"}).json);
    EXPECT_EQ(parsed<ReloadCommand>({"reload", "--admin", "/x.sock"}).admin, "/x.sock");
    const auto explain = parsed<ExplainCommand>({"explain", "--json", "[2001:db8::1]:443", "--admin", "/x.sock"});
    EXPECT_EQ(explain.target.format(), "[2001:db8::1]:443");
    EXPECT_TRUE(explain.json);
    EXPECT_EQ(explain.admin, "/x.sock");
    EXPECT_FALSE(parsed<DrainCommand>({"drain"}).timeout);
    EXPECT_EQ(parsed<DrainCommand>({"drain", "--timeout", "0s"}).timeout, Duration(0));
    EXPECT_EQ(parsed<DrainCommand>({"drain", "--timeout", "24h", "--json"}).timeout, std::chrono::hours(24));
    parsed<VersionCommand>({"version"});
    parsed<VersionCommand>({"--version"});
}

TEST(CommandLine, NodeWithoutFlagsLeavesEverythingToTheFile) {
    const auto node = parsed<NodeCommand>({"node"});
    EXPECT_TRUE(node.listen.empty());
    EXPECT_FALSE(node.allow);
    EXPECT_FALSE(node.relay_mode);
    EXPECT_FALSE(node.flags.cores);
    EXPECT_FALSE(node.flags.busy_poll);
    EXPECT_FALSE(node.flags.log_level);
    EXPECT_FALSE(node.flags.log_format);
    EXPECT_FALSE(node.flags.discover);
    EXPECT_EQ(node.flags.config + node.flags.key + node.flags.identity + node.flags.admin, "");
}

TEST(CommandLine, NodeTakesEveryFlag) {
    const auto node = parsed<NodeCommand>({"node",
                                           "--config",
                                           "c.json",
                                           "--listen",
                                           "0.0.0.0:4000",
                                           "--listen",
                                           "[::1]:4001",
                                           "--listen",
                                           "0.0.0.0:4000",
                                           "--key",
                                           "n.key",
                                           "--identity",
                                           "i.key",
                                           "--relay-mode",
                                           "--connect-relay",
                                           test_id(1) + "@192.0.2.1:4000",
                                           "--connect-relay",
                                           test_id(2) + "@192.0.2.2:4000",
                                           "--relays-from-discovery",
                                           "8",
                                           "--discover",
                                           "--discover-address",
                                           "redis://h:1/2",
                                           "--discover-topic",
                                           "t",
                                           "--allow",
                                           "10.0.0.0/8",
                                           "--allow",
                                           "private",
                                           "--cores",
                                           "0,2-3",
                                           "--busy-poll",
                                           "--admin",
                                           "a.sock",
                                           "--metrics",
                                           "127.0.0.1:9",
                                           "--log-level",
                                           "debug",
                                           "--log-format",
                                           "json"});
    EXPECT_EQ(node.flags.config, "c.json");
    EXPECT_EQ(node.flags.key, "n.key");
    EXPECT_EQ(node.flags.identity, "i.key");
    EXPECT_EQ(node.flags.admin, "a.sock");
    ASSERT_EQ(node.listen.size(), 2U);
    EXPECT_EQ(node.listen[0].format(), "0.0.0.0:4000");
    EXPECT_EQ(node.listen[1].format(), "[::1]:4001");
    EXPECT_TRUE(node.relay_mode);
    EXPECT_EQ(node.connect_relay, (std::vector{peer(1, "192.0.2.1:4000"), peer(2, "192.0.2.2:4000")}));
    EXPECT_EQ(node.relays_from_discovery, 8U);
    EXPECT_TRUE(node.flags.discover);
    EXPECT_EQ(node.flags.discover_address, "redis://h:1/2");
    EXPECT_EQ(node.flags.discover_topic, "t");
    EXPECT_EQ(node.allow, (PolicyList{true, {*wire::Cidr::parse("10.0.0.0/8")}}));
    EXPECT_EQ(node.flags.cores, (Cores{{0, 2, 3}}));
    EXPECT_EQ(node.flags.busy_poll, true);
    EXPECT_EQ(node.flags.metrics->format(), "127.0.0.1:9");
    EXPECT_EQ(node.flags.log_level, LogLevel::debug);
    EXPECT_EQ(node.flags.log_format, LogFormat::json);
}

TEST(CommandLine, ClientTakesEveryFlag) {
    const auto client = parsed<ClientCommand>({"client",
                                               "--config",
                                               "c.json",
                                               "--socks",
                                               ":1081",
                                               "--node",
                                               test_id(1) + "@192.0.2.1",
                                               "--node",
                                               "/ip4/192.0.2.2/tcp/4001/p2p/" + test_id(2),
                                               "--node",
                                               test_id(1) + "@[2001:db8::1]:5",
                                               "--key",
                                               "n.key",
                                               "--identity",
                                               "i.key",
                                               "--strategy",
                                               "round-robin",
                                               "--cores",
                                               "auto",
                                               "--busy-poll",
                                               "--admin",
                                               "a.sock",
                                               "--log-level",
                                               "error",
                                               "--log-format",
                                               "text",
                                               "--discover"});
    EXPECT_EQ(client.flags.config, "c.json");
    EXPECT_EQ(client.socks->format(), "[::]:1081");
    EXPECT_EQ(client.nodes,
              (std::vector{peer(1, "192.0.2.1:4000"), peer(2, "192.0.2.2:4001"), peer(1, "[2001:db8::1]:5")}));
    EXPECT_EQ(client.strategy, Strategy::round_robin);
    EXPECT_EQ(client.flags.cores, Cores{});
    EXPECT_EQ(client.flags.busy_poll, true);
    EXPECT_EQ(client.flags.log_level, LogLevel::error);
    EXPECT_TRUE(client.flags.discover);
    for (const auto strategy : {Strategy::random, Strategy::round_robin, Strategy::fastest, Strategy::least_loaded})
        EXPECT_EQ(parsed<ClientCommand>({"client", "--strategy", std::string(name_of(strategy))}).strategy, strategy);
}

TEST(CommandLine, HelpExplainsAndGivesExamples) {
    for (const char* flag : {"--help", "-h"}) {
        for (const Arguments& words : {Arguments{},
                                       {"keygen"},
                                       {"id"},
                                       {"node"},
                                       {"client"},
                                       {"status"},
                                       {"peers"},
                                       {"explain"},
                                       {"reload"},
                                       {"drain"},
                                       {"version"}}) {
            Arguments arguments = words;
            arguments.emplace_back(flag);
            const auto result = parse_command_line(arguments);
            const auto* exit = std::get_if<CliExit>(&result);
            ASSERT_NE(exit, nullptr);
            EXPECT_EQ(exit->status, kExitOk);
            EXPECT_TRUE(exit->text.ends_with('\n'));
            if (!words.empty()) {
                EXPECT_THAT(exit->text, HasSubstr("Usage: qanat " + words[0]));
            }
            if (!words.empty() && words[0] != "version") {
                EXPECT_THAT(exit->text, HasSubstr("Examples:\n  qanat " + words[0]));
            }
        }
    }
    const auto program = std::get<CliExit>(parse_command_line({"--help"})).text;
    for (const char* name :
         {"keygen ", "id ", "node ", "client ", "status ", "peers ", "explain ", "reload ", "drain ", "version "})
        EXPECT_THAT(program, HasSubstr("\n  " + std::string(name)));
    const auto node = std::get<CliExit>(parse_command_line({"node", "--help"})).text;
    for (const char* flag :
         {"--config", "--listen", "--key", "--identity", "--relay-mode", "--connect-relay", "--relays-from-discovery",
          "--discover", "--discover-address", "--discover-topic", "--allow", "--cores", "--busy-poll", "--admin",
          "--log-level", "--log-format", "--metrics"})
        EXPECT_THAT(node, HasSubstr("\n  " + std::string(flag) + " "));
    EXPECT_THAT(node, HasSubstr("A flag beats the configuration file"));
}

TEST(CommandLine, HelpWinsOverOtherMistakes) {
    const auto result = std::get<CliExit>(parse_command_line({"node", "--listen", "nonsense:0", "--help"}));
    EXPECT_EQ(result.status, kExitOk);
}

TEST(CommandLine, UsageErrorsAreOneLineWithTheRemedy) {
    struct Case {
        Arguments arguments;
        std::string message;
    };
    const Case cases[] = {
        {{},
         "no command: use keygen, id, node, client, status, peers, explain, reload, drain or version (see 'qanat "
         "--help')"},
        {{"nod"}, "unknown command \"nod\", did you mean \"node\"? (see 'qanat --help')"},
        {{"banana"}, "unknown command \"banana\" (see 'qanat --help')"},
        {{"peer"}, "unknown command \"peer\", did you mean \"peers\"? (see 'qanat --help')"},
        {{"--foo"}, "unknown flag \"--foo\" (see 'qanat --help')"},
        {{"--foo", "node"}, "unknown flag \"--foo\" (see 'qanat node --help')"},
        {{""}, "unknown command \"\" (see 'qanat --help')"},
        {{"bad\nname\x1b"}, "unknown command \"bad\\nname\\x1b\" (see 'qanat --help')"},
        {{"node", "--lisen", ":4000"},
         "unknown flag \"--lisen\", did you mean \"--listen\"? (see 'qanat node --help')"},
        {{"node", "--lisen=:4000"}, "unknown flag \"--lisen\", did you mean \"--listen\"? (see 'qanat node --help')"},
        {{"node", "--node", "x"}, "unknown flag \"--node\" (see 'qanat node --help')"},
        {{"node", "-x"}, "unknown flag \"-x\" (see 'qanat node --help')"},
        {{"node", "client"}, "unexpected argument \"client\" (see 'qanat node --help')"},
        {{"node", "--", "x"}, "unexpected argument \"x\" (see 'qanat node --help')"},
        {{"node", "--listen", ":4000", ":4001"}, "unexpected argument \":4001\" (see 'qanat node --help')"},
        {{"node", "--listen"}, "--listen: the value is missing: write one behind the flag (see 'qanat node --help')"},
        {{"node", "--listen", "--busy-poll"},
         "--listen: the value is missing: write one behind the flag (see 'qanat node --help')"},
        {{"node", "--busy-poll=false"}, "--busy-poll: takes no value: write it alone (see 'qanat node --help')"},
        {{"node", "--key", "a", "--key", "b"}, "--key: given 2 times: give it once (see 'qanat node --help')"},
        {{"node", "--key", ""}, "--key: the path is empty: name a file (see 'qanat node --help')"},
        {{"node", "--listen", ""},
         "--listen: an address is missing: write HOST:PORT, or :PORT for all addresses (see 'qanat node --help')"},
        {{"node", "--listen", "1.2.3.4:99999"},
         "--listen: the port \"99999\" of \"1.2.3.4:99999\" is out of range: write a number from 1 to 65535 (see "
         "'qanat "
         "node --help')"},
        {{"node", "--listen", ":4000", "--listen", "::1:2"},
         "--listen: \"::1:2\" has several colons: put IPv6 addresses in brackets, like [2001:db8::1]:4000 (see 'qanat "
         "node --help')"},
        {{"node", "--allow", "10.0.0.0/33"},
         "--allow: \"10.0.0.0/33\" is not a block of addresses: write it like 10.0.0.0/8, fc00::/7 or private (see "
         "'qanat "
         "node --help')"},
        {{"node", "--cores", "3-1"},
         "--cores: the range \"3-1\" runs backwards: write \"auto\" or a list like \"0,2-3\" (see 'qanat node "
         "--help')"},
        {{"node", "--log-level", "loud"},
         "--log-level: unknown value \"loud\": use debug, info, warn or error (see 'qanat node --help')"},
        {{"node", "--log-format", "xml"},
         "--log-format: unknown value \"xml\": use text or json (see 'qanat node --help')"},
        {{"node", "--connect-relay", "1.2.3.4:5"},
         "--connect-relay: \"1.2.3.4:5\" has no node id: write ID@HOST:PORT, with the id that 'qanat id' prints on the "
         "node (see 'qanat node --help')"},
        {{"node", "--relays-from-discovery", "9"},
         "--relays-from-discovery: \"9\" is no number of relays: write 0 to 8 (see 'qanat node --help')"},
        {{"node", "--relays-from-discovery", "two"},
         "--relays-from-discovery: \"two\" is no number of relays: write 0 to 8 (see 'qanat node --help')"},
        {{"node", "--discover-address", "localhost"},
         "--discover-address: not a Redis URL: write it like redis://user:pass@localhost:6379/0 (see 'qanat node "
         "--help')"},
        {{"node", "--discover-topic", ""},
         "--discover-topic: not a topic: write 1 to 128 characters without spaces (see 'qanat node --help')"},
        {{"client", "--node", "1.2.3.4:4000"},
         "--node: \"1.2.3.4:4000\" has no node id: write ID@HOST:PORT, with the id that 'qanat id' prints on the node "
         "(see "
         "'qanat client --help')"},
        {{"client", "--node", "abc@1.2.3.4:4000"},
         "--node: not a node id: a node id has 56 characters, this has 3; 'qanat id' prints it on the node (see 'qanat "
         "client --help')"},
        {{"client", "--strategy", "fast"},
         "--strategy: unknown value \"fast\": use random, round-robin, fastest or least-loaded (see 'qanat client "
         "--help')"},
        {{"client", "--socks", ":1", "--socks", ":2"},
         "--socks: given 2 times: give it once (see 'qanat client --help')"},
        {{"client", "--listen", ":1"}, "unknown flag \"--listen\" (see 'qanat client --help')"},
        {{"node", "--metrics", ":9464"},
         "--metrics: \":9464\" can be reached from other machines, and nothing here asks for a password: write "
         "127.0.0.1:9464, and let a proxy or a tunnel of your own reach it (see 'qanat node --help')"},
        {{"explain"}, "HOST:PORT is missing: write it behind the command (see 'qanat explain --help')"},
        {{"explain", "example.org"},
         "HOST:PORT: \"example.org\" has no port: write HOST:PORT, like example.org:443 (see 'qanat explain --help')"},
        {{"explain", "a:1", "b:2"}, "unexpected argument \"b:2\" (see 'qanat explain --help')"},
        {{"explain", "--jso", "a:1"}, "unknown flag \"--jso\", did you mean \"--json\"? (see 'qanat explain --help')"},
        {{"drain", "--timeout", "10"},
         "--timeout: \"10\" is not a duration (the unit is missing): write it like 500ms, 10s, 2m or 1h (see 'qanat "
         "drain --help')"},
        {{"drain", "--timeout", "25h"}, "--timeout: \"25h\" is too long: write at most 24h (see 'qanat drain --help')"},
        {{"reload", "now"}, "unexpected argument \"now\" (see 'qanat reload --help')"},
        {{"version", "x"}, "unexpected argument \"x\" (see 'qanat version --help')"},
        {{"status", "--jso"}, "unknown flag \"--jso\", did you mean \"--json\"? (see 'qanat status --help')"},
    };
    for (const Case& c : cases) {
        const auto result = parse_command_line(c.arguments);
        const auto* exit = std::get_if<CliExit>(&result);
        ASSERT_NE(exit, nullptr) << c.message;
        EXPECT_EQ(exit->status, kExitUsage);
        EXPECT_EQ(exit->text, "qanat: " + c.message + "\n");
    }
}

TEST(CommandLine, ErrorLinesStayOneLine) {
    EXPECT_EQ(error_line("a\\nb"), "qanat: a\\nb\n");
    EXPECT_EQ(error_line("a\nb\x1b[2J\xff"), "qanat: a\\nb\\x1b[2J\\xff\n");
}

}  // namespace
}  // namespace qanat::controlplane
