// The network key file, docs/PROTOCOL.md section 2: three lines, `/key/swarm/psk/1.0.0/`, `/base16/`, 64 hex digits.
#pragma once

#include <string>
#include <string_view>

#include "common/base/result.h"
#include "common/base/secret.h"
#include "controlplane/config/private_file.h"

namespace qanat::controlplane {

using NetworkKey = Secret<32>;

inline constexpr size_t kNetworkKeyTextSize = 96;  // 21 + 8 + 64 characters and three newlines

// CRLF and a missing last newline are accepted, anything else is refused: the error names the line and the remedy, and
// shows nothing of the contents. Pure.
[[nodiscard]] Result<NetworkKey> parse_network_key(std::string_view text);
[[nodiscard]] Secret<kNetworkKeyTextSize> format_network_key(const NetworkKey& key);

// Reads a key file with the checks of read_private_file(). A missing file is an error here.
[[nodiscard]] Result<NetworkKey> load_network_key(const std::string& path);

// Writes a new key file, mode 0600. An existing file is an error and stays as it is.
[[nodiscard]] Result<void> write_network_key(const std::string& path, const NetworkKey& key);

// "0123456789abcdef": the only form in which a network key is ever shown.
[[nodiscard]] std::string network_key_fingerprint(const NetworkKey& key);

}  // namespace qanat::controlplane
