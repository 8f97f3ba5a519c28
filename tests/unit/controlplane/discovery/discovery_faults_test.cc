// A real Redis that is down, restarted, hung, full or emptied: nodes and clients keep what they know, say what is
// wrong, and recover alone.
#include <gtest/gtest.h>

#include "tests/unit/controlplane/discovery/discovery_harness.h"

namespace qanat::controlplane {
namespace {

using std::chrono::hours;
using std::chrono::milliseconds;
using std::chrono::seconds;
using ::testing::HasSubstr;

class DiscoveryFaults : public WithRedis {};

TEST_F(DiscoveryFaults, DownAtTheStart) {
    RedisServer redis;
    redis.kill();
    const DiscoverySettings settings = settings_for(redis.url());
    Node node(loop_, settings, 1);
    Client client(loop_, settings);
    node.announcer.changed();
    ASSERT_TRUE(run_until(loop_, [&] { return client.report()["failures"].asInt() >= 3; }));
    EXPECT_EQ(client.error(), "cannot connect: Connection refused");
    EXPECT_EQ(node.error(), "cannot connect: Connection refused");
    EXPECT_FALSE(client.connected());
    EXPECT_FALSE(client.loaded());
    redis.start();
    ASSERT_TRUE(run_until(loop_, [&] { return client.known() == 1 && client.listening() && client.loaded(); }))
        << client.report();
    EXPECT_EQ(client.error(), "");
}

TEST_F(DiscoveryFaults, ASocketThatIsNotThere) {
    RedisServer redis;
    redis.kill();
    Client client(loop_, settings_for("unix://" + redis.socket()));
    ASSERT_TRUE(run_until(loop_, [&] { return client.error() != ""; }));
    EXPECT_EQ(client.error(), "cannot connect: No such file or directory");
    redis.start();
    ASSERT_TRUE(run_until(loop_, [&] { return client.connected(); }));
}

TEST_F(DiscoveryFaults, RestartedWithNothingInIt) {
    RedisServer redis;
    const DiscoverySettings settings = settings_for(redis.url());
    Node one(loop_, settings, 1);
    auto two = std::make_unique<Node>(loop_, settings, 2);
    Client client(loop_, settings);
    ASSERT_TRUE(run_until(loop_, [&] { return client.known() == 2 && client.listening() && client.loaded(); }));
    client.fewest = SIZE_MAX;
    redis.kill();
    ASSERT_TRUE(run_until(loop_, [&] { return !client.connected() && !client.listening(); }));
    EXPECT_NE(client.error(), "");
    two.reset();  // a node that dies while nobody can say so
    // Longer than the validity of what is known: nothing is forgotten.
    const Instant until = EventLoop::now() + seconds(3);
    ASSERT_TRUE(run_until(loop_, [&] { return EventLoop::now() >= until; }));
    EXPECT_EQ(client.known(), 2U);

    redis.start();
    const uint64_t announced = one.announced();
    ASSERT_TRUE(
        run_until(loop_, [&] { return client.connected() && client.listening() && one.announced() > announced; }));
    // The one that lives stays known all the time, the other one goes when its time has run out.
    ASSERT_TRUE(run_until(loop_, [&] { return client.known() == 1; }));
    EXPECT_EQ(client.watcher.nodes()[0]->id, node_key(1));
    ASSERT_TRUE(run_until(loop_, [&] { return client.fewest == 1; }));
}

TEST_F(DiscoveryFaults, Hung) {
    RedisServer redis;
    const DiscoverySettings settings = settings_for(redis.url());
    Node node(loop_, settings, 1);
    Client client(loop_, settings);
    ASSERT_TRUE(run_until(loop_, [&] { return client.known() == 1 && client.listening() && client.loaded(); }));
    redis.pause();
    const Instant begin = EventLoop::now();
    ASSERT_TRUE(run_until(
        loop_, [&] { return !client.connected() && !client.listening() && !node.report()["connected"].asBool(); }));
    // The time between two pings and the timeout, and something for a busy machine.
    EXPECT_LT(EventLoop::now() - begin, seconds(5));
    EXPECT_EQ(client.error(), "no answer within 500ms");
    EXPECT_EQ(client.known(), 1U);
    // Connections are accepted by the kernel, and never answered.
    ASSERT_TRUE(run_until(loop_, [&] { return client.report()["failures"].asInt() >= 3; }));
    EXPECT_EQ(client.error(), "no answer within 500ms");
    EXPECT_EQ(client.known(), 1U);
    redis.resume();
    const uint64_t announced = node.announced();
    ASSERT_TRUE(run_until(loop_, [&] { return client.listening() && node.announced() > announced; }));
    EXPECT_EQ(client.known(), 1U);
}

TEST_F(DiscoveryFaults, Full) {
    RedisServer redis;
    const DiscoverySettings settings = settings_for(redis.url());
    Client client(loop_, settings);
    ASSERT_TRUE(run_until(loop_, [&] { return client.listening() && client.loaded(); }));
    redis.ask({"CONFIG", "SET", "maxmemory", "1"});
    Node node(loop_, settings, 1);
    ASSERT_TRUE(run_until(loop_, [&] { return node.report()["refused"].asInt() >= 2; }));
    EXPECT_THAT(node.error(), HasSubstr("the announcement is not stored: OOM"));
    EXPECT_TRUE(node.report()["connected"].asBool());
    // Who listens hears it all the same.
    ASSERT_TRUE(run_until(loop_, [&] { return client.known() == 1; }));
    redis.ask({"CONFIG", "SET", "maxmemory", "0"});
    ASSERT_TRUE(run_until(loop_, [&] { return node.error() == ""; }));
    EXPECT_EQ(redis.ask({"DBSIZE"}).number, 1);
}

TEST_F(DiscoveryFaults, Emptied) {
    RedisServer redis;
    const DiscoverySettings settings = settings_for(redis.url());
    Node one(loop_, settings, 1);
    Node two(loop_, settings, 2);
    Client client(loop_, settings);
    ASSERT_TRUE(run_until(loop_, [&] { return client.known() == 2 && client.loaded(); }));
    ASSERT_TRUE(run_until(loop_, [&] { return client.changes > 0; }));
    client.fewest = SIZE_MAX;
    for (int i = 0; i < 3; ++i) {
        redis.ask({"FLUSHALL"});
        const int loads = client.report()["loads"].asInt();
        const uint64_t announced = one.announced();
        ASSERT_TRUE(run_until(loop_, [&] {
            return client.report()["loads"].asInt() > loads + 1 && one.announced() > announced &&
                   redis.ask({"DBSIZE"}).number == 2;
        }));
        EXPECT_EQ(client.known(), 2U);
    }
    EXPECT_GE(client.fewest, 2U);
}

TEST_F(DiscoveryFaults, ClientsOfRedisAreThrownOut) {
    RedisServer redis;
    const DiscoverySettings settings = settings_for(redis.url());
    Node node(loop_, settings, 1);
    Client client(loop_, settings);
    ASSERT_TRUE(run_until(loop_, [&] { return client.known() == 1 && client.listening(); }));
    const int connects = client.report()["connects"].asInt();
    redis.ask({"CLIENT", "KILL", "TYPE", "normal"});
    redis.ask({"CLIENT", "KILL", "TYPE", "pubsub"});
    ASSERT_TRUE(run_until(loop_, [&] { return client.report()["connects"].asInt() > connects && client.listening(); }));
    EXPECT_EQ(client.known(), 1U);
    // No room for us: the limit is said to whoever connects, before anything is asked.
    SideConnection occupant(redis.socket());
    for (const std::vector<std::string>& command :
         {std::vector<std::string>{"CONFIG", "SET", "maxclients", "1"}, {"CLIENT", "KILL", "TYPE", "normal"}}) {
        occupant.send(command);
        EXPECT_FALSE(occupant.receive().is_error());
    }
    Client late(loop_, settings);
    ASSERT_TRUE(run_until(loop_, [&] { return late.error() != ""; }));
    EXPECT_EQ(late.error(), "Redis refused the connection: ERR max number of clients reached");
}

TEST_F(DiscoveryFaults, WithdrawingNeverTakesLong) {
    RedisServer redis;
    const DiscoverySettings settings = settings_for(redis.url());
    {
        Node node(loop_, settings, 1);
        ASSERT_TRUE(run_until(loop_, [&] { return node.announced() > 0; }));
        redis.pause();
        bool done = false;
        const Instant begin = EventLoop::now();
        node.announcer.withdraw([&] { done = true; }, milliseconds(100));
        ASSERT_TRUE(run_until(loop_, [&] { return done; }));
        EXPECT_GE(EventLoop::now() - begin, milliseconds(100));
        EXPECT_LT(EventLoop::now() - begin, seconds(3));
        redis.resume();
    }
    redis.kill();
    {
        Node node(loop_, settings, 1);
        ASSERT_TRUE(run_until(loop_, [&] { return node.error() != ""; }));
        bool done = false;
        node.announcer.withdraw([&] { done = true; }, hours(1));
        EXPECT_FALSE(done);
        ASSERT_TRUE(run_until(loop_, [&] { return done; }));
        node.announcer.changed();
        EXPECT_FALSE(node.report()["connected"].asBool());
    }
    // The owner may be gone before the call comes.
    bool done = false;
    {
        Node node(loop_, settings, 1);
        node.announcer.withdraw([&] { done = true; });
    }
    ASSERT_TRUE(run_until(loop_, [&] { return done; }));
}

TEST_F(DiscoveryFaults, AClockThatWasSetBack) {
    RedisServer redis;
    const DiscoverySettings settings = settings_for(redis.url());
    const AnnouncementKeys keys(discovery_key(), "t");
    // What the node said before its clock was set back by five minutes.
    Announcement before = announcement_of(1);
    before.sequence = unix_ms_now() + 5 * 60 * 1000;
    redis.ask({"SET", keys.key_of(before.id), keys.seal(before, {})});
    Client client(loop_, settings);
    ASSERT_TRUE(run_until(loop_, [&] { return client.known() == 1; }));
    Node node(loop_, settings, 1);
    node.says.load = 42;
    ASSERT_TRUE(run_until(loop_, [&] { return client.watcher.nodes()[0]->load == 42; })) << client.report();
    EXPECT_EQ(client.ignored("replayed"), 0U);
    EXPECT_GT(client.watcher.nodes()[0]->sequence, before.sequence);
}

TEST_F(DiscoveryFaults, ADatabaseWithTooMuchInIt) {
    RedisServer redis;
    // Keys of the right form, without anything in them that could be opened.
    const AnnouncementKeys keys(discovery_key(), "t");
    redis.ask({"EVAL",
               "for i = 1, tonumber(ARGV[2]) do redis.call('SET', ARGV[1] .. string.format('%032x', i), 'x') end", "0",
               keys.channel() + ":", std::to_string(NodeWatcher::kKeysPerLoadMax + 1)});
    DiscoverySettings settings = settings_for(redis.url());
    settings.redis.timeout = seconds(10);
    Node node(loop_, settings, 1);
    Client client(loop_, settings);
    ASSERT_TRUE(run_until(
        loop_, [&] { return client.error() != ""; }, seconds(60)))
        << client.report();
    EXPECT_THAT(client.error(), HasSubstr("too many entries to read them all"));
    // What is published arrives.
    ASSERT_TRUE(run_until(loop_, [&] { return client.known() == 1; }));
    redis.ask({"FLUSHALL"});
    ASSERT_TRUE(run_until(
        loop_, [&] { return client.loaded() && client.error() == ""; }, seconds(60)));
}

}  // namespace
}  // namespace qanat::controlplane
