#include "controlplane/policy/own_addresses.h"

#include <gtest/gtest.h>

#include <algorithm>

namespace qanat::controlplane {
namespace {

wire::IpAddress ip(std::string_view text) {
    return wire::IpAddress::parse(text).value();
}

TEST(OwnAddresses, HoldLoopbackEachOnce) {
    const auto own = read_own_addresses();
    ASSERT_TRUE(own.has_value());
    EXPECT_TRUE(std::is_sorted(own->begin(), own->end()));
    EXPECT_EQ(std::adjacent_find(own->begin(), own->end()), own->end());
    EXPECT_NE(std::find(own->begin(), own->end(), ip("127.0.0.1")), own->end());
}

TEST(OwnAddresses, BestPublicAddress) {
    const struct {
        std::vector<wire::IpAddress> own;
        const char* best;
    } kTable[] = {
        {{}, "127.0.0.1"},
        {{ip("127.0.0.1"), ip("::1")}, "127.0.0.1"},
        {{ip("127.0.0.1"), ip("169.254.3.4")}, "169.254.3.4"},
        {{ip("127.0.0.1"), ip("10.0.0.5"), ip("fe80::1")}, "10.0.0.5"},
        {{ip("10.0.0.5"), ip("2606:4700::1111")}, "2606:4700::1111"},
        {{ip("10.0.0.5"), ip("203.0.113.7"), ip("2606:4700::1111")}, "203.0.113.7"},
    };
    for (const auto& row : kTable) EXPECT_EQ(best_public_address(row.own).format(), row.best);
}

}  // namespace
}  // namespace qanat::controlplane
