// The identity file: who this node or client is. Two lines, `qanat-identity-1` and the 32 secret bytes in hex.
#pragma once

#include <string>
#include <string_view>

#include "common/base/result.h"
#include "common/handshake/key_pair.h"
#include "controlplane/config/private_file.h"

namespace qanat::controlplane {

inline constexpr size_t kIdentityTextSize = 82;  // 16 + 64 characters and two newlines

// As strict as parse_network_key(); the error names the line and the remedy. Pure.
[[nodiscard]] Result<Identity> parse_identity(std::string_view text);
[[nodiscard]] Secret<kIdentityTextSize> format_identity(const Identity& identity);

// Reads the identity, or makes one if there is no file. The directory must be there. Processes that start at the same
// time agree on one identity: the first to create the file wins, the others read it.
[[nodiscard]] Result<Identity> load_or_create_identity(const std::string& path);

}  // namespace qanat::controlplane
