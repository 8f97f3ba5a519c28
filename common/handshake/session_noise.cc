#include "common/handshake/session_noise.h"

#include "common/base/assert.h"
#include "common/handshake/session_messages.h"

namespace qanat::handshake {

const noise::Pattern& session_pattern() {
    static const noise::Pattern pattern = [] {
        const auto found = noise::find_pattern("IKpsk1");
        QANAT_ASSERT(found.has_value());
        return *found;
    }();
    return pattern;
}

Bytes session_prologue() {
    static const auto prologue = [] {
        std::array<uint8_t, 14 + 1 + kMsg1Header.size()> bytes;
        ByteWriter writer(bytes);
        writer.bytes(as_bytes("qanat1 session"));
        writer.u8(0);
        writer.bytes(kMsg1Header);
        QANAT_ASSERT(writer.ok());
        QANAT_ASSERT(writer.size() == bytes.size());
        return bytes;
    }();
    return prologue;
}

wire::SessionSecrets derive_session(const noise::HandshakeState& noise, uint64_t session_id, crypto::Suite suite) {
    const noise::SplitKeys keys = noise.split();
    return wire::derive_session_secrets(noise.handshake_hash(), keys.initiator.bytes(), keys.responder.bytes(),
                                        session_id, suite);
}

}  // namespace qanat::handshake
