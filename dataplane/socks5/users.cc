#include "dataplane/socks5/users.h"

#include <algorithm>

#include "common/base/assert.h"
#include "common/crypto/sha256.h"

namespace qanat::dataplane {

Socks5Users::Socks5Users(const ring::Users& users)
    : required(users.required != 0),
      count_(std::min<size_t>(users.count, ring::kUsersMax)),
      salt_(users.salt),
      tags_(users.tags) {}

bool Socks5Users::accept(Bytes user, Bytes password) const {
    QANAT_ASSERT(user.size() <= 255 && password.size() <= 255);
    if (!required) return true;
    const std::array<uint8_t, 1> length{static_cast<uint8_t>(user.size())};
    const crypto::Sha256Digest tag = crypto::hmac_sha256(salt_, {length, user, password});
    bool found = false;
    for (size_t i = 0; i < count_; ++i) found |= crypto::equal_constant_time(tag, tags_[i]);
    return found;
}

}  // namespace qanat::dataplane
