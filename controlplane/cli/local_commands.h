// The commands that need no running program: keygen, id, version. Their output goes to `out`, their errors come back.
#pragma once

#include <ostream>

#include "common/base/result.h"
#include "controlplane/cli/commands.h"
#include "controlplane/config/paths.h"

namespace qanat::controlplane {

// Writes a new network key, prints "wrote PATH" and "fingerprint HEX"; with out = "-" only the key itself.
[[nodiscard]] Result<void> run_keygen(const KeygenCommand& command, const Environment& environment, std::ostream& out);

// Prints the id of the identity, which is created if there is none.
[[nodiscard]] Result<void> run_id(const IdCommand& command, const Environment& environment, std::ostream& out);

// Prints "qanat 0.1.0".
[[nodiscard]] Result<void> run_version(std::ostream& out);

}  // namespace qanat::controlplane
