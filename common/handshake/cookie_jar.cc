#include "common/handshake/cookie_jar.h"

#include <utility>

namespace qanat::handshake {

void CookieJar::rotate(Secret<32> key, Time now) {
    previous_ = std::move(current_);
    current_ = Key{std::move(key), now};
}

CookieJar::Accepted CookieJar::accepted(const SourceAddress& source, const PublicKey& ephemeral, Time now) const {
    Accepted accepted;
    const auto add = [&](const Key& key) {
        if (now - key.made < kKeyLifetime) accepted.cookies[accepted.count++] = make_cookie(key.key, source, ephemeral);
    };
    add(current_);
    if (previous_) add(*previous_);
    return accepted;
}

}  // namespace qanat::handshake
