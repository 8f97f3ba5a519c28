#include "controlplane/config/addresses.h"

#include <gtest/gtest.h>

#include "tests/unit/controlplane/config/test_ids.h"

namespace qanat::controlplane {
namespace {

TEST(ListenAddress, AcceptsAddressesOfThisMachine) {
    struct Case {
        const char* text;
        const char* endpoint;
    };
    const Case cases[] = {
        {"127.0.0.1:1080", "127.0.0.1:1080"},
        {"0.0.0.0:4000", "0.0.0.0:4000"},
        {"[::]:4000", "[::]:4000"},
        {":4000", "[::]:4000"},
        {"*:4000", "[::]:4000"},
        {"[::1]:1", "[::1]:1"},
        {"localhost:9050", "127.0.0.1:9050"},
        {"1.2.3.4:65535", "1.2.3.4:65535"},
        {"127.0.0.1:0", "127.0.0.1:0"},  // any free port
        {"1.2.3.4", "1.2.3.4:4000"},
        {"[2001:DB8::1]", "[2001:db8::1]:4000"},
        {"[::ffff:1.2.3.4]:5", "1.2.3.4:5"},
    };
    for (const Case& c : cases) {
        const auto endpoint = parse_listen(c.text, kTunnelPort);
        ASSERT_TRUE(endpoint) << c.text << ": " << endpoint.error().message;
        EXPECT_EQ(endpoint->format(), c.endpoint) << c.text;
    }
}

TEST(ListenAddress, RefusesTheRestWithARemedy) {
    struct Case {
        const char* text;
        const char* message;
    };
    const Case cases[] = {
        {"", "an address is missing: write HOST:PORT, or :PORT for all addresses"},
        {"127.0.0.1:65536",
         "the port \"65536\" of \"127.0.0.1:65536\" is out of range: write a number from 1 to 65535"},
        {"127.0.0.1:", "the port \"\" of \"127.0.0.1:\" is out of range: write a number from 1 to 65535"},
        {"127.0.0.1:80x", "the port \"80x\" of \"127.0.0.1:80x\" is out of range: write a number from 1 to 65535"},
        {"127.0.0.1:080", "the port \"080\" of \"127.0.0.1:080\" is out of range: write a number from 1 to 65535"},
        {"::1:4000", "\"::1:4000\" has several colons: put IPv6 addresses in brackets, like [2001:db8::1]:4000"},
        {"[::1:4000", "\"[::1:4000\" has a \"[\" without a \"]\": write IPv6 addresses like [2001:db8::1]:4000"},
        {"[::1]4000", "\"[::1]4000\" has something between \"]\" and the port: write it like [2001:db8::1]:4000"},
        {"exit.example:4000",
         "\"exit.example:4000\": \"exit.example\" is not an IP address: listen on an address of this "
         "machine, or on :4000 for all of them"},
        {"[1.2.3.4]:80",
         "\"[1.2.3.4]:80\": \"1.2.3.4\" is not an IP address: listen on an address of this machine, or on "
         ":80 for all of them"},
        {"[]:80",
         "\"[]:80\": \"\" is not an IP address: listen on an address of this machine, or on :80 for all of them"},
        {"1.2.3.256:80",
         "\"1.2.3.256:80\": \"1.2.3.256\" is not an IP address: listen on an address of this machine, or on "
         ":80 for all of them"},
    };
    for (const Case& c : cases) {
        const auto endpoint = parse_listen(c.text, kTunnelPort);
        ASSERT_FALSE(endpoint) << c.text;
        EXPECT_EQ(endpoint.error().message, c.message);
    }
    for (const char* text : {"127.0.0.1:-1", "127.0.0.1:+80", "127.0.0.1: 80", " 127.0.0.1:80", "127.0.0.1:80 ",
                             "01.2.3.4:5", "[fe80::1%eth0]:80", "127.0.0.1:99999999999999999999"})
        EXPECT_FALSE(parse_listen(text, kTunnelPort)) << text;
}

TEST(NodeAddress, AcceptsEveryForm) {
    const std::string id = test_id(7);
    struct Case {
        std::string text;
        const char* target;
        bool has_id;
        NameFamily family;
    };
    const Case cases[] = {
        {"203.0.113.50:4000", "203.0.113.50:4000", false, NameFamily::any},
        {"203.0.113.50", "203.0.113.50:4000", false, NameFamily::any},
        {id + "@203.0.113.50:443", "203.0.113.50:443", true, NameFamily::any},
        {id + "@[2001:db8::1]:443", "[2001:db8::1]:443", true, NameFamily::any},
        {id + "@[2001:db8::1]", "[2001:db8::1]:4000", true, NameFamily::any},
        {id + "@exit-1.example.org:4001", "exit-1.example.org:4001", true, NameFamily::any},
        {id + "@exit_1", "exit_1:4000", true, NameFamily::any},
        {id + "@localhost:1", "localhost:1", true, NameFamily::any},
        {id + "@exit.example.:4000", "exit.example.:4000", true, NameFamily::any},
        {id + "@4.example:4000", "4.example:4000", true, NameFamily::any},
        {"/ip4/1.2.3.4/tcp/4000/p2p/" + id, "1.2.3.4:4000", true, NameFamily::any},
        {"/ip4/1.2.3.4/tcp/4000", "1.2.3.4:4000", false, NameFamily::any},
        {"/ip6/2001:db8::1/tcp/4000/p2p/" + id, "[2001:db8::1]:4000", true, NameFamily::any},
        {"/ip6/::ffff:1.2.3.4/tcp/4000/p2p/" + id, "1.2.3.4:4000", true, NameFamily::any},
        {"/dns/exit.example/tcp/65535/p2p/" + id, "exit.example:65535", true, NameFamily::any},
        {"/dns4/exit.example/tcp/1/p2p/" + id, "exit.example:1", true, NameFamily::v4},
        {"/dns6/exit.example/tcp/4000/p2p/" + id, "exit.example:4000", true, NameFamily::v6},
    };
    for (const Case& c : cases) {
        const auto parsed = parse_node_address(c.text);
        ASSERT_TRUE(parsed) << c.text << ": " << parsed.error().message;
        EXPECT_EQ(parsed->address.target.format(), c.target) << c.text;
        EXPECT_EQ(parsed->address.family, c.family) << c.text;
        EXPECT_EQ(parsed->id.has_value(), c.has_id) << c.text;
        EXPECT_EQ(parsed->id.value_or(test_key(7)), test_key(7)) << c.text;
        EXPECT_EQ(parse_peer_address(c.text).has_value(), c.has_id) << c.text;
    }
}

TEST(NodeAddress, RefusesTheRestWithARemedy) {
    const std::string id = test_id(7);
    const std::string form = ": write it like /ip4/1.2.3.4/tcp/4000/p2p/ID";
    struct Case {
        std::string text;
        std::string message;
    };
    const Case cases[] = {
        {"", "an address is missing: write ID@HOST:PORT"},
        {id + "@", "\"\" has no host: write HOST:PORT"},
        {id + "@:4000", "\":4000\" has no host: write HOST:PORT"},
        {id + "@0.0.0.0:4000", "\"0.0.0.0:4000\" is no address that can be dialled: write the address of the node"},
        {id + "@[::]:4000", "\"[::]:4000\" is no address that can be dialled: write the address of the node"},
        {id + "@[1.2.3.4]:4000", "\"[1.2.3.4]:4000\": brackets are for IPv6 addresses: write IPv4 like 1.2.3.4:4000"},
        {id + "@[exit]:4000", "\"[exit]:4000\" has no IPv6 address in its brackets: write it like [2001:db8::1]:4000"},
        {"1.2.3.256:4000",
         "\"1.2.3.256:4000\": \"1.2.3.256\" is neither an IP address nor a host name: write HOST:PORT"},
        {"exit\x1b[2J:4000",
         "\"exit\\x1b[2J:4000\": \"exit\\x1b[2J\" is neither an IP address nor a host name: write HOST:PORT"},
        {"203.0.113.50:70000",
         "the port \"70000\" of \"203.0.113.50:70000\" is out of range: write a number from 1 to 65535"},
        {"2001:db8::1:4000",
         "\"2001:db8::1:4000\" has several colons: put IPv6 addresses in brackets, like "
         "[2001:db8::1]:4000"},
        {"abc@1.2.3.4:4000",
         "not a node id: a node id has 56 characters, this has 3; 'qanat id' prints it on the node"},
        {"@1.2.3.4:4000", "not a node id: a node id has 56 characters, this has 0; 'qanat id' prints it on the node"},
        {"/ip4/1.2.3.4", "\"/ip4/1.2.3.4\" is not a multiaddr of a host, a TCP port and an id" + form},
        {"/ip4/1.2.3.4/tcp/4000/",
         "\"/ip4/1.2.3.4/tcp/4000/\" is not a multiaddr of a host, a TCP port and an id" + form},
        {"/", "\"/\" is not a multiaddr of a host, a TCP port and an id" + form},
        {"/ip4/1.2.3.4/udp/4000", "\"/ip4/1.2.3.4/udp/4000\" does not use tcp, the only transport there is" + form},
        {"/ip4/1.2.3.4/tcp/0",
         "the port \"0\" of \"/ip4/1.2.3.4/tcp/0\" is out of range: write a number from 1 to 65535"},
        {"/ip4/::1/tcp/4000", "\"/ip4/::1/tcp/4000\" has no IPv4 address behind /ip4/" + form},
        {"/ip6/1.2.3.4/tcp/4000", "\"/ip6/1.2.3.4/tcp/4000\" has no IPv6 address behind /ip6/" + form},
        {"/dns/1.2.3.4/tcp/4000", "\"/dns/1.2.3.4/tcp/4000\" has an address behind /dns/, where a name belongs" + form},
        {"/onion/abc/tcp/4000",
         "\"/onion/abc/tcp/4000\" begins with something else than ip4, ip6, dns, dns4 or dns6" + form},
        {"/ip4/1.2.3.4/tcp/4000/ipfs/x",
         "\"/ip4/1.2.3.4/tcp/4000/ipfs/x\" has something else than /p2p/ID behind the port" + form},
        {"/ip4/1.2.3.4/tcp/4000/p2p/x",
         "not a node id: a node id has 56 characters, this has 1; 'qanat id' prints it on the node"},
        {"/ip4/1.2.3.4/tcp/4000/p2p/x/p2p-circuit",
         "\"/ip4/1.2.3.4/tcp/4000/p2p/x/p2p-circuit\": relays are not named in addresses: write them to relay, as "
         "ID@HOST:PORT"},
    };
    for (const Case& c : cases) {
        const auto parsed = parse_node_address(c.text);
        ASSERT_FALSE(parsed) << c.text;
        EXPECT_EQ(parsed.error().message, c.message);
    }
    for (const char* name : {"-a:1", "a-:1", "a..b:1", ".a:1", "a b:1", "a/b:1", "a,b:1", "12345:1", "é:1", "a-.b:1"})
        EXPECT_FALSE(parse_node_address(name)) << name;
    EXPECT_TRUE(parse_node_address(std::string(63, 'a') + ":1"));
    EXPECT_FALSE(parse_node_address(std::string(64, 'a') + ":1"));
    std::string longest;
    for (int i = 0; i < 126; ++i) longest += "a.";
    EXPECT_TRUE(parse_node_address(longest + "a:1"));    // 253
    EXPECT_FALSE(parse_node_address(longest + "aa:1"));  // 254
    EXPECT_EQ(parse_peer_address("1.2.3.4:4000").error().message,
              "\"1.2.3.4:4000\" has no node id: write ID@HOST:PORT, with the id that 'qanat id' prints on the node");
}

TEST(NodeAddress, EveryChangedCharacterOfAnIdIsSeen) {
    const std::string id = test_id(9);
    for (size_t i = 0; i < id.size(); ++i) {
        std::string changed = id;
        changed[i] = changed[i] == 'a' ? 'b' : 'a';
        EXPECT_FALSE(parse_peer_address(changed + "@1.2.3.4:4000")) << i;
    }
    EXPECT_EQ(parse_node_id(id).value(), test_key(9));
}

TEST(PolicyEntry, CollectsBlocksAndThePrivateFlag) {
    PolicyList list;
    for (const char* text : {"10.0.0.0/8", "fc00::/7", "192.0.2.7", "10.0.0.0/8", "private", "0.0.0.0/0"})
        EXPECT_TRUE(parse_policy_entry(text, list)) << text;
    EXPECT_TRUE(list.private_ranges);
    ASSERT_EQ(list.blocks.size(), 4U);
    EXPECT_EQ(list.blocks[0].format(), "10.0.0.0/8");
    EXPECT_EQ(list.blocks[1].format(), "fc00::/7");
    EXPECT_EQ(list.blocks[2], *wire::Cidr::parse("192.0.2.7/32"));
    for (const char* text :
         {"", "Private", "10.0.0.0/33", "10.0.0/8", "example.org", "::/129", "10.0.0.0/", "10.0.0.0:80"})
        EXPECT_FALSE(parse_policy_entry(text, list)) << text;
    EXPECT_EQ(parse_policy_entry("10.0.0.0/33", list).error().message,
              "\"10.0.0.0/33\" is not a block of addresses: write it like 10.0.0.0/8, fc00::/7 or private");
}

TEST(RedisUrl, AcceptsEveryPart) {
    struct Case {
        const char* text;
        const char* server;
        uint32_t database;
        const char* user;
        const char* pass;
    };
    const Case cases[] = {
        {"redis://localhost:6379", "localhost:6379", 0, "", ""},
        {"redis://localhost", "localhost:6379", 0, "", ""},
        {"redis://localhost/", "localhost:6379", 0, "", ""},
        {"redis://10.0.0.1:7000/15", "10.0.0.1:7000", 15, "", ""},
        {"redis://[::1]:7000/0", "[::1]:7000", 0, "", ""},
        {"redis://:secret@redis.example", "redis.example:6379", 0, "", "secret"},
        {"redis://me:s%40cr%3aet@redis.example/3", "redis.example:6379", 3, "me", "s@cr:et"},
        {"redis://me:a@b@redis.example", "redis.example:6379", 0, "me", "a@b"},
    };
    for (const Case& c : cases) {
        const auto url = parse_redis_url(c.text);
        ASSERT_TRUE(url) << c.text << ": " << url.error().message;
        EXPECT_EQ(url->address.server.format(), c.server);
        EXPECT_EQ(url->address.database, c.database);
        EXPECT_EQ(url->user, c.user);
        EXPECT_EQ(url->pass, c.pass);
    }
}

TEST(RedisUrl, RefusesTheRestWithoutShowingThePassword) {
    const std::string form = ": write it like redis://user:pass@localhost:6379/0";
    struct Case {
        const char* text;
        const char* message;
    };
    const Case cases[] = {
        {"", "not a Redis URL"},
        {"localhost:6379", "not a Redis URL"},
        {"redis://", "the Redis URL has no valid host"},
        {"redis://hunter2@localhost", "a user without a password in the Redis URL"},
        {"redis://me:@localhost", "an empty password in the Redis URL"},
        {"redis://me:hunter2%4@localhost", "a \"%\" without two hex digits in the Redis URL"},
        {"redis://me:hunter2%zz@localhost", "a \"%\" without two hex digits in the Redis URL"},
        {"redis://localhost/x", "the database of the Redis URL is not a number from 0 to 65535"},
        {"redis://localhost/65536", "the database of the Redis URL is not a number from 0 to 65535"},
        {"redis://localhost:70000", "the host and the port of the Redis URL are malformed"},
        {"redis://me:hunter2@local host", "the Redis URL has no valid host"},
        {"rediss://", "the Redis URL has no valid host"},
        {"rediss://me:hunter2@localhost/-1", "the database of the Redis URL is not a number from 0 to 65535"},
        {"Redis://localhost", "not a Redis URL"},
        {"unix://hunter2@/s", "a user without a password in the Redis URL"},
    };
    for (const Case& c : cases) {
        const auto url = parse_redis_url(c.text);
        ASSERT_FALSE(url) << c.text;
        EXPECT_EQ(url.error().message, c.message + form);
        EXPECT_EQ(url.error().message.find("hunter2"), std::string::npos);
    }
}

TEST(LoopbackListen, OnlyWhatOtherMachinesDoNotReach) {
    for (const char* text : {"127.0.0.1:1", "127.255.0.9:1", "[::1]:1", "localhost:1"})
        EXPECT_TRUE(parse_loopback_listen(text, 9464)) << text;
    EXPECT_EQ(parse_loopback_listen("127.0.0.1", 9464)->port, 9464);
    for (const char* text : {":1", "*:1", "0.0.0.0:1", "[::]:1", "128.0.0.1:1", "126.255.255.255:1", "[::2]:1"}) {
        const auto endpoint = parse_loopback_listen(text, 9464);
        ASSERT_FALSE(endpoint) << text;
        EXPECT_EQ(endpoint.error().message,
                  "\"" + std::string(text) +
                      "\" can be reached from other machines, and nothing here asks for a password: write 127.0.0.1:1, "
                      "and let a proxy or a tunnel of your own reach it");
    }
    EXPECT_FALSE(parse_loopback_listen("", 1));
}

TEST(ParseTarget, HostAndPort) {
    for (const char* text : {"example.org:443", "192.0.2.1:1", "[2001:db8::1]:65535", "_sip.example:5060"}) {
        const auto target = parse_target(text);
        ASSERT_TRUE(target) << target.error().message;
        EXPECT_EQ(target->format(), text);
    }
    const std::string form = ": write HOST:PORT, like example.org:443";
    const std::pair<const char*, std::string> wrong[] = {
        {"", "the target is empty" + form},
        {"example.org", "\"example.org\" has no port" + form},
        {"[::1]", "\"[::1]\" has no port" + form},
        {":443", "\":443\" has no host" + form},
        {"a:0", "the port \"0\" of \"a:0\" is out of range: write a number from 1 to 65535"},
        {"a:65536", "the port \"65536\" of \"a:65536\" is out of range: write a number from 1 to 65535"},
        {"a:http", "the port \"http\" of \"a:http\" is out of range: write a number from 1 to 65535"},
        {"::1:80", "\"::1:80\" has several colons: put IPv6 addresses in brackets, like [2001:db8::1]:4000"},
        {"[1.2.3.4]:80", "\"[1.2.3.4]:80\" has no IPv6 address in its brackets: write it like [2001:db8::1]:443"},
        {"[x]:80", "\"[x]:80\" has no IPv6 address in its brackets: write it like [2001:db8::1]:443"},
        {"a b:80", "\"a b:80\": \"a b\" is neither an IP address nor a host name" + form},
        {"\x1b[2J:80", "\"\\x1b[2J:80\": \"\\x1b[2J\" is neither an IP address nor a host name" + form},
    };
    for (const auto& [text, message] : wrong) {
        const auto target = parse_target(text);
        ASSERT_FALSE(target) << text;
        EXPECT_EQ(target.error().message, message);
    }
}

TEST(RedisUrl, TlsIsAScheme) {
    EXPECT_FALSE(parse_redis_url("redis://localhost")->address.tls);
    const auto url = parse_redis_url("rediss://me:secret@redis.example:6380/2");
    ASSERT_TRUE(url);
    EXPECT_TRUE(url->address.tls);
    EXPECT_EQ(url->pass, "secret");
    EXPECT_EQ(format_redis_address(url->address), "rediss://redis.example:6380/2");
}

TEST(RedisUrl, UnixSockets) {
    struct Case {
        std::string text;
        std::string path;
        uint32_t database;
        std::string user;
        std::string pass;
    };
    const Case cases[] = {
        {"redis+unix:///run/redis.sock", "/run/redis.sock", 0, "", ""},
        {"unix:///run/redis.sock?db=7", "/run/redis.sock", 7, "", ""},
        {"unix:///run/redis.sock?db=", "/run/redis.sock", 0, "", ""},
        {"redis+unix://:p%2fw@/run/a@b/c%20d%3f?db=65535", "/run/a@b/c d?", 65535, "", "p/w"},
        {"unix://me:a@b@/s", "/s", 0, "me", "a@b"},
        {"unix:///" + std::string(106, 'x'), "/" + std::string(106, 'x'), 0, "", ""},
    };
    for (const Case& c : cases) {
        const auto url = parse_redis_url(c.text);
        ASSERT_TRUE(url) << c.text << ": " << url.error().message;
        EXPECT_EQ(url->address.unix_path, c.path);
        EXPECT_EQ(url->address.database, c.database);
        EXPECT_EQ(url->user, c.user);
        EXPECT_EQ(url->pass, c.pass);
    }
    EXPECT_EQ(format_redis_address(parse_redis_url("unix://a:secret@/run/x?db=2")->address),
              "redis+unix:///run/x?db=2");

    const std::string form = ": write it like redis+unix:///run/redis/redis.sock?db=0";
    const Case wrong[] = {
        {"unix://", "the Redis URL has no absolute path of a Unix socket", 0, "", ""},
        {"unix://run/redis.sock", "the Redis URL has no absolute path of a Unix socket", 0, "", ""},
        {"unix:///", "the path of a Unix socket has 2 to 107 characters", 0, "", ""},
        {"unix:///" + std::string(107, 'x'), "the path of a Unix socket has 2 to 107 characters", 0, "", ""},
        {"unix:///a%00b", "the path of a Unix socket has 2 to 107 characters", 0, "", ""},
        {"unix:///a%0", "a \"%\" without two hex digits in the Redis URL", 0, "", ""},
        {"unix:///a?database=1", "the Redis URL has something else than db= behind its ?", 0, "", ""},
        {"unix:///a?db=65536", "the database of the Redis URL is not a number from 0 to 65535", 0, "", ""},
        {"unix:///a?db=1&db=2", "the database of the Redis URL is not a number from 0 to 65535", 0, "", ""},
    };
    for (const Case& c : wrong) {
        const auto url = parse_redis_url(c.text);
        ASSERT_FALSE(url) << c.text;
        EXPECT_EQ(url.error().message, c.path + form);
    }
}

TEST(Topic, SizesAndCharacters) {
    EXPECT_EQ(parse_topic("t").value(), "t");
    EXPECT_TRUE(parse_topic(std::string(128, 't')));
    EXPECT_TRUE(parse_topic("\xc3\xa9"));
    for (const std::string& text : {std::string(), std::string(129, 't'), std::string("a b"), std::string("a\tb"),
                                    std::string("a\x7f"), std::string(1, '\0')})
        EXPECT_EQ(parse_topic(text).error().message, "not a topic: write 1 to 128 characters without spaces");
}

}  // namespace
}  // namespace qanat::controlplane
