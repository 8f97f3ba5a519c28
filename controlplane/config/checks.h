// Questions about a whole configuration that no single field can answer: can this role start with it, and should
// its operator be warned. Pure.
#pragma once

#include <string>
#include <vector>

#include "common/base/result.h"
#include "controlplane/config/config.h"

namespace qanat::controlplane {

// Refuses a configuration with which the role cannot start or has nothing to do: a client without nodes and without
// discovery, a node that would listen twice at one place.
[[nodiscard]] Result<void> check_role(const Config& config, Role role);

// What works but is probably not meant, one line each, for the log: an open SOCKS listener without a password, ….
[[nodiscard]] std::vector<std::string> config_warnings(const Config& config, Role role);

}  // namespace qanat::controlplane
