// Nodes and clients on one loop, around a Redis of their own, with short times.
#pragma once

#include <gmock/gmock.h>
#include <json/json.h>

#include <memory>
#include <string>
#include <vector>

#include "common/crypto/random.h"
#include "controlplane/config/addresses.h"
#include "controlplane/discovery/announcer.h"
#include "controlplane/discovery/wall_clock.h"
#include "controlplane/discovery/watcher.h"
#include "tests/support/run_until.h"
#include "tests/unit/controlplane/discovery/announcements.h"
#include "tests/unit/controlplane/discovery/redis_server.h"

namespace qanat::controlplane {

inline HostLookup no_lookup() {
    return [](const std::string& name, NameFamily, const auto&) { ADD_FAILURE() << "looked up " << name; };
}

inline DiscoverySettings settings_for(const std::string& url) {
    const auto parsed = parse_redis_url(url);
    EXPECT_TRUE(parsed) << parsed.error().message;
    DiscoveryConfig config;
    config.address = parsed->address;
    config.user = parsed->user;
    config.pass = parsed->pass;
    DiscoverySettings settings = DiscoverySettings::of(config);
    using std::chrono::milliseconds;
    settings.redis.timeout = milliseconds(500);
    settings.redis.ping = milliseconds(100);
    settings.redis.retry_min = milliseconds(20);
    settings.redis.retry_max = milliseconds(100);
    settings.renew = milliseconds(400);
    settings.change_min = milliseconds(20);
    settings.reload = milliseconds(300);
    return settings;
}

// A client that counts what it is told.
struct Client {
    Client(EventLoop& loop, const DiscoverySettings& settings, AnnouncementKeys keys = {discovery_key(), "t"},
           HostLookup lookup = no_lookup())
        : watcher(
              loop, settings, std::move(keys),
              [this] {
                  ++changes;
                  fewest = std::min(fewest, watcher.nodes().size());
              },
              std::move(lookup), &crypto::random_bytes) {
        watcher.start();
    }

    [[nodiscard]] size_t known() const { return watcher.nodes().size(); }
    [[nodiscard]] Json::Value report() const {
        Json::Value report;
        watcher.report(report);
        return report;
    }
    [[nodiscard]] uint64_t ignored(const char* reason) const { return report()["ignored"][reason].asUInt64(); }
    [[nodiscard]] std::string error() const { return report()["last_error"].asString(); }
    [[nodiscard]] bool connected() const { return report()["connected"].asBool(); }
    [[nodiscard]] bool listening() const { return report()["listening"].asBool(); }
    [[nodiscard]] bool loaded() const { return report()["loads"].asUInt64() > 0; }

    int changes = 0;
    size_t fewest = SIZE_MAX;  // nodes known at any change
    NodeWatcher watcher;
};

struct Node {
    Node(EventLoop& loop, const DiscoverySettings& settings, uint32_t number,
         AnnouncementKeys keys = {discovery_key(), "t"}, HostLookup lookup = no_lookup())
        : says(announcement_of(number)),
          announcer(
              loop, settings, std::move(keys), [this] { return says; }, std::move(lookup), &crypto::random_bytes) {
        announcer.start();
    }

    [[nodiscard]] Json::Value report() const {
        Json::Value report;
        announcer.report(report);
        return report;
    }
    [[nodiscard]] uint64_t announced() const { return report()["announced"].asUInt64(); }
    [[nodiscard]] std::string error() const { return report()["last_error"].asString(); }

    Announcement says;
    NodeAnnouncer announcer;
};

class WithRedis : public ::testing::Test {
protected:
    void SetUp() override {
        if (!RedisServer::program()) GTEST_SKIP() << "no redis-server: apt-get install redis-tools";
    }

    EventLoop loop_;
};

}  // namespace qanat::controlplane
