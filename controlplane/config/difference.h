// What changed between two configurations, for a reload. Pure.
#pragma once

#include <string>
#include <vector>

#include "controlplane/config/config.h"

namespace qanat::controlplane {

// The fields that differ, by their names in the file and in its order, "routing.strategy"; without those that `role`
// does not look at, and without `key`: what matters is the key in that file.
[[nodiscard]] std::vector<std::string> changed_fields(const Config& before, const Config& after, Role role);

// Those of them that take effect at the next start only, whatever the role: sockets, engines, reserved memory.
[[nodiscard]] std::vector<std::string> changed_fixed_fields(const Config& before, const Config& after, Role role);

// `name` is one of `fields`, or a part of one of them: "nodes[2].relay" and "nodes", "discovery.topic" and "discovery".
[[nodiscard]] bool is_covered(const std::string& name, const std::vector<std::string>& fields);

}  // namespace qanat::controlplane
