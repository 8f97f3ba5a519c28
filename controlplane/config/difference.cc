#include "controlplane/config/difference.h"

#include <algorithm>
#include <array>
#include <string_view>

namespace qanat::controlplane {
namespace {

enum class Who : uint8_t { both, node, client };
enum class When : uint8_t { live, restart };

struct Field {
    std::string_view name;
    Who who;
    When when;
    bool (*same)(const Config&, const Config&);
};

// A plain function out of a capture-free projection: same<[](const Config& c) -> const auto& { … }>.
template <auto Project>
bool same(const Config& before, const Config& after) {
    return Project(before) == Project(after);
}

#define QANAT_FIELD(name, who, when)                                                   \
    Field {                                                                            \
#name, Who::who, When::when, &same < [](const Config& config) -> const auto& { \
            return config.name;                                                        \
        }                                                                              \
        >                                                                              \
    }

constexpr std::array kFields{
    QANAT_FIELD(identity, both, restart),
    QANAT_FIELD(server.listen, client, restart),
    QANAT_FIELD(server.auth, client, live),
    QANAT_FIELD(server.user, client, live),
    QANAT_FIELD(server.pass, client, live),
    QANAT_FIELD(routing.strategy, client, live),
    QANAT_FIELD(routing.health, client, live),
    QANAT_FIELD(routing.timeout, client, live),
    QANAT_FIELD(routing.punch, client, live),
    QANAT_FIELD(nodes, client, live),
    QANAT_FIELD(node.listen, node, restart),
    QANAT_FIELD(node.region, node, live),
    QANAT_FIELD(node.announce, node, live),
    QANAT_FIELD(node.relay_mode, node, live),
    QANAT_FIELD(node.relay_limits, node, live),
    QANAT_FIELD(node.connect_relay, node, live),
    QANAT_FIELD(node.relays_from_discovery, node, live),
    QANAT_FIELD(node.punch, node, live),
    QANAT_FIELD(node.exit_policy, node, live),
    QANAT_FIELD(discovery.enabled, both, live),
    QANAT_FIELD(discovery.address, both, live),
    QANAT_FIELD(discovery.topic, both, live),
    QANAT_FIELD(discovery.timeout, both, live),
    QANAT_FIELD(discovery.user, both, live),
    QANAT_FIELD(discovery.pass, both, live),
    QANAT_FIELD(metrics.listen, both, live),
    QANAT_FIELD(log.level, both, live),
    QANAT_FIELD(log.format, both, live),
    QANAT_FIELD(data_plane.cores, both, restart),
    QANAT_FIELD(data_plane.max_streams, both, restart),
    QANAT_FIELD(data_plane.busy_poll, both, restart),
    QANAT_FIELD(data_plane.suites, both, restart),
    QANAT_FIELD(data_plane.shutdown_grace, both, live),
    QANAT_FIELD(limits.sessions, node, restart),
    QANAT_FIELD(limits.unauthenticated, both, restart),
    QANAT_FIELD(limits.buffer_memory_mb, both, restart),
    QANAT_FIELD(limits.resolver_queries, node, live),
};

#undef QANAT_FIELD

template <class Wanted>
std::vector<std::string> collect(const Config& before, const Config& after, Role role, Wanted wanted) {
    std::vector<std::string> names;
    for (const Field& field : kFields) {
        if (field.who == (role == Role::node ? Who::client : Who::node)) continue;
        if (wanted(field) && !field.same(before, after)) names.emplace_back(field.name);
    }
    return names;
}

// "nodes" of "nodes[2].relay", "discovery" of "discovery.topic".
bool contains(std::string_view whole, std::string_view part) {
    return part.starts_with(whole) &&
           (part.size() == whole.size() || part[whole.size()] == '.' || part[whole.size()] == '[');
}

}  // namespace

std::vector<std::string> changed_fields(const Config& before, const Config& after, Role role) {
    return collect(before, after, role, [](const Field&) { return true; });
}

std::vector<std::string> changed_fixed_fields(const Config& before, const Config& after, Role role) {
    return collect(before, after, role, [](const Field& field) { return field.when == When::restart; });
}

bool is_covered(const std::string& name, const std::vector<std::string>& fields) {
    return std::any_of(fields.begin(), fields.end(), [&](const std::string& field) { return contains(field, name); });
}

}  // namespace qanat::controlplane
