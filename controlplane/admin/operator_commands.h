// The operator's commands that ask a running program: `qanat status`, `peers`, `explain`, `reload`, `drain`. Blocking.
//
// `path` names the admin socket. Empty: the instances in the default directory, all of them for status and peers; for
// the others there must be exactly one. An error names the remedy.
#pragma once

#include <json/value.h>

#include <optional>
#include <ostream>
#include <string>

#include "common/base/duration.h"
#include "common/base/result.h"
#include "common/wire/address.h"
#include "controlplane/config/paths.h"

namespace qanat::controlplane {

enum class OutputFormat : uint8_t { table, json };  // JSON: one object per line, as the program answered it

// Where a command asks and how it answers.
struct OperatorContext {
    const std::string& path;
    OutputFormat format;
    const Environment& environment;
    std::ostream& out;
};

[[nodiscard]] Result<void> run_status(const OperatorContext& context);
[[nodiscard]] Result<void> run_peers(const OperatorContext& context);
[[nodiscard]] Result<void> run_explain(const OperatorContext& context, const wire::Target& target);
[[nodiscard]] Result<void> run_reload(const OperatorContext& context);

// Prints the streams that are left until the program has ended. Streams that were cut are an error. `timeout` empty:
// the program's own data_plane.shutdown_grace.
[[nodiscard]] Result<void> run_drain(const OperatorContext& context, std::optional<Duration> timeout);

// "reloaded: routing.strategy, nodes; these need a restart: data_plane.cores", from {"applied": [], "needs_restart":
// []}. Without a newline; for the log as well.
[[nodiscard]] std::string describe_reload(const Json::Value& answer);

}  // namespace qanat::controlplane
