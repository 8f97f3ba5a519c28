// A node that is announced here, then there, then nowhere.
#include "controlplane/discovery/presence.h"

#include <gtest/gtest.h>

#include "tests/unit/controlplane/discovery/discovery_harness.h"

namespace qanat::controlplane {
namespace {

class PresenceTest : public WithRedis {
protected:
    [[nodiscard]] static DiscoveryConfig place(const RedisServer& redis, const char* topic, bool enabled = true) {
        DiscoveryConfig config;
        config.enabled = enabled;
        config.address = parse_redis_url(redis.url())->address;
        config.topic = topic;
        return config;
    }
    [[nodiscard]] static AnnouncementKeys keys(std::string_view topic) { return {discovery_key(), topic}; }

    std::unique_ptr<NodeAnnouncer> make(const DiscoveryConfig& config) {
        ++made_;
        DiscoverySettings settings = DiscoverySettings::of(config);
        settings.redis.timeout = std::chrono::milliseconds(500);
        // An entry that is not withdrawn stays for longer than this test runs.
        settings.renew = std::chrono::minutes(10);
        return std::make_unique<NodeAnnouncer>(
            loop_, settings, keys(config.topic), [] { return announcement_of(1); }, no_lookup(), &crypto::random_bytes);
    }
    [[nodiscard]] bool reports() const {
        Json::Value status;
        presence_.report(status);
        return status.isMember("discovery");
    }

    int made_ = 0;
    Presence presence_{loop_, [this](const DiscoveryConfig& config) { return make(config); }};
};

TEST_F(PresenceTest, turned_off_it_is_withdrawn) {
    RedisServer redis;
    Client client(loop_, settings_for(redis.url()));
    presence_.configure(place(redis, "t"));
    ASSERT_TRUE(run_until(loop_, [&] { return client.known() == 1; })) << client.report();
    EXPECT_TRUE(reports());
    presence_.configure(place(redis, "t", false));
    ASSERT_TRUE(run_until(loop_, [&] { return client.known() == 0; }));
    ASSERT_TRUE(run_until(loop_, [&] { return !reports(); }));
    // Who comes later does not find it either.
    Client late(loop_, settings_for(redis.url()));
    ASSERT_TRUE(run_until(loop_, [&] { return late.loaded(); }));
    EXPECT_EQ(late.known(), 0U);

    presence_.configure(place(redis, "t"));
    ASSERT_TRUE(run_until(loop_, [&] { return client.known() == 1; }));
    EXPECT_EQ(made_, 2);
}

TEST_F(PresenceTest, another_topic_comes_after_the_farewell_to_the_old_one) {
    RedisServer redis;
    Client old_topic(loop_, settings_for(redis.url()));
    Client new_topic(loop_, settings_for(redis.url()), keys("u"));
    presence_.configure(place(redis, "t"));
    ASSERT_TRUE(run_until(loop_, [&] { return old_topic.known() == 1; }));
    presence_.configure(place(redis, "v"));
    presence_.configure(place(redis, "u"));  // before it has left
    EXPECT_EQ(made_, 1);
    ASSERT_TRUE(run_until(loop_, [&] { return old_topic.known() == 0 && new_topic.known() == 1; }));
    EXPECT_EQ(made_, 2);
}

TEST_F(PresenceTest, off_and_on_again_before_it_has_left) {
    RedisServer redis;
    Client client(loop_, settings_for(redis.url()));
    presence_.configure(place(redis, "t"));
    ASSERT_TRUE(run_until(loop_, [&] { return client.known() == 1; }));
    presence_.configure(place(redis, "t", false));
    presence_.configure(place(redis, "t"));
    ASSERT_TRUE(run_until(loop_, [&] { return made_ == 2; }));
    Client late(loop_, settings_for(redis.url()));
    ASSERT_TRUE(run_until(loop_, [&] { return late.known() == 1 && client.known() == 1; }));
}

TEST_F(PresenceTest, the_same_place_is_not_left) {
    RedisServer redis;
    Client client(loop_, settings_for(redis.url()));
    DiscoveryConfig config = place(redis, "t");
    presence_.configure(config);
    ASSERT_TRUE(run_until(loop_, [&] { return client.known() == 1; }));
    presence_.configure(config);
    EXPECT_EQ(made_, 1);
    client.fewest = SIZE_MAX;
    const uint64_t before = client.watcher.nodes()[0]->sequence;
    config.timeout = std::chrono::seconds(1);
    presence_.configure(config);
    EXPECT_EQ(made_, 2);
    ASSERT_TRUE(run_until(loop_, [&] { return client.known() == 1 && client.watcher.nodes()[0]->sequence > before; }));
    EXPECT_GE(client.fewest, 1U);
}

TEST_F(PresenceTest, the_end_is_told_once_whatever_is_under_way) {
    RedisServer redis;
    int told = 0;
    {
        Presence nowhere(loop_, [this](const DiscoveryConfig& config) { return make(config); });
        nowhere.withdraw([&] { ++told; });
        EXPECT_EQ(told, 0);
        ASSERT_TRUE(run_until(loop_, [&] { return told == 1; }));
    }
    Client client(loop_, settings_for(redis.url()));
    presence_.configure(place(redis, "t"));
    ASSERT_TRUE(run_until(loop_, [&] { return client.known() == 1; }));
    presence_.configure(place(redis, "u"));
    presence_.withdraw([&] { ++told; });
    presence_.configure(place(redis, "t"));  // too late
    ASSERT_TRUE(run_until(loop_, [&] { return told == 2 && client.known() == 0; }));
    EXPECT_FALSE(reports());
    EXPECT_EQ(made_, 1);
}

}  // namespace
}  // namespace qanat::controlplane
