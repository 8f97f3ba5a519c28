#include "controlplane/policy/punch_peer.h"

#include <gtest/gtest.h>

#include <string_view>
#include <vector>

#include "controlplane/policy/exit_policy.h"

namespace qanat::controlplane {
namespace {

wire::Endpoint at(std::string_view text) {
    return *wire::Endpoint::parse(text);
}

bool allowed(std::string_view peer, std::string_view observed = "198.51.100.9:50000") {
    return may_punch(at(peer), at(observed), {}, {});
}

TEST(PunchPeer, ThePublicSideOfANat) {
    EXPECT_TRUE(allowed("203.0.113.5:40000"));
    EXPECT_TRUE(allowed("198.51.100.9:40000"));  // behind the same one
    EXPECT_TRUE(allowed("[2001:db8::5]:40000", "[2001:db8::9]:50000"));
    EXPECT_FALSE(allowed("[2001:db8::5]:40000"));
    EXPECT_FALSE(allowed("203.0.113.5:40000", "[2001:db8::9]:50000"));
}

TEST(PunchPeer, NoPortOfAService) {
    for (const std::string_view port : {"0", "1", "22", "443", "1023"})
        EXPECT_FALSE(allowed("203.0.113.5:" + std::string(port))) << port;
    EXPECT_TRUE(allowed("203.0.113.5:1024"));
    EXPECT_TRUE(allowed("203.0.113.5:65535"));
}

TEST(PunchPeer, PrivateNetworksOnlyFromWithin) {
    for (const std::string_view peer :
         {"10.1.2.3:40000", "172.16.0.1:40000", "192.168.1.1:40000", "100.64.0.1:40000"}) {
        EXPECT_FALSE(allowed(peer)) << peer;
        EXPECT_TRUE(allowed(peer, "10.9.9.9:50000")) << peer;
    }
    EXPECT_FALSE(allowed("203.0.113.5:40000", "10.9.9.9:50000"));
    EXPECT_FALSE(allowed("[fd12::5]:40000", "[2001:db8::9]:50000"));
    EXPECT_TRUE(allowed("[fd12::5]:40000", "[fd12::9]:50000"));
}

TEST(PunchPeer, NeverThisMachineOrMoreThanOneHost) {
    for (const std::string_view peer : {"127.0.0.1:40000", "127.9.9.9:40000", "0.0.0.0:40000", "169.254.169.254:40000",
                                        "224.0.0.1:40000", "255.255.255.255:40000"})
        for (const std::string_view observed : {"198.51.100.9:50000", "10.9.9.9:50000", "127.0.0.1:50000"})
            EXPECT_FALSE(allowed(peer, observed)) << peer << " " << observed;
    for (const std::string_view peer : {"[::1]:40000", "[::]:40000", "[fe80::1]:40000", "[ff02::1]:40000"})
        for (const std::string_view observed : {"[2001:db8::9]:50000", "[::1]:50000"})
            EXPECT_FALSE(allowed(peer, observed)) << peer << " " << observed;
    const std::vector<wire::IpAddress> own{at("10.1.2.3:0").ip};
    EXPECT_FALSE(may_punch(at("10.1.2.3:40000"), at("10.9.9.9:50000"), {}, own));
    EXPECT_TRUE(may_punch(at("10.1.2.4:40000"), at("10.9.9.9:50000"), {}, own));
}

TEST(PunchPeer, WhatTheOperatorDeniesStaysDenied) {
    ExitPolicyConfig policy;
    policy.deny.blocks.push_back(*wire::Cidr::parse("203.0.113.0/24"));
    const auto rules = make_policy_rules(policy, {});
    EXPECT_FALSE(may_punch(at("203.0.113.5:40000"), at("198.51.100.9:50000"), rules, {}));
    EXPECT_TRUE(may_punch(at("192.0.3.5:40000"), at("198.51.100.9:50000"), rules, {}));
    // The built-in rules are about targets.
    EXPECT_TRUE(may_punch(at("10.1.2.3:40000"), at("10.9.9.9:50000"), rules, {}));
}

}  // namespace
}  // namespace qanat::controlplane
