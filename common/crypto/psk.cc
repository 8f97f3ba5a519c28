#include "common/crypto/psk.h"

#include "common/crypto/hkdf.h"

namespace qanat::crypto {

NetworkKeys derive_network_keys(const Secret<32>& psk) {
    const Secret<32> prk = extract(as_bytes("qanat1 psk"), psk.bytes());
    NetworkKeys keys{expand_label_secret(prk.bytes(), "gate", {}),
                     expand_label_secret(prk.bytes(), "noise", {}),
                     expand_label_secret(prk.bytes(), "discovery", {}),
                     {}};
    expand_label(prk.bytes(), "fingerprint", {}, keys.fingerprint);
    return keys;
}

}  // namespace qanat::crypto
