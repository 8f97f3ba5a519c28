#include "common/handshake/cookie_jar.h"

#include <gtest/gtest.h>

#include <algorithm>

namespace qanat::handshake {
namespace {

using std::chrono::seconds;
using Time = CookieJar::Time;

Secret<32> key_of(uint8_t value) {
    Secret<32> key;
    std::fill(key.writable().begin(), key.writable().end(), value);
    return key;
}

constexpr SourceAddress kSource{1, 2, 3};
constexpr PublicKey kEphemeral{4, 5, 6};
const Time kStart = Time(seconds(1000));

bool accepts(const CookieJar& jar, const Cookie& cookie, Time now, const SourceAddress& source = kSource,
             const PublicKey& ephemeral = kEphemeral) {
    const auto accepted = jar.accepted(source, ephemeral, now);
    return std::find(accepted.cookies.begin(), accepted.cookies.begin() + static_cast<ptrdiff_t>(accepted.count),
                     cookie) != accepted.cookies.begin() + static_cast<ptrdiff_t>(accepted.count);
}

TEST(CookieJar, rotation_is_due_after_120_s) {
    const CookieJar jar(key_of(1), kStart);
    EXPECT_FALSE(jar.rotation_due(kStart));
    EXPECT_FALSE(jar.rotation_due(kStart + seconds(120) - Time::duration(1)));
    EXPECT_TRUE(jar.rotation_due(kStart + seconds(120)));
}

TEST(CookieJar, cookie_is_bound_to_address_and_ephemeral) {
    const CookieJar jar(key_of(1), kStart);
    const Cookie cookie = jar.issue(kSource, kEphemeral);
    EXPECT_TRUE(accepts(jar, cookie, kStart));
    EXPECT_FALSE(accepts(jar, cookie, kStart, SourceAddress{1, 2, 4}));
    EXPECT_FALSE(accepts(jar, cookie, kStart, kSource, PublicKey{4, 5, 7}));
    EXPECT_FALSE(accepts(CookieJar(key_of(2), kStart), cookie, kStart));
}

TEST(CookieJar, previous_key_is_valid_for_another_120_s) {
    CookieJar jar(key_of(1), kStart);
    const Cookie old_cookie = jar.issue(kSource, kEphemeral);
    jar.rotate(key_of(2), kStart + seconds(120));
    EXPECT_NE(jar.issue(kSource, kEphemeral), old_cookie);
    EXPECT_TRUE(accepts(jar, old_cookie, kStart + seconds(240) - Time::duration(1)));
    EXPECT_FALSE(accepts(jar, old_cookie, kStart + seconds(240)));
    EXPECT_TRUE(accepts(jar, jar.issue(kSource, kEphemeral), kStart + seconds(240)));

    jar.rotate(key_of(3), kStart + seconds(121));
    EXPECT_FALSE(accepts(jar, old_cookie, kStart + seconds(121)));
}

TEST(CookieJar, late_rotation_does_not_lengthen_a_life) {
    CookieJar jar(key_of(1), kStart);
    const Cookie cookie = jar.issue(kSource, kEphemeral);
    EXPECT_TRUE(accepts(jar, cookie, kStart + seconds(239)));
    EXPECT_FALSE(accepts(jar, cookie, kStart + seconds(240)));
    jar.rotate(key_of(2), kStart + seconds(300));
    EXPECT_FALSE(accepts(jar, cookie, kStart + seconds(300)));
    EXPECT_EQ(jar.accepted(kSource, kEphemeral, kStart + seconds(300)).count, 1u);
}

}  // namespace
}  // namespace qanat::handshake
