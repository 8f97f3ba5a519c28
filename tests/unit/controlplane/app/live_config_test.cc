#include "controlplane/app/live_config.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "common/crypto/random.h"
#include "controlplane/config/network_key.h"
#include "tests/unit/controlplane/config/temp_directory.h"

namespace qanat::controlplane {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

class LiveConfigTest : public testing::Test {
protected:
    LiveConfigTest() {
        next_.key = new_key("network.key");
        live_.emplace(Role::client, next_, network_key_fingerprint(*load_network_key(next_.key)), Environment{},
                      [this]() -> Result<Config> {
                          if (!problem_.empty()) return fail(problem_);
                          return next_;
                      });
    }

    std::string new_key(const std::string& name) {
        NetworkKey key;
        crypto::random_bytes(key.writable());
        const std::string path = directory_ / name;
        EXPECT_TRUE(write_network_key(path, key));
        return path;
    }
    ReloadOutcome reload(const std::vector<std::string>& part = {}) {
        auto candidate = live_->read();
        EXPECT_TRUE(candidate) << candidate.error().message;
        return live_->adopt(std::move(*candidate), part);
    }

    TempDirectory directory_;
    Config next_;
    std::string problem_;
    std::optional<LiveConfig> live_;
};

TEST_F(LiveConfigTest, NothingChangedIsNothing) {
    const ReloadOutcome outcome = reload();
    EXPECT_THAT(outcome.applied, IsEmpty());
    EXPECT_THAT(outcome.needs_restart, IsEmpty());
}

TEST_F(LiveConfigTest, AppliedOnceNeededUntilTheRestart) {
    next_.routing.strategy = Strategy::fastest;
    next_.data_plane.max_streams = 5;
    ReloadOutcome outcome = reload();
    EXPECT_THAT(outcome.applied, ElementsAre("routing.strategy"));
    EXPECT_THAT(outcome.needs_restart, ElementsAre("data_plane.max_streams"));
    EXPECT_EQ(live_->current().routing.strategy, Strategy::fastest);
    outcome = reload();
    EXPECT_THAT(outcome.applied, IsEmpty());
    EXPECT_THAT(outcome.needs_restart, ElementsAre("data_plane.max_streams"));
    next_.data_plane.max_streams = Config{}.data_plane.max_streams;
    outcome = reload();
    EXPECT_THAT(outcome.applied, IsEmpty());
    EXPECT_THAT(outcome.needs_restart, IsEmpty());
}

TEST_F(LiveConfigTest, WhatTheRoleCannotTakeOver) {
    next_.discovery.topic = "other";
    next_.discovery.enabled = true;
    next_.routing.health = Duration(1);
    next_.nodes.push_back({});
    next_.data_plane.busy_poll = true;
    const ReloadOutcome outcome = reload({"discovery", "nodes[0].relay", "data_plane.busy_poll"});
    EXPECT_THAT(outcome.applied, ElementsAre("routing.health"));
    EXPECT_THAT(outcome.needs_restart, ElementsAre("data_plane.busy_poll", "discovery", "nodes[0].relay"));
}

TEST_F(LiveConfigTest, TheKeyCountsNotItsPath) {
    std::error_code error;
    std::filesystem::copy_file(next_.key, directory_ / "copy.key", error);
    next_.key = directory_ / "copy.key";
    EXPECT_THAT(reload().needs_restart, IsEmpty());
    next_.key = new_key("new.key");
    EXPECT_THAT(reload().needs_restart, ElementsAre("key"));
    EXPECT_THAT(reload().needs_restart, ElementsAre("key"));
}

TEST_F(LiveConfigTest, AMistakeLeavesEverythingAsItWas) {
    const Config before = live_->current();
    next_.routing.strategy = Strategy::fastest;
    problem_ = "client.json: nodes[0]: wrong";
    EXPECT_EQ(live_->read().error().message, problem_);
    problem_.clear();
    next_.key = directory_ / "none.key";
    EXPECT_THAT(live_->read().error().message, HasSubstr("none.key"));
    EXPECT_EQ(live_->current(), before);
}

}  // namespace
}  // namespace qanat::controlplane
