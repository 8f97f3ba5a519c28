#include "controlplane/handshake/admission.h"

#include <gtest/gtest.h>

namespace qanat::controlplane {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

const Instant kStart{seconds(1000)};

wire::IpAddress ip(std::string_view text) {
    return wire::IpAddress::parse(text).value();
}

TEST(TokenBucket, HoldsTheBurstAndRefillsByRate) {
    TokenBucket bucket(10, 3, kStart);
    EXPECT_TRUE(bucket.take(kStart));
    EXPECT_TRUE(bucket.take(kStart));
    EXPECT_TRUE(bucket.take(kStart));
    EXPECT_FALSE(bucket.take(kStart));
    EXPECT_FALSE(bucket.take(kStart + milliseconds(99)));
    EXPECT_TRUE(bucket.take(kStart + milliseconds(100)));
    EXPECT_FALSE(bucket.take(kStart + milliseconds(100)));
    EXPECT_DOUBLE_EQ(bucket.level(kStart + seconds(100)), 3);
    EXPECT_DOUBLE_EQ(bucket.level(kStart), 3);  // a clock that goes back takes nothing
}

constexpr Admission::Settings kSettings{
    .handshakes_per_second = 100, .handshakes_burst = 100, .source_per_second = 1, .source_burst = 10};

TEST(Admission, ASourceHasItsShare) {
    Admission admission(kSettings, kStart);
    for (int i = 0; i < 10; ++i) EXPECT_TRUE(admission.admit(ip("192.0.2.1"), kStart));
    EXPECT_FALSE(admission.admit(ip("192.0.2.1"), kStart));
    EXPECT_TRUE(admission.admit(ip("192.0.2.2"), kStart));
    EXPECT_FALSE(admission.admit(ip("192.0.2.1"), kStart + milliseconds(999)));
    EXPECT_TRUE(admission.admit(ip("192.0.2.1"), kStart + seconds(1)));
}

TEST(Admission, AnIpv6CustomerIsABlockOf56Bits) {
    Admission admission(kSettings, kStart);
    for (int i = 0; i < 10; ++i)
        EXPECT_TRUE(admission.admit(ip("2001:db8:0:" + std::to_string(i) + "::1"), kStart)) << i;
    EXPECT_FALSE(admission.admit(ip("2001:db8:0:ff::1"), kStart));
    EXPECT_TRUE(admission.admit(ip("2001:db8:0:100::1"), kStart));
}

TEST(Admission, AsksForCookiesBelowHalfOfTheBurstAndStopsAtNone) {
    Admission admission(kSettings, kStart);
    for (int i = 0; i < 50; ++i) {
        EXPECT_FALSE(admission.under_load(kStart)) << i;
        EXPECT_TRUE(admission.admit(wire::IpAddress::v4(10, 0, 0, static_cast<uint8_t>(i)), kStart));
    }
    EXPECT_TRUE(admission.admit(ip("10.1.0.1"), kStart));
    EXPECT_TRUE(admission.under_load(kStart));
    for (int i = 0; i < 49; ++i)
        EXPECT_TRUE(admission.admit(wire::IpAddress::v4(10, 2, 0, static_cast<uint8_t>(i)), kStart));
    EXPECT_FALSE(admission.admit(ip("10.3.0.1"), kStart));
    EXPECT_FALSE(admission.under_load(kStart + seconds(1)));
}

TEST(Admission, ManySourcesAreBounded) {
    Admission::Settings settings = kSettings;
    settings.handshakes_per_second = settings.handshakes_burst = 100000;
    Admission admission(settings, kStart);
    for (uint32_t i = 0; i < 2 * Admission::kSourcesMax; ++i)
        EXPECT_TRUE(admission.admit(
            wire::IpAddress::v4(10, 1, static_cast<uint8_t>(i >> 8), static_cast<uint8_t>(i & 255)), kStart));
    // Those that are idle again are forgotten, and a new one has its own share.
    const Instant later = kStart + seconds(60);
    for (int i = 0; i < 10; ++i) EXPECT_TRUE(admission.admit(ip("192.0.2.1"), later));
    EXPECT_FALSE(admission.admit(ip("192.0.2.1"), later));
}

}  // namespace
}  // namespace qanat::controlplane
