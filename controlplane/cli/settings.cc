#include "controlplane/cli/settings.h"

#include <algorithm>

#include "controlplane/config/addresses.h"
#include "controlplane/config/checks.h"
#include "controlplane/config/parse.h"

namespace qanat::controlplane {
namespace {

void replace_if_given(std::string& value, const std::string& flag) {
    if (!flag.empty()) value = flag;
}

void merge_role_flags(Config& config, const RoleFlags& flags) {
    replace_if_given(config.key, flags.key);
    replace_if_given(config.identity, flags.identity);
    replace_if_given(config.admin, flags.admin);
    config.data_plane.cores = flags.cores.value_or(config.data_plane.cores);
    config.data_plane.busy_poll = flags.busy_poll.value_or(config.data_plane.busy_poll);
    config.log.level = flags.log_level.value_or(config.log.level);
    config.log.format = flags.log_format.value_or(config.log.format);
    if (flags.metrics) config.metrics.listen = flags.metrics;
    config.discovery.enabled = config.discovery.enabled || flags.discover;
    replace_if_given(config.discovery.topic, flags.discover_topic);
    if (const auto url = parse_redis_url(flags.discover_address)) {
        config.discovery.address = url->address;
        config.discovery.user = url->user;
        config.discovery.pass = url->pass;
    }
}

// One node per id, with its addresses in the order of the flags.
std::vector<NodeConfig> group_by_id(const std::vector<PeerAddress>& peers) {
    std::vector<NodeConfig> nodes;
    for (const PeerAddress& peer : peers) {
        auto node =
            std::find_if(nodes.begin(), nodes.end(), [&](const NodeConfig& known) { return known.id == peer.id; });
        if (node == nodes.end()) node = nodes.insert(nodes.end(), NodeConfig{peer.id, {}, {}, {}});
        node->addrs.push_back(peer.address);
    }
    return nodes;
}

// An address or a topic that nothing would look at.
Result<void> check_discovery_flags(const RoleFlags& flags, const Config& config) {
    if (config.discovery.enabled) return {};
    if (!flags.discover_address.empty()) return fail("--discover-address: discovery is off: add --discover");
    if (!flags.discover_topic.empty()) return fail("--discover-topic: discovery is off: add --discover");
    return {};
}

template <class RoleCommand>
Result<Config> make_config(const RoleCommand& command, Role role, const Environment& environment) {
    Config config;
    const auto file = command.flags.config.empty() ? find_config_file(role, environment) : command.flags.config;
    if (file) {
        auto loaded = load_config(*file);
        if (!loaded) return tl::unexpected(loaded.error());
        config = std::move(*loaded);
    }
    config = merge_flags(std::move(config), command);
    if (auto checked = check_discovery_flags(command.flags, config); !checked) return tl::unexpected(checked.error());
    if (auto checked = check_role(config, role); !checked)
        return fail(checked.error().message + (file ? " (the configuration file is " + *file + ")" : ""));
    return config;
}

}  // namespace

Config merge_flags(Config file, const NodeCommand& command) {
    merge_role_flags(file, command.flags);
    if (!command.listen.empty()) file.node.listen = command.listen;
    if (command.allow) file.node.exit_policy.allow = *command.allow;
    if (command.relay_mode) file.node.relay_mode = true;
    if (!command.connect_relay.empty()) file.node.connect_relay = command.connect_relay;
    file.node.relays_from_discovery = command.relays_from_discovery.value_or(file.node.relays_from_discovery);
    return file;
}

Config merge_flags(Config file, const ClientCommand& command) {
    merge_role_flags(file, command.flags);
    file.server.listen = command.socks.value_or(file.server.listen);
    file.routing.strategy = command.strategy.value_or(file.routing.strategy);
    if (!command.nodes.empty()) file.nodes = group_by_id(command.nodes);
    return file;
}

Result<Config> effective_config(const NodeCommand& command, const Environment& environment) {
    return make_config(command, Role::node, environment);
}

Result<Config> effective_config(const ClientCommand& command, const Environment& environment) {
    return make_config(command, Role::client, environment);
}

}  // namespace qanat::controlplane
