// Socks5Users: who may use the SOCKS listener (RFC 1929). Holds no password, only tags that the control plane made.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

#include "common/base/bytes.h"
#include "common/ring/messages.h"

namespace qanat::dataplane {

struct Socks5Users {
    bool required = false;  // false: nobody has to log in, and whoever does is let in

    Socks5Users() = default;
    // A count beyond the array (which the ring codec refuses) is taken as a full array.
    explicit Socks5Users(const ring::Users& users);

    // True if not required, or if HMAC-SHA256(salt, u8 length ‖ user ‖ password) is one of the tags. Both parts are at
    // most 255 bytes. All tags are compared, each in constant time, so the time tells nothing about which one was near.
    [[nodiscard]] bool accept(Bytes user, Bytes password) const;

private:
    size_t count_ = 0;
    std::array<uint8_t, 32> salt_{};
    std::array<std::array<uint8_t, 32>, ring::kUsersMax> tags_{};
};

}  // namespace qanat::dataplane
