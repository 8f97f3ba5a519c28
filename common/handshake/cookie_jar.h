// CookieJar: the node's K_cookie (PROTOCOL section 2), replaced every 120 s; the previous one stays valid for another
// 120 s. Validity follows from a key's age alone, so a late rotation never makes an old cookie live longer.
#pragma once

#include <array>
#include <chrono>
#include <optional>

#include "common/handshake/gate.h"

namespace qanat::handshake {

class CookieJar {
public:
    // A point in monotonic time. The jar reads no clock.
    using Time = std::chrono::steady_clock::time_point;

    static constexpr std::chrono::seconds kKeyPeriod{120};
    static constexpr std::chrono::seconds kKeyLifetime = 2 * kKeyPeriod;

    // The cookies that may be presented now; at most one per key.
    struct Accepted {
        std::array<Cookie, 2> cookies{};
        size_t count = 0;
    };

    // `key`: 32 fresh random bytes.
    CookieJar(Secret<32> key, Time now) : current_{std::move(key), now} {}

    // When due, the caller brings 32 fresh random bytes. Call both on a timer or before every issue().
    [[nodiscard]] bool rotation_due(Time now) const { return now - current_.made >= kKeyPeriod; }
    void rotate(Secret<32> key, Time now);

    [[nodiscard]] Cookie issue(const SourceAddress& source, const PublicKey& ephemeral) const {
        return make_cookie(current_.key, source, ephemeral);
    }
    [[nodiscard]] Accepted accepted(const SourceAddress& source, const PublicKey& ephemeral, Time now) const;

private:
    struct Key {
        Secret<32> key;
        Time made;
    };
    Key current_;
    std::optional<Key> previous_;
};

}  // namespace qanat::handshake
