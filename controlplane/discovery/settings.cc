#include "controlplane/discovery/settings.h"

namespace qanat::controlplane {

DiscoverySettings DiscoverySettings::of(const DiscoveryConfig& config) {
    DiscoverySettings settings;
    settings.redis.address = config.address;
    settings.redis.user = config.user;
    settings.redis.pass = config.pass;
    settings.redis.timeout = config.timeout;
    return settings;
}

}  // namespace qanat::controlplane
