// Nodes that announce themselves and clients that find them, through a real Redis: what is found, what may be seen from
// outside, and what is ignored. discovery_faults_test.cc has a Redis that fails.
#include <gtest/gtest.h>

#include "common/handshake/node_id.h"
#include "tests/unit/controlplane/discovery/discovery_harness.h"

namespace qanat::controlplane {
namespace {

using std::chrono::hours;
using std::chrono::milliseconds;
using std::chrono::seconds;
using ::testing::HasSubstr;
using ::testing::Not;

class Discovery : public WithRedis {};

TEST_F(Discovery, ANodeIsFoundChangesAndLeaves) {
    RedisServer redis;
    const DiscoverySettings settings = settings_for(redis.url() + "/3");
    Node node(loop_, settings, 1);
    Client client(loop_, settings);
    ASSERT_TRUE(run_until(loop_, [&] { return client.known() == 1; })) << client.report();
    const KnownNode found = client.watcher.nodes()[0];
    EXPECT_EQ(found->id, node.says.id);
    EXPECT_EQ(found->addresses, node.says.addresses);
    EXPECT_EQ(found->load, node.says.load);
    EXPECT_EQ(found->region, "eu-central-1");
    EXPECT_TRUE(found->exit);
    EXPECT_FALSE(found->relay);

    node.says.load = 4321;
    node.says.relays = {{node_key(9), address_of("relay.example:4000")}};
    node.announcer.changed();
    ASSERT_TRUE(run_until(loop_, [&] { return client.known() == 1 && client.watcher.nodes()[0]->load == 4321; }));
    EXPECT_EQ(client.watcher.nodes()[0]->relays, node.says.relays);
    EXPECT_EQ(found->load, 1234);  // what was handed out does not change

    bool left = false;
    node.announcer.withdraw([&] { left = true; });
    EXPECT_FALSE(left);
    ASSERT_TRUE(run_until(loop_, [&] { return left && client.known() == 0; }));
    // Who comes later does not find it either, although its entry is still there.
    Client late(loop_, settings);
    ASSERT_TRUE(run_until(loop_, [&] { return late.loaded() && late.listening(); }));
    EXPECT_EQ(late.known(), 0U);
    ASSERT_TRUE(run_until(loop_, [&] { return client.changes >= 1 && client.fewest == 0; }));
}

TEST_F(Discovery, NewsComeByMessageAndNotByReading) {
    RedisServer redis;
    DiscoverySettings settings = settings_for(redis.url());
    settings.reload = hours(1);
    Client client(loop_, settings);
    ASSERT_TRUE(run_until(loop_, [&] { return client.listening() && client.loaded(); }));
    Node node(loop_, settings, 1);
    ASSERT_TRUE(run_until(loop_, [&] { return client.known() == 1; }));
    node.says.streams = 99;
    node.announcer.changed();
    ASSERT_TRUE(run_until(loop_, [&] { return client.watcher.nodes()[0]->streams == 99; }));
}

TEST_F(Discovery, EntriesAreRenewedAndExpireByThemselves) {
    RedisServer redis;
    const DiscoverySettings settings = settings_for(redis.url());
    Client client(loop_, settings);
    {
        Node node(loop_, settings, 1);
        ASSERT_TRUE(run_until(loop_, [&] { return node.announced() >= 3; }));
        const std::string key = AnnouncementKeys(discovery_key(), "t").key_of(node.says.id);
        const int64_t lifetime = redis.ask({"PTTL", key}).number;
        EXPECT_GT(lifetime, 0);
        EXPECT_LE(lifetime, 1200);
        EXPECT_EQ(client.known(), 1U);
    }  // killed: no farewell
    ASSERT_TRUE(run_until(loop_, [&] { return client.known() == 0; }));
    EXPECT_EQ(redis.ask({"DBSIZE"}).number, 0);
}

TEST_F(Discovery, ManyChangesAreFewAnnouncements) {
    RedisServer redis;
    DiscoverySettings settings = settings_for(redis.url());
    settings.change_min = milliseconds(100);
    settings.renew = seconds(60);
    Node node(loop_, settings, 1);
    ASSERT_TRUE(run_until(loop_, [&] { return node.announced() == 1; }));
    Timer often(loop_, [&] { node.announcer.changed(); });
    often.start_every(milliseconds(1));
    const Instant begin = EventLoop::now();
    ASSERT_TRUE(run_until(loop_, [&] { return node.announced() >= 4; }));
    EXPECT_GE(EventLoop::now() - begin, milliseconds(200));
}

TEST_F(Discovery, TopicsAndNetworksAreApart) {
    RedisServer redis;
    const DiscoverySettings settings = settings_for(redis.url());
    Node here(loop_, settings, 1);
    Node other_topic(loop_, settings, 2, {discovery_key(), "u"});
    Node other_network(loop_, settings, 3, {discovery_key(7), "t"});
    Client client(loop_, settings);
    ASSERT_TRUE(run_until(loop_, [&] {
        return client.known() == 1 && here.announced() > 1 && other_topic.announced() > 1 &&
               other_network.announced() > 1;
    }));
    EXPECT_EQ(client.watcher.nodes()[0]->id, here.says.id);
    EXPECT_EQ(client.ignored("forged"), 0U);
    EXPECT_EQ(redis.ask({"DBSIZE"}).number, 3);
}

// What who runs Redis can see: commands, keys, channels and values.
TEST_F(Discovery, NothingCanBeReadInRedis) {
    RedisServer redis;
    SideConnection monitor(redis.socket());
    monitor.send({"MONITOR"});
    ASSERT_TRUE(monitor.receive().is_status("OK"));
    const DiscoverySettings settings = settings_for(redis.url());
    const std::string topic = "secret-topic";
    Node node(loop_, settings, 1, {discovery_key(), topic});
    node.says.addresses.push_back(address_of("hidden.example:4000"));
    Client client(loop_, settings, {discovery_key(), topic});
    ASSERT_TRUE(run_until(loop_, [&] { return node.announced() >= 3 && client.known() == 1 && client.loaded(); }));
    bool left = false;
    node.announcer.withdraw([&] { left = true; });
    ASSERT_TRUE(run_until(loop_, [&] { return left; }));

    redis.ask({"ECHO", "the end"});
    std::string seen;
    for (std::string line; line.find("the end") == std::string::npos; seen += line)
        line = monitor.receive().text + "\n";
    for (const RedisReply& key : redis.ask({"KEYS", "*"}).elements)
        seen += key.text + redis.ask({"GET", key.text}).text + "\n";
    for (const char* expected : {"\"SET\"", "\"PUBLISH\"", "\"SUBSCRIBE\"", "\"SCAN\"", "\"GETRANGE\"", "qanat:"})
        EXPECT_THAT(seen, HasSubstr(expected));
    const auto hex = [](Bytes bytes) {
        std::string text;
        for (const uint8_t byte : bytes) {
            text += "0123456789abcdef"[byte >> 4];
            text += "0123456789abcdef"[byte & 15];
        }
        return text;
    };
    const PublicKey id = node.says.id;
    // Also in parts: eight bytes of an id do not appear by chance.
    for (const std::string& secret :
         {encode_node_id(id).substr(0, 10), hex(id).substr(0, 16), std::string(as_text(id)).substr(0, 8),
          std::string("198.51.100"), hex(node.says.addresses[0].target.endpoint().ip.significant()),
          std::string("2001:db8"), std::string("hidden"), std::string("example"), topic, hex(as_bytes(topic)),
          std::string("eu-central"), std::string("0.1.0")})
        EXPECT_EQ(seen.find(secret), std::string::npos) << secret;
}

TEST_F(Discovery, WhatOthersWriteIsIgnoredAndCounted) {
    RedisServer redis;
    DiscoverySettings settings = settings_for(redis.url());
    settings.renew = seconds(30);  // each says everything once
    settings.redis.timeout = seconds(5);
    const AnnouncementKeys keys(discovery_key(), "t");
    Node one(loop_, settings, 1);
    Node two(loop_, settings, 2);
    Client client(loop_, settings);
    ASSERT_TRUE(run_until(loop_, [&] { return client.known() == 2; }));
    const std::string old_entry = redis.ask({"GET", keys.key_of(node_key(1))}).text;
    one.says.load = 5;
    one.announcer.changed();
    const auto load_of_one = [&] {
        for (const KnownNode& node : client.watcher.nodes())
            if (node->id == node_key(1)) return static_cast<int>(node->load);
        return -1;
    };
    ASSERT_TRUE(run_until(loop_, [&] { return load_of_one() == 5; }));

    const auto counted = [&](const char* reason, const std::vector<std::string>& command) {
        const uint64_t before = client.ignored(reason);
        EXPECT_FALSE(redis.ask(command).is_error());
        EXPECT_TRUE(run_until(loop_, [&] { return client.ignored(reason) > before; })) << reason << client.report();
        EXPECT_EQ(client.known(), 2U);
        EXPECT_EQ(load_of_one(), 5);
    };
    const std::string channel = keys.channel();
    const std::string third = keys.key_of(node_key(3));
    counted("replayed", {"PUBLISH", channel, old_entry});
    counted("malformed", {"PUBLISH", channel, ""});
    counted("malformed", {"PUBLISH", channel, "hello"});
    counted("forged", {"PUBLISH", channel, "\1" + std::string(old_entry.size() - 1, 'x')});
    counted("forged", {"SET", third, "\1" + std::string(old_entry.size() - 1, 'x')});
    counted("moved", {"SET", third, old_entry});
    counted("malformed", {"SET", third, "short"});
    counted("malformed", {"SET", third, std::string(20'000'000, 'x')});
    redis.ask({"DEL", third});
    counted("malformed", {"HSET", third, "a", "b"});
    redis.ask({"DEL", third});
    counted("malformed", {"SET", channel + ":" + std::string(32, 'Z'), "x"});
    redis.ask({"DEL", channel + ":" + std::string(32, 'Z')});
    redis.ask({"SET", channel + ":" + std::string(1'000'000, '0'), "not asked for"});
    counted("replayed", {"SET", keys.key_of(node_key(1)), old_entry});

    // By someone who has the network key, but lives in another time.
    AnnouncementKeys::Nonce nonce{};
    Announcement wrong_time = announcement_of(3);
    counted("stale", {"PUBLISH", channel, keys.seal(wrong_time, nonce)});
    wrong_time.sequence = UINT64_MAX;
    counted("clock", {"PUBLISH", channel, keys.seal(wrong_time, nonce)});

    // A message that is larger than anything we would read costs the listener its connection, and nothing else.
    ASSERT_TRUE(client.listening());
    redis.ask({"PUBLISH", channel, std::string(8'000'000, 'x')});
    ASSERT_TRUE(run_until(loop_, [&] { return !client.listening(); }));
    ASSERT_TRUE(run_until(loop_, [&] { return client.listening(); }));
    EXPECT_EQ(client.known(), 2U);
}

TEST_F(Discovery, UsersPasswordsAndUnixSockets) {
    RedisServer redis({"--unixsocketperm", "700"});
    // What OPERATIONS.md tells to create.
    const AnnouncementKeys keys(discovery_key(), "t");
    EXPECT_FALSE(redis
                     .ask({"ACL", "SETUSER", "qanat-node", "on", ">n:o/de", "~qanat:*", "&qanat:*", "-@all", "+auth",
                           "+ping", "+select", "+set", "+getrange", "+publish"})
                     .is_error());
    EXPECT_FALSE(redis
                     .ask({"ACL", "SETUSER", "qanat-client", "on", ">client", "%R~qanat:*", "&qanat:*", "-@all",
                           "+auth", "+ping", "+select", "+scan", "+getrange", "+subscribe"})
                     .is_error());
    Node node(loop_, settings_for("redis+unix://qanat-node:n:o%2fde@" + redis.socket() + "?db=2"), 1);
    Client client(loop_, settings_for("redis://qanat-client:client@127.0.0.1:" + std::to_string(redis.port()) + "/2"));
    Client unix_client(loop_, settings_for("unix://qanat-client:client@" + redis.socket() + "?db=2"));
    ASSERT_TRUE(run_until(loop_,
                          [&] {
                              return client.known() == 1 && unix_client.known() == 1 && client.listening() &&
                                     unix_client.listening();
                          }))
        << client.report() << node.report();
    EXPECT_EQ(client.report()["address"].asString(), "redis://127.0.0.1:" + std::to_string(redis.port()) + "/2");
    EXPECT_EQ(unix_client.report()["address"].asString(), "redis+unix://" + redis.socket() + "?db=2");
    EXPECT_EQ(client.error(), "");
    EXPECT_EQ(node.error(), "");

    // Rights that are missing are named, and what works goes on working.
    redis.ask({"ACL", "SETUSER", "qanat-client", "-scan"});
    ASSERT_TRUE(run_until(loop_, [&] { return client.error() != ""; }));
    EXPECT_THAT(client.error(), HasSubstr("Redis refuses to list the entries: NOPERM"));
    EXPECT_EQ(client.known(), 1U);
    redis.ask({"ACL", "SETUSER", "qanat-client", "+scan"});
    ASSERT_TRUE(run_until(loop_, [&] { return client.error() == ""; }));
    redis.ask({"ACL", "SETUSER", "qanat-node", "-set"});
    ASSERT_TRUE(run_until(loop_, [&] { return node.error() != ""; }));
    EXPECT_THAT(node.error(), HasSubstr("the announcement is not stored: NOPERM"));
    redis.ask({"ACL", "SETUSER", "qanat-node", "+set"});
    ASSERT_TRUE(run_until(loop_, [&] { return node.error() == ""; }));
}

TEST_F(Discovery, AWrongPasswordIsToldWithoutThePassword) {
    RedisServer redis({"--requirepass", "right"});
    redis.password = "right";
    struct Case {
        std::string login;
        const char* error;
    };
    ::testing::internal::CaptureStderr();
    for (const Case& c : {
             Case{":hunter2@", "Redis refused user or password (WRONGPASS): check discovery.user and discovery.pass"},
             Case{"me:hunter2@", "Redis refused user or password (WRONGPASS): check discovery.user and discovery.pass"},
             Case{"", "Redis wants a password (NOAUTH): set discovery.pass"},
         }) {
        Client client(loop_, settings_for("redis://" + c.login + "127.0.0.1:" + std::to_string(redis.port())));
        EXPECT_TRUE(run_until(loop_, [&] { return client.error() != ""; }));
        EXPECT_EQ(client.error(), c.error);
        EXPECT_EQ(client.report().toStyledString().find("hunter2"), std::string::npos);
    }
    Client client(loop_, settings_for("redis://:right@127.0.0.1:" + std::to_string(redis.port())));
    EXPECT_TRUE(run_until(loop_, [&] { return client.connected(); }));
    // Redis repeats the arguments of commands that it does not know.
    redis.ask({"CONFIG", "SET", "requirepass", ""});
    RedisServer renamed({"--rename-command", "AUTH", "X"});
    Client other(loop_, settings_for("redis://:hunter2@127.0.0.1:" + std::to_string(renamed.port())));
    EXPECT_TRUE(run_until(loop_, [&] { return other.error() != ""; }));
    EXPECT_EQ(other.error(), "Redis refused user or password (ERR): check discovery.user and discovery.pass");
    Client no_such_database(loop_, settings_for(redis.url() + "/99"));
    EXPECT_TRUE(run_until(loop_, [&] { return no_such_database.error() != ""; }));
    EXPECT_THAT(no_such_database.error(), HasSubstr("Redis refused database 99"));
    const std::string log = ::testing::internal::GetCapturedStderr();
    EXPECT_THAT(log, HasSubstr("discovery cannot reach Redis"));
    EXPECT_THAT(log, Not(HasSubstr("hunter2")));
    EXPECT_THAT(log, Not(HasSubstr("right@")));
}

TEST_F(Discovery, NamesAreLookedUpByTheHook) {
    RedisServer redis;
    DiscoverySettings settings = settings_for("redis://redis.example:" + std::to_string(redis.port()));
    const auto ip = [](const char* text) { return *wire::IpAddress::parse(text); };
    using Done = std::function<void(Result<std::vector<wire::IpAddress>>)>;
    std::vector<Done> asked;
    const HostLookup lookup = [&](const std::string& name, NameFamily, Done done) {
        EXPECT_EQ(name, "redis.example");
        asked.push_back(std::move(done));
    };
    Node node(loop_, settings, 1, {discovery_key(), "t"}, lookup);
    ASSERT_EQ(asked.size(), 1U);
    asked[0](fail("the name redis.example does not exist"));
    EXPECT_EQ(node.error(), "the name redis.example does not exist");
    ASSERT_TRUE(run_until(loop_, [&] { return asked.size() == 2; }));
    asked[1](std::vector<wire::IpAddress>{});
    EXPECT_EQ(node.error(), "the name has no address");
    // One that never answers is given up, and what it says later does not count.
    ASSERT_TRUE(run_until(loop_, [&] { return asked.size() == 4; }));
    EXPECT_EQ(node.error(), "no answer within 500ms");
    asked[2](std::vector{ip("127.0.0.1")});
    EXPECT_FALSE(node.report()["connected"].asBool());
    // The first address that works.
    asked[3](std::vector{ip("127.0.0.2"), ip("::1"), ip("127.0.0.1")});
    ASSERT_TRUE(run_until(loop_, [&] { return node.announced() > 0; })) << node.report();
}

TEST_F(Discovery, TenThousandNodes) {
    constexpr uint32_t kNodes = 10'000;
    RedisServer redis;
    const AnnouncementKeys keys(discovery_key(), "t");
    {
        SideConnection side(redis.socket());
        for (uint32_t i = 0; i < kNodes; i += 100) {
            for (uint32_t n = i; n < i + 100; ++n) {
                Announcement announcement = announcement_of(n);
                announcement.sequence = unix_ms_now();
                AnnouncementKeys::Nonce nonce{};
                crypto::random_bytes(nonce);
                side.send({"SET", keys.key_of(announcement.id), keys.seal(announcement, nonce), "PX", "60000"});
            }
            for (uint32_t n = i; n < i + 100; ++n) ASSERT_TRUE(side.receive().is_status("OK"));
        }
    }
    DiscoverySettings settings = settings_for(redis.url());
    settings.reload = hours(1);
    settings.redis.timeout = seconds(5);
    // How long the loop was not free for anything else.
    Instant last = EventLoop::now();
    Duration longest{};
    Timer tick(loop_, [&] {
        const Instant now = EventLoop::now();
        longest = std::max(longest, std::chrono::duration_cast<Duration>(now - last));
        last = now;
    });
    tick.start_every(milliseconds(1));
    const Instant begin = EventLoop::now();
    Client client(loop_, settings);
    ASSERT_TRUE(run_until(loop_, [&] { return client.loaded() && client.known() == kNodes; })) << client.report();
    const auto took = std::chrono::duration_cast<Duration>(EventLoop::now() - begin);
    RecordProperty("load_ms", static_cast<int>(took.count()));
    RecordProperty("longest_turn_ms", static_cast<int>(longest.count()));
    std::printf("10000 nodes in %lld ms, longest turn of the loop %lld ms\n", static_cast<long long>(took.count()),
                static_cast<long long>(longest.count()));
    EXPECT_LT(took, seconds(15));  // a second or less, without sanitizers and neighbours
    EXPECT_LT(longest, milliseconds(500));
}

class DiscoveryOverTls : public WithRedis {
protected:
    void SetUp() override {
        WithRedis::SetUp();
        if (IsSkipped()) return;
        make_authority("ca");
        make_authority("stranger");
        make_certificate("server", "subjectAltName=DNS:localhost,IP:127.0.0.1");
        make_certificate("other", "subjectAltName=DNS:other.example,IP:192.0.2.1");
        ::setenv("SSL_CERT_FILE", file("ca.crt").c_str(), 1);
    }
    void TearDown() override { ::unsetenv("SSL_CERT_FILE"); }

    std::string file(const std::string& name) const { return directory_ / name; }

    void make_authority(const std::string& name) {
        ASSERT_TRUE(run_program({"openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256",
                                 "-nodes", "-keyout", file(name + ".key"), "-out", file(name + ".crt"), "-days", "2",
                                 "-subj", "/CN=" + name}));
    }
    void make_certificate(const std::string& name, const std::string& extension) {
        const std::string extensions = directory_.write(name + ".ext", extension);
        ASSERT_TRUE(run_program({"openssl", "req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
                                 "-keyout", file(name + ".key"), "-out", file(name + ".csr"), "-subj", "/CN=x"}));
        ASSERT_TRUE(run_program({"openssl", "x509", "-req", "-in", file(name + ".csr"), "-CA", file("ca.crt"), "-CAkey",
                                 file("ca.key"), "-CAcreateserial", "-out", file(name + ".crt"), "-days", "2",
                                 "-extfile", extensions}));
    }
    std::vector<std::string> options(const std::string& certificate) const {
        return {"--tls-port",         "TLS-PORT",
                "--tls-cert-file",    file(certificate + ".crt"),
                "--tls-key-file",     file(certificate + ".key"),
                "--tls-ca-cert-file", file("ca.crt"),
                "--tls-auth-clients", "no",
                "--requirepass",      "secret"};
    }
    static std::string url(const RedisServer& redis, const std::string& host) {
        return "rediss://:secret@" + host + ":" + std::to_string(redis.tls_port()) + "/1";
    }
    static HostLookup loopback() {
        return [](const std::string&, NameFamily, const auto& done) {
            done(std::vector{wire::IpAddress::v4(127, 0, 0, 1)});
        };
    }

    TempDirectory directory_;
};

TEST_F(DiscoveryOverTls, ByNameAndByAddress) {
    RedisServer redis(options("server"));
    Node node(loop_, settings_for(url(redis, "127.0.0.1")), 1);
    Client client(loop_, settings_for(url(redis, "localhost")), {discovery_key(), "t"}, loopback());
    ASSERT_TRUE(run_until(loop_, [&] { return client.known() == 1 && client.listening(); }))
        << client.report() << node.report();
    EXPECT_EQ(client.report()["address"].asString(), "rediss://localhost:" + std::to_string(redis.tls_port()) + "/1");
    // Many large answers, in records that fit nothing.
    const AnnouncementKeys keys(discovery_key(), "t");
    redis.password = "secret";
    SideConnection side(redis.socket());
    side.send({"AUTH", "secret"});
    side.send({"SELECT", "1"});
    for (uint32_t i = 2; i < 600; ++i) {
        Announcement announcement = announcement_of(i);
        announcement.sequence = unix_ms_now();
        side.send({"SET", keys.key_of(announcement.id), keys.seal(announcement, {}), "PX", "60000"});
    }
    for (int i = 0; i < 600; ++i) ASSERT_FALSE(side.receive().is_error());
    ASSERT_TRUE(run_until(loop_, [&] { return client.known() == 599; })) << client.report();
    redis.pause();
    ASSERT_TRUE(run_until(loop_, [&] { return !client.connected(); }));
    redis.resume();
    ASSERT_TRUE(run_until(loop_, [&] { return client.connected() && client.listening(); }));
    EXPECT_EQ(client.known(), 599U);
}

TEST_F(DiscoveryOverTls, ACertificateForAnotherNameIsRefused) {
    RedisServer redis(options("other"));
    Client by_name(loop_, settings_for(url(redis, "localhost")), {discovery_key(), "t"}, loopback());
    Client by_address(loop_, settings_for(url(redis, "127.0.0.1")));
    ASSERT_TRUE(run_until(loop_, [&] { return by_name.error() != "" && by_address.error() != ""; }));
    EXPECT_EQ(by_name.error(),
              "the certificate of localhost is not accepted (hostname mismatch): write the name that the certificate "
              "is made out to in discovery.address");
    EXPECT_EQ(by_address.error(),
              "the certificate of 127.0.0.1 is not accepted (IP address mismatch): write the name that the certificate "
              "is made out to in discovery.address");
}

TEST_F(DiscoveryOverTls, AnUnknownAuthorityIsRefusedUntilItIsKnown) {
    RedisServer redis(options("server"));
    ::setenv("SSL_CERT_FILE", file("stranger.crt").c_str(), 1);
    Client client(loop_, settings_for(url(redis, "127.0.0.1")));
    ASSERT_TRUE(run_until(loop_, [&] { return client.error() != ""; }));
    EXPECT_EQ(client.error(),
              "the certificate of 127.0.0.1 is not accepted (self-signed certificate in certificate chain): add its CA "
              "to this system (update-ca-certificates), or name the CA's file in SSL_CERT_FILE");
    ::setenv("SSL_CERT_FILE", file("ca.crt").c_str(), 1);
    ASSERT_TRUE(run_until(loop_, [&] { return client.connected(); })) << client.error();
}

TEST_F(DiscoveryOverTls, APortWithoutTls) {
    RedisServer redis({"--requirepass", "secret"});
    Client client(loop_, settings_for("rediss://:secret@127.0.0.1:" + std::to_string(redis.port())));
    ASSERT_TRUE(run_until(loop_, [&] { return client.error() != ""; }));
    EXPECT_EQ(client.error().find("secret"), std::string::npos);
    RedisServer tls(options("server"));
    Client plain(loop_, settings_for("redis://:secret@127.0.0.1:" + std::to_string(tls.tls_port())));
    ASSERT_TRUE(run_until(loop_, [&] { return plain.error() != ""; }));
    EXPECT_FALSE(plain.connected());
}

}  // namespace
}  // namespace qanat::controlplane
