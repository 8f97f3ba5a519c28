#include "controlplane/config/checks.h"

#include <algorithm>

namespace qanat::controlplane {
namespace {

bool crosses_networks_in_the_clear(const RedisAddress& redis) {
    if (redis.tls || !redis.unix_path.empty()) return false;
    return redis.server.is_name() ? redis.server.name() != "localhost" : !redis.server.endpoint().ip.is_loopback();
}

// Listening at `all` is listening at `one`. [::] takes IPv4 as well.
bool covers(const wire::Endpoint& all, const wire::Endpoint& one) {
    if (all.port != one.port || all.port == 0) return false;
    return all.ip == one.ip || (all.ip.is_wildcard() && (!all.ip.is_v4() || one.ip.is_v4()));
}

}  // namespace

Result<void> check_role(const Config& config, Role role) {
    if (role == Role::client && config.nodes.empty() && !config.discovery.enabled)
        return fail(
            "no exit node: give one with --node ID@HOST:PORT, list nodes in the configuration file, or find them with "
            "--discover");
    const auto& listen = config.node.listen;
    for (size_t i = 0; i < listen.size(); ++i)
        for (size_t j = 0; j < listen.size(); ++j)
            if (role == Role::node && i != j && covers(listen[i], listen[j]))
                return fail("--listen or node.listen: " + listen[j].format() + " is part of " + listen[i].format() +
                            " already: remove one of the two");
    if (role == Role::node && config.node.relays_from_discovery > 0 && !config.discovery.enabled)
        return fail("--relays-from-discovery or node.relays_from_discovery: discovery is off: add --discover");
    return {};
}

std::vector<std::string> config_warnings(const Config& config, Role role) {
    std::vector<std::string> warnings;
    if (role == Role::client && !config.server.listen.ip.is_loopback()) {
        const std::string where =
            "the SOCKS listener " + config.server.listen.format() + " is reachable from other machines";
        if (!config.server.auth)
            warnings.push_back(
                where + " without a password: set server.auth, server.user and server.pass, or listen on 127.0.0.1");
        else
            warnings.push_back(where + ", and SOCKS5 sends its password in the clear: listen on 127.0.0.1 if you can");
    }
    const auto& listen = config.node.listen;
    const bool only_here =
        std::all_of(listen.begin(), listen.end(), [](const auto& at) { return at.ip.is_loopback(); });
    if (role == Role::node && config.node.relay_mode && only_here)
        warnings.push_back(
            "relay_mode is on but the node listens on loopback only: no other machine reaches this relay");
    if (role == Role::node && !config.node.relay_mode && config.node.relay_limits != RelayLimitsConfig{})
        warnings.push_back("node.relay_limits does nothing: relay_mode is off");
    const DiscoveryConfig& discovery = config.discovery;
    if (discovery.enabled && !discovery.pass.empty() && crosses_networks_in_the_clear(discovery.address))
        warnings.push_back("discovery sends the password of Redis in the clear to " +
                           discovery.address.server.format() + ": use rediss:// in discovery.address");
    const auto& allow = config.node.exit_policy.allow;
    for (const wire::Cidr& block : allow.blocks)
        if (role == Role::node && block.bits == 0)
            warnings.push_back("the exit policy allows " + block.format() +
                               ": clients reach this machine itself and its private networks");
    return warnings;
}

}  // namespace qanat::controlplane
