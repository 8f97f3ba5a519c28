#include "controlplane/app/bootstrap_settings.h"

#include <pwd.h>
#include <sched.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>

#include "controlplane/app/node_peers.h"
#include "controlplane/config/cores.h"
#include "controlplane/routing/membership.h"

namespace qanat::controlplane {
namespace {

// A client has one session per node, a second one while it renews, and retired ones for half a minute. Discovery and a
// reload may bring as many nodes as Membership takes; a slot costs 200 bytes.
constexpr uint32_t kClientSessionsPerNode = 4;
constexpr uint32_t kClientSessionsMin = kClientSessionsPerNode * Membership::kSpecsMax;

}  // namespace

Machine Machine::current() {
    Machine machine;
    cpu_set_t set;
    CPU_ZERO(&set);
    if (::sched_getaffinity(0, sizeof set, &set) == 0)
        for (uint32_t cpu = 0; cpu < CPU_SETSIZE; ++cpu)
            if (CPU_ISSET(cpu, &set)) machine.cpus.push_back(cpu);
    machine.root = ::geteuid() == 0;
    machine.has_qanat_user = ::getpwnam("qanat") != nullptr;
    return machine;
}

Result<ring::Bootstrap> make_bootstrap(const Config& config, Role role, const Machine& machine) {
    std::vector<uint32_t> cores = config.data_plane.cores.list;
    if (cores.size() > ring::kEnginesMax)
        return fail("--cores or data_plane.cores: at most " + std::to_string(ring::kEnginesMax) + " CPUs");
    for (const uint32_t core : cores) {
        if (std::find(machine.cpus.begin(), machine.cpus.end(), core) == machine.cpus.end())
            return fail("--cores or data_plane.cores: CPU " + std::to_string(core) +
                        " does not exist or may not be used here: choose from " + format_cores(Cores{machine.cpus}));
    }
    const bool automatic = cores.empty();
    if (automatic) cores = machine.cpus;
    if (cores.empty()) cores = {0};
    if (cores.size() > ring::kEnginesMax) cores.resize(ring::kEnginesMax);

    ring::Bootstrap bootstrap{};
    bootstrap.magic = ring::kBootstrapMagic;
    bootstrap.abi_version = ring::kAbiVersion;
    bootstrap.size = sizeof bootstrap;
    bootstrap.engines = static_cast<uint32_t>(cores.size());
    bootstrap.cores.fill(-1);
    for (size_t i = 0; i < cores.size(); ++i) bootstrap.cores[i] = static_cast<int32_t>(cores[i]);
    bootstrap.role = role == Role::node ? ring::Role::node : ring::Role::client;
    bootstrap.busy_poll = config.data_plane.busy_poll ? 1 : 0;
    bootstrap.relay = role == Role::node && config.node.relay_mode ? 1 : 0;
    bootstrap.log_level = static_cast<uint8_t>(config.log.level);
    bootstrap.log_json = config.log.format == LogFormat::json ? 1 : 0;
    bootstrap.limits.streams = config.data_plane.max_streams;
    bootstrap.limits.sessions =
        role == Role::node
            ? config.limits.sessions + NodePeers::kSessionsMax
            : std::max(kClientSessionsMin, kClientSessionsPerNode * static_cast<uint32_t>(config.nodes.size()));
    bootstrap.limits.unauthenticated = config.limits.unauthenticated;
    bootstrap.limits.buffer_memory_mb = config.limits.buffer_memory_mb;
    bootstrap.limits.handshake_timeout_ms = static_cast<uint32_t>(kSocksHandshakeTime.count());
    bootstrap.limits.connect_timeout_ms = static_cast<uint32_t>(kTargetConnectTime.count());
    bootstrap.limits.resolve_timeout_ms = static_cast<uint32_t>(kResolveTime.count());
    if (machine.root) {
        const char* user = machine.has_qanat_user ? "qanat" : "nobody";
        std::strncpy(bootstrap.run_as.data(), user, bootstrap.run_as.size() - 1);
    }
    return bootstrap;
}

}  // namespace qanat::controlplane
