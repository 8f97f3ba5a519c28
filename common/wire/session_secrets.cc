#include "common/wire/session_secrets.h"

#include <array>
#include <cstring>

#include "common/crypto/hkdf.h"
#include "common/wire/stream_keys.h"

namespace qanat::wire {

SessionSecrets derive_session_secrets(std::span<const uint8_t, 32> handshake_hash, std::span<const uint8_t, 32> k1,
                                      std::span<const uint8_t, 32> k2, uint64_t session_id, crypto::Suite suite) {
    Secret<64> both;
    ByteWriter joined(both.writable());
    joined.bytes(k1);
    joined.bytes(k2);
    const Secret<32> s = crypto::extract(handshake_hash, both.bytes());

    std::array<uint8_t, 9> context;
    ByteWriter writer(context);
    writer.u64(session_id);
    writer.u8(static_cast<uint8_t>(suite));
    return SessionSecrets{session_id, suite, crypto::expand_label_secret(s.bytes(), "data", context),
                          crypto::expand_label_secret(s.bytes(), "ctl c", context),
                          crypto::expand_label_secret(s.bytes(), "ctl n", context)};
}

DirectionKey control_key(const Secret<32>& control_secret, crypto::Suite suite) {
    return derive_direction_key(control_secret.bytes(), suite);
}

}  // namespace qanat::wire
