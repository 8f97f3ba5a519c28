// The operator's side of the admin socket: `qanat status`. Blocking; not for the process that serves.
#pragma once

#include <ostream>
#include <string>

#include "common/base/result.h"
#include "controlplane/config/paths.h"

namespace qanat::controlplane {

// Sends one command and returns the one line of the answer, without its newline. Waits 5 s at most.
[[nodiscard]] Result<std::string> ask_admin(const std::string& path, const std::string& command);

enum class StatusFormat : uint8_t { table, json };

// Prints the status of the instance at `path`, or, if that is empty, of every instance in the default directory, one
// after the other (JSON: one object per line). No instance at all is an error with the remedy.
[[nodiscard]] Result<void> run_status(const std::string& path, StatusFormat format, const Environment& environment,
                                      std::ostream& out);

}  // namespace qanat::controlplane
