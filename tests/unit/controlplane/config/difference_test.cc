#include "controlplane/config/difference.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/unit/controlplane/config/test_ids.h"

namespace qanat::controlplane {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

TEST(Difference, EqualConfigurationsHaveNone) {
    for (const Role role : {Role::node, Role::client}) {
        EXPECT_THAT(changed_fields({}, {}, role), IsEmpty());
        EXPECT_THAT(changed_fixed_fields({}, {}, role), IsEmpty());
    }
}

TEST(Difference, EveryFieldIsNamedOnce) {
    Config all;
    all.key = all.identity = "x";
    all.server = {*wire::Endpoint::parse("127.0.0.1:9"), true, "u", "p"};
    all.routing = {Strategy::fastest, Duration(1), Duration(2), false};
    all.nodes.push_back({test_key(1), {}, {}, {}});
    all.node.listen.clear();
    all.node.region = "eu-1";
    all.node.announce = {NodeAddress{}};
    all.node.relay_mode = true;
    all.node.relay_limits.streams = 1;
    all.node.connect_relay.push_back({});
    all.node.relays_from_discovery = 1;
    all.node.punch = false;
    all.node.exit_policy.deny.private_ranges = true;
    all.discovery.enabled = true;
    all.discovery.address.database = 1;
    all.discovery.topic = all.discovery.user = all.discovery.pass = "x";
    all.discovery.timeout = Duration(3);
    all.metrics.listen = all.server.listen;
    all.log = {LogLevel::debug, LogFormat::json};
    all.data_plane = {{{1}}, 1, true, {}, Duration(4)};
    all.limits = {1, 2, 3, 4};
    EXPECT_THAT(changed_fields({}, all, Role::client),
                ElementsAre("identity", "server.listen", "server.auth", "server.user", "server.pass",
                            "routing.strategy", "routing.health", "routing.timeout", "routing.punch", "nodes",
                            "discovery.enabled", "discovery.address", "discovery.topic", "discovery.timeout",
                            "discovery.user", "discovery.pass", "metrics.listen", "log.level", "log.format",
                            "data_plane.cores", "data_plane.max_streams", "data_plane.busy_poll", "data_plane.suites",
                            "data_plane.shutdown_grace", "limits.unauthenticated", "limits.buffer_memory_mb"));
    EXPECT_THAT(
        changed_fields(all, {}, Role::node),
        ElementsAre("identity", "node.listen", "node.region", "node.announce", "node.relay_mode", "node.relay_limits",
                    "node.connect_relay", "node.relays_from_discovery", "node.punch", "node.exit_policy",
                    "discovery.enabled", "discovery.address", "discovery.topic", "discovery.timeout", "discovery.user",
                    "discovery.pass", "metrics.listen", "log.level", "log.format", "data_plane.cores",
                    "data_plane.max_streams", "data_plane.busy_poll", "data_plane.suites", "data_plane.shutdown_grace",
                    "limits.sessions", "limits.unauthenticated", "limits.buffer_memory_mb", "limits.resolver_queries"));
    EXPECT_THAT(
        changed_fixed_fields({}, all, Role::client),
        ElementsAre("identity", "server.listen", "data_plane.cores", "data_plane.max_streams", "data_plane.busy_poll",
                    "data_plane.suites", "limits.unauthenticated", "limits.buffer_memory_mb"));
}

TEST(Difference, CoveredByAFieldAroundIt) {
    EXPECT_TRUE(is_covered("nodes", {"nodes"}));
    EXPECT_TRUE(is_covered("nodes[2].relay", {"x", "nodes"}));
    EXPECT_TRUE(is_covered("discovery.topic", {"discovery"}));
    EXPECT_FALSE(is_covered("node.listen", {"nod"}));
    EXPECT_FALSE(is_covered("nodes", {"node"}));
    EXPECT_FALSE(is_covered("discovery", {"discovery.topic"}));
    EXPECT_FALSE(is_covered("x", {}));
}

}  // namespace
}  // namespace qanat::controlplane
