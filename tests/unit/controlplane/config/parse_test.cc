#include "controlplane/config/parse.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include "tests/unit/controlplane/config/temp_directory.h"
#include "tests/unit/controlplane/config/test_ids.h"

namespace qanat::controlplane {
namespace {

using namespace std::chrono_literals;

Config parsed(const std::string& text) {
    auto config = parse_config(text, "/etc/qanat/node.json");
    if (!config) {
        ADD_FAILURE() << text << "\n" << config.error().message;
        return {};
    }
    return std::move(*config);
}

std::string error_of(const std::string& text) {
    const auto config = parse_config(text, "node.json");
    if (config) return "no error";
    EXPECT_EQ(config.error().message.find('\n'), std::string::npos);
    return config.error().message;
}

NodeAddress address(const char* text) {
    return {*wire::Target::parse(text), NameFamily::any};
}

// A list of so many different addresses.
std::string addresses(int count) {
    std::string list;
    for (int i = 1; i <= count; ++i) list += (i == 1 ? "[\"" : ", \"") + std::string("a:") + std::to_string(i) + "\"";
    return list + "]";
}

TEST(ParseConfig, AnEmptyObjectIsTheDefaults) {
    EXPECT_EQ(parsed("{}"), Config{});
    EXPECT_EQ(parsed(" // nothing\n{ /* here */ } // either\n"), Config{});
    const Config config;
    EXPECT_EQ(config.server.listen.format(), "127.0.0.1:1080");
    EXPECT_FALSE(config.server.auth);
    EXPECT_EQ(config.routing.strategy, Strategy::random);
    EXPECT_EQ(config.routing.health, 30s);
    EXPECT_EQ(config.routing.timeout, 10s);
    EXPECT_TRUE(config.routing.punch);
    EXPECT_TRUE(config.node.punch);
    EXPECT_EQ(config.node.listen.size(), 1U);
    EXPECT_EQ(config.node.listen[0].format(), "0.0.0.0:4000");
    EXPECT_EQ(config.discovery.address.server.format(), "localhost:6379");
    EXPECT_EQ(config.discovery.topic, "qanat-nodes");
    EXPECT_EQ(config.data_plane.max_streams, 65536U);
    EXPECT_EQ(config.data_plane.suites.size(), 3U);
    EXPECT_EQ(config.data_plane.shutdown_grace, 10s);
    EXPECT_EQ(config.limits.sessions, 4096U);
    EXPECT_EQ(config.limits.unauthenticated, 4096U);
    EXPECT_EQ(config.limits.buffer_memory_mb, 0U);
    EXPECT_EQ(config.limits.resolver_queries, 1024U);
}

TEST(ParseConfig, ReadsEveryKey) {
    const std::string text = R"({
        // the whole of it
        "key": "network.key", "identity": "/var/lib/qanat/node.key",
        "server": { "listen": "127.0.0.1:9050", "auth": true, "user": "me", "pass": "secret" },
        "routing": { "strategy": "least-loaded", "health": "5s", "timeout": "500ms", "punch": false },
        "nodes": [
            { "id": ")" + test_id(1) +
                             R"(", "addrs": ["203.0.113.50:4000", "exit.example"] },
            { "addrs": [")" + test_id(2) +
                             R"(@[2001:db8::1]:443", "192.0.2.1:443"] },
            { "id": ")" + test_id(3) +
                             R"(", "addrs": [], "relay": ")" + test_id(4) + R"(@192.0.2.9:4000" },
            { "id": ")" + test_id(5) +
                             R"(", "addrs": "198.51.100.1", "via": [")" + test_id(4) + R"(@192.0.2.9:4000", ")" +
                             test_id(6) + R"(@192.0.2.10"] }
        ],
        "node": { "listen": ["0.0.0.0:4000", "[::1]:4001"], "region": "eu-1",
                  "announce": ["198.51.100.7:443", "exit.example"], "relay_mode": true,
                  "relay_limits": { "reservations": 1, "connections": 2, "streams": 3,
                                    "bytes_per_second": 1000000000000 },
                  "connect_relay": [")" +
                             test_id(4) + R"(@192.0.2.9:4000"],
                  "relays_from_discovery": 8, "punch": false,
                  "exit_policy": { "allow": ["10.0.0.0/8", "private"], "deny": ["192.0.2.0/24"] } },
        "discovery": { "enabled": true, "address": "redis://redis.example:7000/2", "topic": "t", "timeout": "2m",
                       "user": "u", "pass": "p" },
        "metrics": { "listen": "127.0.0.3:1" },
        "log": { "level": "debug", "format": "json" },
        "data_plane": { "cores": "0,2-3", "max_streams": 100, "busy_poll": true,
                        "suites": ["chacha20-poly1305", "aes-256-gcm"], "shutdown_grace": "0s" },
        "limits": { "sessions": 1, "unauthenticated": 2, "buffer_memory_mb": 4,
                    "resolver_queries": 5 } /* the end */
    })";
    Config expected;
    expected.key = "/etc/qanat/network.key";
    expected.identity = "/var/lib/qanat/node.key";
    expected.server = {*wire::Endpoint::parse("127.0.0.1:9050"), true, "me", "secret"};
    expected.routing = {Strategy::least_loaded, 5s, 500ms, false};
    const PeerAddress relay{test_key(4), address("192.0.2.9:4000")};
    const PeerAddress relay_2{test_key(6), address("192.0.2.10:4000")};
    expected.nodes = {{test_key(1), {address("203.0.113.50:4000"), address("exit.example:4000")}, {}, {}},
                      {test_key(2), {address("[2001:db8::1]:443"), address("192.0.2.1:443")}, {}, {}},
                      {test_key(3), {}, {relay}, {}},
                      {test_key(5), {address("198.51.100.1:4000")}, {}, {relay, relay_2}}};
    expected.node.listen = {*wire::Endpoint::parse("0.0.0.0:4000"), *wire::Endpoint::parse("[::1]:4001")};
    expected.node.relay_mode = true;
    expected.node.relay_limits = {1, 2, 3, 1'000'000'000'000};
    expected.metrics.listen = *wire::Endpoint::parse("127.0.0.3:1");
    expected.node.connect_relay = {relay};
    expected.node.relays_from_discovery = 8;
    expected.node.punch = false;
    expected.node.exit_policy.allow = {true, {*wire::Cidr::parse("10.0.0.0/8")}};
    expected.node.exit_policy.deny = {false, {*wire::Cidr::parse("192.0.2.0/24")}};
    expected.discovery = {true, {*wire::Target::parse("redis.example:7000"), 2, false, ""}, "t", 2min, "u", "p"};
    expected.node.region = "eu-1";
    expected.node.announce = {address("198.51.100.7:443"), address("exit.example:4000")};
    expected.log = {LogLevel::debug, LogFormat::json};
    expected.data_plane = {{{0, 2, 3}}, 100, true, {crypto::Suite::chacha20_poly1305, crypto::Suite::aes_256_gcm}, 0ms};
    expected.limits = {1, 2, 4, 5};
    EXPECT_EQ(parsed(text), expected);
}

TEST(ParseConfig, TheSampleOfTheDocumentationIsValid) {
    const Config config = parsed(R"({ "key": "network.key", "identity": "node.key",
      "server":    { "listen": "127.0.0.1:1080", "auth": false, "user": "", "pass": "" },
      "routing":   { "strategy": "round-robin", "health": "30s", "timeout": "10s" },
      "nodes":     [],
      "node":      { "listen": ["0.0.0.0:4000"], "relay_mode": false, "connect_relay": [], "exit_policy": { "allow": [], "deny": [] } },
      "discovery": { "enabled": false, "address": "redis://localhost:6379", "topic": "qanat-nodes", "timeout": "10s", "user": "", "pass": "" },
      "log":       { "level": "info", "format": "text" },
      "data_plane":{ "cores": "auto", "max_streams": 65536, "busy_poll": false } })");
    Config expected;
    expected.key = "/etc/qanat/network.key";
    expected.identity = "/etc/qanat/node.key";
    expected.routing.strategy = Strategy::round_robin;
    EXPECT_EQ(config, expected);
}

TEST(ParseConfig, PathsAreRelativeToTheFile) {
    const auto key_of = [](const std::string& text, const std::string& file) { return parse_config(text, file)->key; };
    EXPECT_EQ(key_of(R"({"key": "a/b.key"})", "node.json"), "a/b.key");
    EXPECT_EQ(key_of(R"({"key": "a/b.key"})", "x/node.json"), "x/a/b.key");
    EXPECT_EQ(key_of(R"({"key": "../b.key"})", "/x/node.json"), "/x/../b.key");
    EXPECT_EQ(key_of(R"({"key": "b.key"})", "/node.json"), "/b.key");
    EXPECT_EQ(key_of(R"({"key": "/a/b.key"})", "x/node.json"), "/a/b.key");
    EXPECT_EQ(key_of(R"({"key": ""})", "x/node.json"), "");
}

TEST(ParseConfig, CoresComeInThreeForms) {
    const auto cores_of = [](const std::string& value) {
        return parsed("{\"data_plane\": {\"cores\": " + value + "}}").data_plane.cores.list;
    };
    EXPECT_EQ(cores_of("\"auto\""), std::vector<uint32_t>{});
    EXPECT_EQ(cores_of("\"0,2-3\""), (std::vector<uint32_t>{0, 2, 3}));
    EXPECT_EQ(cores_of("[3, 0]"), (std::vector<uint32_t>{0, 3}));
}

TEST(ParseConfig, EveryStrategyLevelFormatAndSuite) {
    for (const auto strategy : {Strategy::random, Strategy::round_robin, Strategy::fastest, Strategy::least_loaded})
        EXPECT_EQ(parsed("{\"routing\": {\"strategy\": \"" + std::string(name_of(strategy)) + "\"}}").routing.strategy,
                  strategy);
    for (const auto level : {LogLevel::debug, LogLevel::info, LogLevel::warn, LogLevel::error})
        EXPECT_EQ(parsed("{\"log\": {\"level\": \"" + std::string(name_of(level)) + "\"}}").log.level, level);
    for (const auto format : {LogFormat::text, LogFormat::json})
        EXPECT_EQ(parsed("{\"log\": {\"format\": \"" + std::string(name_of(format)) + "\"}}").log.format, format);
    for (const auto suite : {crypto::Suite::aes_128_gcm, crypto::Suite::aes_256_gcm, crypto::Suite::chacha20_poly1305})
        EXPECT_EQ(parsed("{\"data_plane\": {\"suites\": [\"" + std::string(crypto::suite_name(suite)) + "\"]}}")
                      .data_plane.suites,
                  std::vector{suite});
}

TEST(ParseConfig, NumbersAndDurationsAtTheirEdges) {
    struct Case {
        const char* section;
        const char* key;
        const char* value;
        bool valid;
    };
    const Case cases[] = {
        {"limits", "sessions", "0", false},
        {"limits", "sessions", "1", true},
        {"limits", "sessions", "1048576", true},
        {"limits", "sessions", "1048577", false},
        {"limits", "unauthenticated", "0", false},
        {"limits", "unauthenticated", "65536", true},
        {"limits", "unauthenticated", "65537", false},
        {"limits", "buffer_memory_mb", "0", true},
        {"limits", "buffer_memory_mb", "1048576", true},
        {"limits", "buffer_memory_mb", "1048577", false},
        {"limits", "resolver_queries", "0", false},
        {"limits", "resolver_queries", "65536", true},
        {"data_plane", "max_streams", "0", false},
        {"data_plane", "max_streams", "1", true},
        {"data_plane", "max_streams", "4194304", true},
        {"data_plane", "max_streams", "4194305", false},
        {"data_plane", "max_streams", "4294967296", false},
        {"data_plane", "max_streams", "-1", false},
        {"data_plane", "max_streams", "1.0", false},
        {"data_plane", "max_streams", "1e3", false},
        {"data_plane", "max_streams", "99999999999999999999", false},
        {"data_plane", "max_streams", "18446744073709551616", false},
        {"node", "relay_limits", R"({"bytes_per_second": 0, "streams": 0, "connections": 0, "reservations": 0})", true},
        {"node", "relay_limits", R"({"bytes_per_second": 1000000000000})", true},
        {"routing", "health", "\"99ms\"", false},
        {"routing", "health", "\"100ms\"", true},
        {"routing", "health", "\"24h\"", true},
        {"routing", "health", "\"1441m\"", false},
        {"routing", "timeout", "\"99ms\"", false},
        {"routing", "timeout", "\"100ms\"", true},
        {"routing", "timeout", "\"10m\"", true},
        {"routing", "timeout", "\"601s\"", false},
        {"routing", "timeout", "\"0s\"", false},
        {"discovery", "timeout", "\"10m\"", true},
        {"discovery", "timeout", "\"11m\"", false},
        {"data_plane", "shutdown_grace", "\"0s\"", true},
        {"data_plane", "shutdown_grace", "\"1h\"", true},
        {"data_plane", "shutdown_grace", "\"61m\"", false},
    };
    for (const Case& c : cases) {
        const std::string text = std::string("{\"") + c.section + "\": {\"" + c.key + "\": " + c.value + "}}";
        const auto config = parse_config(text, "node.json");
        EXPECT_EQ(config.has_value(), c.valid) << text;
        if (config) continue;
        EXPECT_TRUE(config.error().message.starts_with(std::string("node.json: ") + c.section + "." + c.key + ": "))
            << config.error().message;
    }
}

TEST(ParseConfig, RelayLimitsAtTheirEdges) {
    const std::pair<const char*, uint64_t> most[] = {{"reservations", 1U << 20},
                                                     {"connections", 65535},
                                                     {"streams", 1U << 22},
                                                     {"bytes_per_second", 1'000'000'000'000}};
    for (const auto& [key, value] : most) {
        const auto text = [key = key](uint64_t limit) {
            return std::string(R"({"node": {"relay_limits": {")") + key + "\": " + std::to_string(limit) + "}}}";
        };
        EXPECT_TRUE(parse_config(text(value), "f")) << key;
        EXPECT_EQ(error_of(text(value + 1)), std::string("node.json: node.relay_limits.") + key +
                                                 ": expected a whole number from 0 to " + std::to_string(value) +
                                                 ", found the number " + std::to_string(value + 1));
    }
}

TEST(ParseConfig, LoginSizesAreThoseOfRfc1929) {
    const auto with = [](size_t user, size_t pass) {
        return "{\"server\": {\"auth\": true, \"user\": \"" + std::string(user, 'u') + "\", \"pass\": \"" +
               std::string(pass, 'p') + "\"}}";
    };
    EXPECT_EQ(parsed(with(1, 1)).server.user, "u");
    EXPECT_EQ(parsed(with(255, 255)).server.pass.size(), 255U);
    EXPECT_EQ(error_of(with(256, 1)), "node.json: server.user: longer than 255 bytes: choose a shorter one");
    EXPECT_EQ(error_of(with(1, 256)), "node.json: server.pass: longer than 255 bytes: choose a shorter one");
}

TEST(ParseConfig, RegionsAndAnnouncedAddressesAtTheirEdges) {
    EXPECT_EQ(parsed(R"({"node": {"region": ""}})").node.region, "");
    EXPECT_EQ(parsed(R"({"node": {"region": ")" + std::string(32, 'a') + R"("}})").node.region.size(), 32U);
    EXPECT_EQ(parsed(R"({"node": {"announce": []}})").node.announce.size(), 0U);
    EXPECT_EQ(parsed(R"({"node": {"announce": )" + addresses(16) + "}}").node.announce.size(), 16U);
}

// One error per kind, word by word: file, field, what is wrong, remedy.
TEST(ParseConfig, ErrorsArePinned) {
    const std::string id = test_id(1);
    struct Case {
        std::string text;
        std::string message;
    };
    const Case cases[] = {
        // keys
        {R"({"idnetity": "x"})", "idnetity: unknown key, did you mean \"identity\"?"},
        {R"({"server": {"lisen": "x"}})", "server.lisen: unknown key, did you mean \"listen\"?"},
        {R"({"node": {"exit_policy": {"alow": []}}})", "node.exit_policy.alow: unknown key, did you mean \"allow\"?"},
        {R"({"nodes": [{"adrs": []}]})", "nodes[0].adrs: unknown key, did you mean \"addrs\"?"},
        {R"({"data_plane": {"busy-poll": true}})", "data_plane.busy-poll: unknown key, did you mean \"busy_poll\"?"},
        {R"({"log": {"banana": 1}})", "log.banana: unknown key: the keys here are level, format"},
        {R"({"limits": {"a\u001bb": 1}})",
         "limits.a\\x1bb: unknown key: the keys here are sessions, unauthenticated, "
         "buffer_memory_mb, resolver_queries"},
        // types
        {"[]", "expected an object, {...}, found a list"},
        {R"({"key": 5})", "key: expected a string, found the number 5"},
        {R"({"key": null})", "key: expected a string, found null"},
        {R"({"server": "x"})", "server: expected an object, {...}, found a string"},
        {R"({"server": {"listen": 1080}})", "server.listen: expected a string, found the number 1080"},
        {R"({"server": {"auth": "yes"}})", "server.auth: expected true or false, found a string"},
        {R"({"server": {"auth": 1}})", "server.auth: expected true or false, found the number 1"},
        {R"({"server": {"pass": 5}})", "server.pass: expected a string, found the number 5"},
        {R"({"routing": {"health": 30}})", "routing.health: expected a duration like \"10s\", found the number 30"},
        {R"({"routing": []})", "routing: expected an object, {...}, found a list"},
        {R"({"nodes": {}})", "nodes: expected a list, [...], found an object"},
        {R"({"nodes": ["x"]})", "nodes[0]: expected an object, {...}, found a string"},
        {R"({"node": {"listen": 4000}})", "node.listen: expected a list, [...], found the number 4000"},
        {R"({"node": {"listen": "x"}})",
         "node.listen: \"x\": \"x\" is not an IP address: listen on an address of this machine, or on :4000 for all of "
         "them"},
        {R"({"node": {"listen": [4000]}})", "node.listen[0]: expected a string, found the number 4000"},
        {R"({"data_plane": {"max_streams": "many"}})",
         "data_plane.max_streams: expected a whole number from 1 to 4194304, found a string"},
        {R"({"data_plane": {"max_streams": true}})",
         "data_plane.max_streams: expected a whole number from 1 to 4194304, found true"},
        {R"({"limits": {"sessions": 1.5}})",
         "limits.sessions: expected a whole number from 1 to 1048576, found the number 1.5"},
        {R"({"limits": {"sessions": -4}})",
         "limits.sessions: expected a whole number from 1 to 1048576, found the number -4"},
        {R"({"key": "a\u0000b"})", "key: a control character is in this string: remove it"},
        {R"({"identity": "a\nb"})", "identity: a control character is in this string: remove it"},
        // server
        {R"({"server": {"listen": "127.0.0.1:70000"}})",
         "server.listen: the port \"70000\" of \"127.0.0.1:70000\" is out of range: write a number from 1 to 65535"},
        {R"({"server": {"auth": true}})", "server.user: server.auth is true: set user and pass, or set auth to false"},
        {R"({"server": {"auth": true, "user": "me"}})",
         "server.pass: server.auth is true: set user and pass, or set auth to false"},
        {R"({"server": {"user": "me", "pass": "x"}})",
         "server.auth: user and pass are set but auth is not true: set it to true, or remove user and pass"},
        // routing
        {R"({"routing": {"strategy": "fast"}})",
         "routing.strategy: unknown strategy \"fast\": use random, round-robin, fastest or least-loaded"},
        {R"({"routing": {"health": "30"}})",
         "routing.health: \"30\" is not a duration (the unit is missing): write it like 500ms, 10s, 2m or 1h"},
        {R"({"routing": {"timeout": "1ms"}})",
         "routing.timeout: \"1ms\" is out of range: write a duration from 100ms to 10m"},
        // nodes
        {R"({"nodes": [{"addrs": ["1.2.3.4:4000"]}]})",
         "nodes[0].id: missing: set the id that 'qanat id' prints on that node, or write ID@HOST:PORT in addrs"},
        {R"({"nodes": [{"id": ")" + id + R"("}]})", "nodes[0].addrs: no address: set at least one HOST:PORT"},
        {R"({"nodes": [{"id": "abc", "addrs": []}]})",
         "nodes[0].id: not a node id: a node id has 56 characters, this has 3; 'qanat id' prints it on the node"},
        {R"({"nodes": [{"id": ")" + id + R"(", "addrs": ["1.2.3.4"]}, {"id": ")" + test_id(2) +
             R"(", "addrs": ["203.0.113.50:70000"]}]})",
         "nodes[1].addrs[0]: the port \"70000\" of \"203.0.113.50:70000\" is out of range: write a number from 1 to "
         "65535"},
        {R"({"nodes": [{"id": ")" + id + R"(", "addrs": ["1.2.3.4", ")" + test_id(2) + R"(@1.2.3.5"]}]})",
         "nodes[0].addrs[1]: another node id than the rest of this entry: make one entry for each node"},
        {R"({"nodes": [{"addrs": [")" + id + R"(@1.2.3.4", ")" + test_id(2) + R"(@1.2.3.5"]}]})",
         "nodes[0].addrs[1]: another node id than the rest of this entry: make one entry for each node"},
        {R"({"nodes": [{"id": ")" + id + R"(", "addrs": ["1.2.3.4", "1.2.3.4:4000"]}]})",
         "nodes[0].addrs[1]: given twice: remove one of them"},
        {R"({"nodes": [{"id": ")" + id + R"(", "addrs": ["1.2.3.4"]}, {"id": ")" + id + R"(", "addrs": ["1.2.3.5"]}]})",
         "nodes[1].id: the same node as nodes[0]: put all its addresses into one entry"},
        {R"({"nodes": [{"id": ")" + id + R"(", "relay": "1.2.3.4"}]})",
         "nodes[0].relay: \"1.2.3.4\" has no node id: write ID@HOST:PORT, with the id that 'qanat id' prints on the "
         "node"},
        {R"({"nodes": [{"id": ")" + id + R"(", "via": [")" + test_id(2) + R"(@a", ")" + id + R"(@b"]}]})",
         "nodes[0].via: the node itself: name the relays in front of it only"},
        {R"({"nodes": [{"addrs": [")" + id + R"(@a"], "relay": ")" + id + R"(@b"}]})",
         "nodes[0].relay: the node itself: name another node, or only its own address in addrs"},
        {R"({"nodes": [{"id": ")" + id + R"(", "via": ")" + test_id(2) + R"(@a", "relay": ")" + test_id(3) +
             R"(@b"}]})",
         "nodes[0].via: stands beside relay: name the whole path in via, or the relays in relay"},
        // metrics
        {R"({"metrics": {"listen": "0.0.0.0:9464"}})",
         "metrics.listen: \"0.0.0.0:9464\" can be reached from other machines, and nothing here asks for a password: "
         "write 127.0.0.1:9464, and let a proxy or a tunnel of your own reach it"},
        {R"({"metrics": {"port": 1}})", "metrics.port: unknown key: the keys here are listen"},
        // node
        {R"({"node": {"relay_limits": {"stream": 1}}})",
         "node.relay_limits.stream: unknown key, did you mean \"streams\"?"},
        {R"({"node": {"connect_relay": [")" + id + R"(@a", ")" + id + R"(@a:4000"]}})",
         "node.connect_relay[1]: given twice: remove one of them"},
        {R"({"node": {"listen": []}})", "node.listen: an empty list: set at least one HOST:PORT, or remove the key"},
        {R"({"node": {"listen": [":4000", "[::]:4000"]}})", "node.listen[1]: given twice: remove one of them"},
        {R"({"node": {"connect_relay": ["x"]}})",
         "node.connect_relay[0]: \"x\" has no node id: write ID@HOST:PORT, with the id that 'qanat id' prints on the "
         "node"},
        {R"({"node": {"exit_policy": {"deny": ["private", "10.0.0.0/40"]}}})",
         "node.exit_policy.deny[1]: \"10.0.0.0/40\" is not a block of addresses: write it like 10.0.0.0/8, fc00::/7 or "
         "private"},
        {R"({"node": {"region": "EU"}})",
         "node.region: not a region: write at most 32 of a-z, 0-9 and \"-\", like eu-central-1"},
        {R"({"node": {"region": ")" + std::string(33, 'a') + R"("}})",
         "node.region: not a region: write at most 32 of a-z, 0-9 and \"-\", like eu-central-1"},
        {R"({"node": {"announce": [")" + id + R"(@1.2.3.4:5"]}})",
         "node.announce[0]: a node announces its own id: write HOST:PORT alone"},
        {R"({"node": {"announce": ["a:1", "0.0.0.0:4000"]}})",
         "node.announce[1]: \"0.0.0.0:4000\" is no address that can be dialled: write the address of the node"},
        {R"({"node": {"announce": ["a", "a:4000"]}})", "node.announce[1]: given twice: remove one of them"},
        {R"({"node": {"announce": )" + addresses(17) + "}}", "node.announce[16]: more than 16 addresses: remove some"},
        // discovery
        {R"({"discovery": {"address": "unix://x"}})",
         "discovery.address: the Redis URL has no absolute path of a Unix socket: write it like "
         "redis+unix:///run/redis/redis.sock?db=0"},
        {R"({"discovery": {"address": "localhost"}})",
         "discovery.address: not a Redis URL: write it like redis://user:pass@localhost:6379/0"},
        {R"({"discovery": {"topic": "a b"}})",
         "discovery.topic: not a topic: write 1 to 128 characters without spaces"},
        {R"({"discovery": {"topic": ""}})", "discovery.topic: not a topic: write 1 to 128 characters without spaces"},
        {R"({"discovery": {"user": "u"}})",
         "discovery.pass: missing, discovery.user is set: set the password, or remove the user"},
        {R"({"discovery": {"address": "redis://:a@h", "pass": "b"}})",
         "discovery.address: a password here and in discovery.pass: write it in one of the two"},
        // log
        {R"({"log": {"level": "loud"}})", "log.level: unknown level \"loud\": use debug, info, warn or error"},
        {R"({"log": {"format": "xml"}})", "log.format: unknown format \"xml\": use text or json"},
        // data_plane
        {R"({"data_plane": {"cores": "0-"}})",
         "data_plane.cores: \"0-\" is not a list of cores: write \"auto\" or a list like \"0,2-3\""},
        {R"({"data_plane": {"cores": []}})",
         "data_plane.cores: no core is given: write \"auto\" or a list like \"0,2-3\""},
        {R"({"data_plane": {"cores": [0, "1"]}})",
         "data_plane.cores[1]: expected the number of a core, found a string"},
        {R"({"data_plane": {"cores": [-1]}})",
         "data_plane.cores[0]: expected the number of a core, found the number -1"},
        {R"({"data_plane": {"cores": [1, 1]}})", "data_plane.cores: core 1 is given twice: name each core once"},
        {R"({"data_plane": {"cores": 4}})",
         "data_plane.cores: expected \"auto\", a list like \"0,2-3\" or [0, 2, 3], found the number 4"},
        {R"({"data_plane": {"suites": []}})",
         "data_plane.suites: an empty list: name at least one suite, or remove the key"},
        {R"({"data_plane": {"suites": ["rot13"]}})",
         "data_plane.suites[0]: unknown suite \"rot13\": use aes-128-gcm, aes-256-gcm or chacha20-poly1305"},
        {R"({"data_plane": {"suites": ["aes-128-gcm", "aes-128-gcm"]}})",
         "data_plane.suites[1]: given twice: remove one of them"},
    };
    for (const Case& c : cases) EXPECT_EQ(error_of(c.text), "node.json: " + c.message) << c.text;
}

TEST(ParseConfig, SyntaxErrorsNameLineAndColumn) {
    struct Case {
        std::string text;
        std::string message;
    };
    const Case cases[] = {
        {"", "node.json:1:1: Syntax error: value, object or array expected"},
        {"{", "node.json:1:2: Missing '}' or object member name"},
        {"{\n  \"key\": \"a\"\n  \"identity\": \"b\"\n}", "node.json:3:3: Missing ',' or '}' in object declaration"},
        {"{\"key\": \"a\",}", "node.json:1:13: Missing '}' or object member name"},
        {"{\"nodes\": [1,]}", "node.json:1:14: Syntax error: value, object or array expected"},
        {"{\"key\": 'a'}", "node.json:1:9: Syntax error: value, object or array expected"},
        {"{\n\"key\": \"a\",\n\"key\": \"b\"\n}", "node.json:3:1: Duplicate key: 'key', remove one of the two"},
        {"{\"log\": {\"level\": \"info\", \"level\": \"warn\"}}",
         "node.json:1:27: Duplicate key: 'level', remove one of the two"},
        {"{} {}", "node.json:1:4: Extra non-whitespace after JSON value"},
        {"{} x", "node.json:1:4: Extra non-whitespace after JSON value"},
        {"5", "node.json:1:1: A valid JSON document must be either an array or an object value"},
    };
    for (const Case& c : cases) EXPECT_EQ(error_of(c.text), c.message) << c.text;
    EXPECT_EQ(error_of(std::string(5000, '[')),
              "node.json: nested too deeply: no field of a configuration is that deep");
    for (const char* text : {"{\"data_plane\": {\"max_streams\": NaN}}", "{\"key\": \"a\nb\"", "{1: 2}",
                             "{\"key\": \"\\x\"}", "{\"a", "/* open"})
        EXPECT_TRUE(error_of(text).starts_with("node.json:")) << text;
}

// Whatever is cut off or flipped: never a crash, at most one line.
TEST(ParseConfig, DamagedFilesGiveOneLine) {
    const std::string text = R"({"server": {"listen": "127.0.0.1:1080", "auth": true, "user": "a", "pass": "b"},
        "data_plane": {"cores": [0, 1], "max_streams": 12}, "log": {"level": "info"}, "node": {"listen": [":1"]}})";
    for (size_t size = 0; size < text.size(); ++size) EXPECT_NE(error_of(text.substr(0, size)), "no error") << size;
    for (size_t i = 0; i < text.size(); ++i)
        for (int bit = 0; bit < 8; ++bit) {
            std::string damaged = text;
            damaged[i] = static_cast<char>(static_cast<uint8_t>(damaged[i]) ^ (1U << bit));
            const std::string message = error_of(damaged);
            for (const char c : message) ASSERT_TRUE(c >= 0x20 && c < 0x7f) << message;
        }
}

TEST(LoadConfig, ReadsAFileAndNamesIt) {
    const TempDirectory directory;
    const std::string file = directory.write("node.json", R"({"key": "k"})", 0644);
    EXPECT_EQ(load_config(file)->key, directory / "k");
    EXPECT_EQ(load_config(directory / "none.json").error().message,
              directory / "none.json" +
                  ": cannot be read (No such file or directory): check the path given with --config, "
                  "and that this user may read it");
    EXPECT_EQ(load_config(directory.path()).error().message,
              directory.path() +
                  ": cannot be read (Is a directory): check the path given with --config, and that this user "
                  "may read it");
    directory.write("big.json", std::string(kConfigSizeMax + 1, ' '));
    EXPECT_EQ(load_config(directory / "big.json").error().message,
              directory / "big.json" + ": larger than 1 MiB: this is not a configuration file; check the path");
    directory.write("large.json", "{}" + std::string(kConfigSizeMax - 2, ' '));
    EXPECT_TRUE(load_config(directory / "large.json"));
}

TEST(LoadConfig, ReadsAPipe) {
    int pipe[2];
    ASSERT_EQ(::pipe(pipe), 0);
    ASSERT_EQ(::write(pipe[1], "{\"log\": {\"level\": \"warn\"}}", 26), 26);
    ::close(pipe[1]);
    const auto config = load_config("/dev/fd/" + std::to_string(pipe[0]));
    ::close(pipe[0]);
    ASSERT_TRUE(config) << config.error().message;
    EXPECT_EQ(config->log.level, LogLevel::warn);
}

}  // namespace
}  // namespace qanat::controlplane
