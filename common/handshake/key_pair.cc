#include "common/handshake/key_pair.h"

#include <sodium.h>

#include <utility>

namespace qanat {

KeyPair make_key_pair(Secret<32> random) {
    KeyPair pair{std::move(random), {}};
    crypto_scalarmult_base(pair.public_key.data(), pair.secret.bytes().data());
    return pair;
}

}  // namespace qanat
