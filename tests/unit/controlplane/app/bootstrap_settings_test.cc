#include "controlplane/app/bootstrap_settings.h"
#include "controlplane/routing/membership.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <numeric>

#include "controlplane/app/node_peers.h"

namespace qanat::controlplane {
namespace {

Machine machine(uint32_t cpus) {
    Machine made;
    made.cpus.resize(cpus);
    std::iota(made.cpus.begin(), made.cpus.end(), 0u);
    return made;
}

TEST(BootstrapSettings, OneEnginePerCpuUpToTheMaximum) {
    for (const uint32_t cpus : {1u, 2u, 63u, 64u, 65u, 200u}) {
        const auto bootstrap = make_bootstrap({}, Role::node, machine(cpus));
        ASSERT_TRUE(bootstrap.has_value());
        EXPECT_EQ(bootstrap->engines, std::min(cpus, ring::kEnginesMax));
        EXPECT_EQ(bootstrap->cores[0], 0);
        EXPECT_EQ(bootstrap->cores[bootstrap->engines - 1], static_cast<int32_t>(bootstrap->engines) - 1);
    }
}

TEST(BootstrapSettings, ChosenCoresMustExist) {
    Config config;
    config.data_plane.cores.list = {1, 3};
    const auto bootstrap = make_bootstrap(config, Role::client, machine(4));
    ASSERT_TRUE(bootstrap.has_value());
    EXPECT_EQ(bootstrap->engines, 2u);
    EXPECT_EQ(bootstrap->cores[0], 1);
    EXPECT_EQ(bootstrap->cores[1], 3);
    EXPECT_EQ(bootstrap->cores[2], -1);
    const auto missing = make_bootstrap(config, Role::client, machine(3));
    ASSERT_FALSE(missing.has_value());
    EXPECT_THAT(missing.error().message,
                testing::AllOf(testing::HasSubstr("CPU 3"), testing::HasSubstr("--cores"), testing::HasSubstr("0-2")));
}

TEST(BootstrapSettings, CarriesTheConfiguration) {
    Config config;
    config.data_plane.max_streams = 77;
    config.data_plane.busy_poll = true;
    config.limits.sessions = 99;
    config.log.level = LogLevel::warn;
    config.log.format = LogFormat::json;
    const auto node = make_bootstrap(config, Role::node, machine(1));
    ASSERT_TRUE(node.has_value());
    EXPECT_EQ(node->magic, ring::kBootstrapMagic);
    EXPECT_EQ(node->size, sizeof(ring::Bootstrap));
    EXPECT_EQ(node->role, ring::Role::node);
    EXPECT_EQ(node->busy_poll, 1);
    EXPECT_EQ(node->log_level, 2);
    EXPECT_EQ(node->log_json, 1);
    EXPECT_EQ(node->limits.streams, 77u);
    EXPECT_EQ(node->limits.sessions, 99u + NodePeers::kSessionsMax) << "and what it needs as a client of relays";
    EXPECT_EQ(node->attach, 0);
    // A client has a few sessions per node, whatever the node's limit says.
    // Discovery and reloads can bring as many as Membership takes.
    EXPECT_EQ(make_bootstrap(config, Role::client, machine(1))->limits.sessions, 4 * Membership::kSpecsMax);
    config.nodes.resize(Membership::kSpecsMax + 1);
    EXPECT_EQ(make_bootstrap(config, Role::client, machine(1))->limits.sessions, 4 * (Membership::kSpecsMax + 1));
}

TEST(BootstrapSettings, RootGivesUpItsRights) {
    Machine host = machine(1);
    EXPECT_STREQ(make_bootstrap({}, Role::node, host)->run_as.data(), "");
    host.root = true;
    EXPECT_STREQ(make_bootstrap({}, Role::node, host)->run_as.data(), "nobody");
    host.has_qanat_user = true;
    EXPECT_STREQ(make_bootstrap({}, Role::node, host)->run_as.data(), "qanat");
}

}  // namespace
}  // namespace qanat::controlplane
