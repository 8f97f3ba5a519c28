#include "controlplane/cli/settings.h"

#include <algorithm>

#include "common/base/log.h"
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
        if (node == nodes.end()) node = nodes.insert(nodes.end(), NodeConfig{peer.id, {}, std::nullopt});
        node->addrs.push_back(peer.address);
    }
    return nodes;
}

Result<void> check_flags(const RoleFlags& flags) {
    const bool discovers = flags.discover || !flags.discover_address.empty() || !flags.discover_topic.empty();
    if (discovers)
        return fail(
            "--discover: discovery is not part of this version: name the nodes with --node or in the configuration "
            "file");
    return {};
}

Result<void> check_flags(const NodeCommand& command) {
    if (command.relay_mode) return fail("--relay-mode: relays are not part of this version: leave the flag out");
    if (!command.connect_relay.empty())
        return fail("--connect-relay: relays are not part of this version: leave the flag out");
    return check_flags(command.flags);
}

Result<void> check_flags(const ClientCommand& command) {
    return check_flags(command.flags);
}

template <class RoleCommand>
Result<Config> make_config(const RoleCommand& command, Role role, const Environment& environment) {
    if (auto checked = check_flags(command); !checked) return tl::unexpected(checked.error());
    Config config;
    const auto file = command.flags.config.empty() ? find_config_file(role, environment) : command.flags.config;
    if (file) {
        auto loaded = load_config(*file);
        if (!loaded) return tl::unexpected(loaded.error());
        config = std::move(*loaded);
        if (auto checked = check_supported(config); !checked)
            return fail(printable(*file) + ": " + checked.error().message);
    }
    config = merge_flags(std::move(config), command);
    if (auto checked = check_role(config, role); !checked) return tl::unexpected(checked.error());
    return config;
}

}  // namespace

Config merge_flags(Config file, const NodeCommand& command) {
    merge_role_flags(file, command.flags);
    if (!command.listen.empty()) file.node.listen = command.listen;
    if (command.allow) file.node.exit_policy.allow = *command.allow;
    if (command.relay_mode) file.node.relay_mode = true;
    if (!command.connect_relay.empty()) file.node.connect_relay = command.connect_relay;
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
