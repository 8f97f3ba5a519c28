// From a parsed command to the configuration that the program runs with: defaults, then the file, then the flags.
#pragma once

#include "common/base/result.h"
#include "controlplane/cli/commands.h"
#include "controlplane/config/config.h"
#include "controlplane/config/paths.h"

namespace qanat::controlplane {

// Flags beat the file. A list of flags (--listen, --node, --allow, --connect-relay) replaces the file's whole list.
// Pure.
[[nodiscard]] Config merge_flags(Config file, const NodeCommand& command);
[[nodiscard]] Config merge_flags(Config file, const ClientCommand& command);

// Finds and reads the configuration file (--config, else the role's default file, else the defaults), merges the flags,
// and refuses what this version cannot do and what the role cannot start with. Reads one file, writes nothing: it may
// be called again for a reload.
[[nodiscard]] Result<Config> effective_config(const NodeCommand& command, const Environment& environment);
[[nodiscard]] Result<Config> effective_config(const ClientCommand& command, const Environment& environment);

}  // namespace qanat::controlplane
