// The gate of PROTOCOL section 3: the tag that is checked before any Diffie-Hellman, so that a stranger costs the node
// one HMAC per network key and learns nothing, and the cookies that make a flood cost its sender a round trip.
#pragma once

#include <array>
#include <cstdint>

#include "common/base/bytes.h"
#include "common/base/secret.h"
#include "common/crypto/sha256.h"
#include "common/handshake/key_pair.h"

namespace qanat::handshake {

using Tag = crypto::Mac16;
using Cookie = crypto::Mac16;

inline constexpr Cookie kNoCookie{};

// An IPv6 address, or an IPv4 one in its mapped form ::ffff:a.b.c.d. No port: a client keeps its address, not its port.
using SourceAddress = std::array<uint8_t, 16>;

// MAC16(K_gate, "c" ‖ S_node ‖ cookie ‖ MSG1[0..496)); `msg1_without_tag` is those 496 bytes.
[[nodiscard]] Tag gate_tag(const Secret<32>& gate_key, const PublicKey& node_static, const Cookie& cookie,
                           Bytes msg1_without_tag);

// MAC16(K_gate, "n" ‖ MSG1[496..512) ‖ cookie): binds a CHALLENGE to the MSG1 it answers.
[[nodiscard]] Tag challenge_tag(const Secret<32>& gate_key, Bytes msg1_tag, const Cookie& cookie);

// MAC16(K_cookie, source address ‖ e).
[[nodiscard]] Cookie make_cookie(const Secret<32>& cookie_key, const SourceAddress& source, const PublicKey& ephemeral);

}  // namespace qanat::handshake
