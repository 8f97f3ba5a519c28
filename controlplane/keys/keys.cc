#include "controlplane/keys/keys.h"

#include "common/crypto/aead.h"
#include "common/crypto/cpu.h"
#include "common/handshake/node_id.h"
#include "common/handshake/session_messages.h"
#include "controlplane/config/identity_file.h"
#include "controlplane/config/network_key.h"

namespace qanat::controlplane {

std::string Keys::id() const {
    return encode_node_id(identity.public_key);
}

std::string Keys::fingerprint() const {
    constexpr std::string_view kDigits = "0123456789abcdef";
    std::string text;
    for (const uint8_t byte : network.front().fingerprint) {
        text += kDigits[byte >> 4];
        text += kDigits[byte & 15];
    }
    return text;
}

Result<Keys> load_keys(const Config& config, Role role, const Environment& environment) {
    const auto key_path = find_network_key(config.key, environment);
    if (!key_path) return tl::unexpected(key_path.error());
    const auto psk = load_network_key(*key_path);
    if (!psk) return tl::unexpected(psk.error());

    const auto identity_path = find_identity(config.identity, role, environment);
    if (!identity_path) return tl::unexpected(identity_path.error());
    auto identity = load_or_create_identity(*identity_path);
    if (!identity) return tl::unexpected(identity.error());

    Keys keys;
    keys.network.push_back(crypto::derive_network_keys(*psk));
    keys.identity = std::move(*identity);
    keys.identity_path = *identity_path;
    return keys;
}

uint32_t own_capabilities() {
    const bool aes = crypto::has_aes_hardware() && crypto::Aead::supports(crypto::Suite::aes_128_gcm);
    return aes ? handshake::kCapabilityAes : 0;
}

std::vector<crypto::Suite> runnable_suites(const std::vector<crypto::Suite>& suites) {
    std::vector<crypto::Suite> runnable;
    for (const crypto::Suite suite : suites)
        if (crypto::Aead::supports(suite)) runnable.push_back(suite);
    return runnable;
}

}  // namespace qanat::controlplane
