// qanat: the control plane and the operator's command. main() only wires; what a command does is in cli/ and app/.
#include <iostream>
#include <utility>

#include "common/base/log.h"
#include "controlplane/admin/operator_commands.h"
#include "controlplane/app/bootstrap_settings.h"
#include "controlplane/app/client_app.h"
#include "controlplane/app/daemon.h"
#include "controlplane/app/node_app.h"
#include "controlplane/app/process_limits.h"
#include "controlplane/cli/command_line.h"
#include "controlplane/cli/local_commands.h"
#include "controlplane/cli/settings.h"
#include "controlplane/config/checks.h"

namespace qanat::controlplane {
namespace {

std::vector<ListenerSpec> listeners_of(const Config& config, Role role) {
    std::vector<ListenerSpec> listeners;
    if (role == Role::client) {
        listeners.push_back({ring::ListenerKind::socks, config.server.listen, "--socks or server.listen"});
        return listeners;
    }
    for (const wire::Endpoint& address : config.node.listen)
        listeners.push_back({ring::ListenerKind::tunnel, address, "--listen or node.listen"});
    return listeners;
}

// `read_config` gave `config`, and is asked again for a reload.
Result<void> run_daemon(const Config& config, Role role, const Environment& environment, LiveConfig::Read read_config) {
    start_log({.component = "control", .level = config.log.level, .format = config.log.format});
    harden_process();
    // Two for each stream, and some for everything else.
    raise_descriptor_limit(2 * uint64_t{config.data_plane.max_streams} + 1024);
    raise_locked_memory_limit();
    auto keys = load_keys(config, role, environment);
    if (!keys) return tl::unexpected(keys.error());
    const auto bootstrap = make_bootstrap(config, role, Machine::current());
    if (!bootstrap) return tl::unexpected(bootstrap.error());
    const auto program = find_data_plane();
    if (!program) return tl::unexpected(program.error());
    for (const std::string& warning : config_warnings(config, role))
        log_warn("check the configuration", {{"detail", warning}});

    EventLoop loop;
    Daemon daemon(loop, {.role = role,
                         .config = config,
                         .read_config = std::move(read_config),
                         .id = keys->id(),
                         .key_fingerprint = keys->fingerprint(),
                         .listeners = listeners_of(config, role),
                         .data_plane_program = *program,
                         .bootstrap = *bootstrap,
                         .environment = environment});
    const auto addresses = [&daemon] { return daemon.addresses(); };
    if (role == Role::node) {
        NodeApp app(loop, daemon.port(), config, std::move(*keys),
                    {.addresses = addresses, .load = [&daemon] { return daemon.stream_load(); }});
        return daemon.run(app);
    }
    ClientApp app(loop, daemon.port(), config, std::move(*keys), addresses);
    return daemon.run(app);
}

struct RunCommand {
    Environment environment = Environment::of_process();

    Result<void> operator()(const KeygenCommand& command) const { return run_keygen(command, environment, std::cout); }
    Result<void> operator()(const IdCommand& command) const { return run_id(command, environment, std::cout); }
    Result<void> operator()(const VersionCommand&) const { return run_version(std::cout); }
    Result<void> operator()(const StatusCommand& command) const { return run_status(context(command)); }
    Result<void> operator()(const PeersCommand& command) const { return run_peers(context(command)); }
    Result<void> operator()(const ReloadCommand& command) const { return run_reload(context(command)); }
    Result<void> operator()(const ExplainCommand& command) const {
        return run_explain(context(command), command.target);
    }
    Result<void> operator()(const DrainCommand& command) const { return run_drain(context(command), command.timeout); }
    Result<void> operator()(const NodeCommand& command) const { return run_role(command, Role::node); }
    Result<void> operator()(const ClientCommand& command) const { return run_role(command, Role::client); }

    [[nodiscard]] OperatorContext context(const AdminFlags& flags) const {
        return {flags.admin, flags.json ? OutputFormat::json : OutputFormat::table, environment, std::cout};
    }

    template <class RoleCommand>
    [[nodiscard]] Result<void> run_role(const RoleCommand& command, Role role) const {
        const auto read = [&] { return effective_config(command, environment); };
        const auto config = read();
        return config ? run_daemon(*config, role, environment, read) : tl::unexpected(config.error());
    }
};

int run(const std::vector<std::string>& arguments) {
    const auto parsed = parse_command_line(arguments);
    if (const auto* exit = std::get_if<CliExit>(&parsed)) {
        (exit->status == kExitOk ? std::cout : std::cerr) << exit->text;
        return exit->status;
    }
    if (auto done = std::visit(RunCommand{}, std::get<Command>(parsed)); !done) {
        std::cerr << error_line(done.error().message);
        return kExitFailure;
    }
    std::cout.flush();
    return std::cout.good() ? kExitOk : kExitFailure;
}

}  // namespace
}  // namespace qanat::controlplane

int main(int argc, char** argv) {
    return qanat::controlplane::run({argv + std::min(argc, 1), argv + argc});
}
