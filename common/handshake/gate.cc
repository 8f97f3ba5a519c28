#include "common/handshake/gate.h"

namespace qanat::handshake {

Tag gate_tag(const Secret<32>& gate_key, const PublicKey& node_static, const Cookie& cookie, Bytes msg1_without_tag) {
    return crypto::mac16(gate_key.bytes(), {as_bytes("c"), node_static, cookie, msg1_without_tag});
}

Tag challenge_tag(const Secret<32>& gate_key, Bytes msg1_tag, const Cookie& cookie) {
    return crypto::mac16(gate_key.bytes(), {as_bytes("n"), msg1_tag, cookie});
}

Cookie make_cookie(const Secret<32>& cookie_key, const SourceAddress& source, const PublicKey& ephemeral) {
    return crypto::mac16(cookie_key.bytes(), {source, ephemeral});
}

}  // namespace qanat::handshake
