// SessionSecrets: what a session handshake leaves behind (docs/PROTOCOL.md, sections 3 and 3.2).
#pragma once

#include <cstdint>
#include <span>

#include "common/base/secret.h"
#include "common/crypto/suite.h"
#include "common/wire/record.h"

namespace qanat::wire {

struct SessionSecrets {
    uint64_t session_id = 0;
    crypto::Suite suite = crypto::Suite::chacha20_poly1305;
    Secret<32> data;        // S_data: every stream's keys come from it
    Secret<32> ctl_client;  // S_ctl_c: control records of the client
    Secret<32> ctl_node;    // S_ctl_n: control records of the node
};

// `handshake_hash` is h and `k1`, `k2` are the result of Split() of the finished Noise handshake.
[[nodiscard]] SessionSecrets derive_session_secrets(std::span<const uint8_t, 32> handshake_hash,
                                                    std::span<const uint8_t, 32> k1, std::span<const uint8_t, 32> k2,
                                                    uint64_t session_id, crypto::Suite suite);

// The key of one direction of the control connection, from ctl_client or ctl_node.
[[nodiscard]] DirectionKey control_key(const Secret<32>& control_secret, crypto::Suite suite);

}  // namespace qanat::wire
