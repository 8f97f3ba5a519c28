// What both sides of the session handshake have in common of Noise: pattern, prologue, and the secrets at its end.
#pragma once

#include "common/base/bytes.h"
#include "common/handshake/noise.h"
#include "common/wire/session_secrets.h"

namespace qanat::handshake {

// Noise_IKpsk1_25519_ChaChaPoly_SHA256.
[[nodiscard]] const noise::Pattern& session_pattern();

// "qanat1 session" ‖ 0x00 ‖ MSG1[0..4). The four bytes are constants in version 1, so all of it is.
[[nodiscard]] Bytes session_prologue();

// `noise` must be complete. Its two transport keys go into the derivation and serve for nothing else.
[[nodiscard]] wire::SessionSecrets derive_session(const noise::HandshakeState& noise, uint64_t session_id,
                                                  crypto::Suite suite);

}  // namespace qanat::handshake
