#include "controlplane/config/checks.h"

namespace qanat::controlplane {
namespace {

constexpr const char* kNoRelays = "relays are not part of this version: ";

bool is_loopback(const wire::IpAddress& ip) {
    static const auto v4 = *wire::Cidr::parse("127.0.0.0/8");
    static const auto v6 = *wire::Cidr::parse("::1/128");
    return v4.contains(ip) || v6.contains(ip);
}

}  // namespace

Result<void> check_supported(const Config& config) {
    if (config.node.relay_mode) return fail(std::string("node.relay_mode: ") + kNoRelays + "set it to false");
    if (!config.node.connect_relay.empty())
        return fail(std::string("node.connect_relay: ") + kNoRelays + "remove the entries");
    for (size_t i = 0; i < config.nodes.size(); ++i)
        if (config.nodes[i].relay)
            return fail("nodes[" + std::to_string(i) + "].relay: " + kNoRelays +
                        "remove it and give the node's own address in addrs");
    if (config.discovery.enabled)
        return fail(
            "discovery.enabled: discovery is not part of this version: set it to false and list the nodes in nodes");
    return {};
}

Result<void> check_role(const Config& config, Role role) {
    if (role == Role::client && config.nodes.empty())
        return fail("no exit node: give one with --node ID@HOST:PORT, or list nodes in the configuration file");
    return {};
}

std::vector<std::string> config_warnings(const Config& config, Role role) {
    std::vector<std::string> warnings;
    if (role == Role::client && !is_loopback(config.server.listen.ip)) {
        const std::string where =
            "the SOCKS listener " + config.server.listen.format() + " is reachable from other machines";
        if (!config.server.auth)
            warnings.push_back(
                where + " without a password: set server.auth, server.user and server.pass, or listen on 127.0.0.1");
        else
            warnings.push_back(where + ", and SOCKS5 sends its password in the clear: listen on 127.0.0.1 if you can");
    }
    const auto& allow = config.node.exit_policy.allow;
    for (const wire::Cidr& block : allow.blocks)
        if (role == Role::node && block.bits == 0)
            warnings.push_back("the exit policy allows " + block.format() +
                               ": clients reach this machine itself and its private networks");
    return warnings;
}

}  // namespace qanat::controlplane
