#include "controlplane/resolver/address_order.h"

#include <gtest/gtest.h>

#include <string>

namespace qanat::controlplane {
namespace {

wire::IpAddress six(uint8_t n) {
    wire::IpAddress address;
    address.family = wire::IpAddress::Family::v6;
    address.bytes[0] = 0x20;
    address.bytes[15] = n;
    return address;
}
wire::IpAddress four(uint8_t n) {
    return wire::IpAddress::v4(192, 0, 2, n);
}

std::string text(const std::vector<wire::IpAddress>& addresses) {
    std::string out;
    for (const wire::IpAddress& address : addresses)
        out += (address.is_v4() ? "4." : "6.") + std::to_string(address.bytes[address.is_v4() ? 3 : 15]) + " ";
    return out;
}

TEST(AddressOrder, TakesTurnsIpv6First) {
    EXPECT_EQ(text(interleave_families({six(1), six(2)}, {four(1), four(2)}, 16)), "6.1 4.1 6.2 4.2 ");
    EXPECT_EQ(text(interleave_families({six(1)}, {four(1), four(2), four(3)}, 16)), "6.1 4.1 4.2 4.3 ");
    EXPECT_EQ(text(interleave_families({}, {four(1), four(2)}, 16)), "4.1 4.2 ");
    EXPECT_EQ(text(interleave_families({six(1), six(2)}, {}, 16)), "6.1 6.2 ");
    EXPECT_EQ(text(interleave_families({}, {}, 16)), "");
}

TEST(AddressOrder, LeavesOutDoublesAndStopsAtTheMaximum) {
    EXPECT_EQ(text(interleave_families({six(1), six(1)}, {four(1), four(1), four(2)}, 16)), "6.1 4.1 4.2 ");
    EXPECT_EQ(text(interleave_families({six(1), six(2)}, {four(1), four(2)}, 3)), "6.1 4.1 6.2 ");
    EXPECT_EQ(text(interleave_families({six(1)}, {four(1)}, 0)), "");
}

}  // namespace
}  // namespace qanat::controlplane
