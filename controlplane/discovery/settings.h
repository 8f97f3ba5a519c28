// What the announcer and the watcher are told at their start.
#pragma once

#include "controlplane/discovery/redis_connection.h"

namespace qanat::controlplane {

struct DiscoverySettings {
    RedisSettings redis{};
    // A node announces itself that often, and its announcement is good for three times as long.
    Duration renew = std::chrono::seconds(20);
    // A change is announced at once, but no sooner than that after the last announcement.
    Duration change_min = std::chrono::seconds(1);
    // A client reads all entries again that often, in case a message was missed.
    Duration reload = std::chrono::seconds(30);

    [[nodiscard]] static DiscoverySettings of(const DiscoveryConfig& config);
};

inline constexpr int kRenewalsPerValidity = 3;

}  // namespace qanat::controlplane
