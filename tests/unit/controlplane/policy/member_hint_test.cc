#include "controlplane/policy/member_hint.h"

#include <gtest/gtest.h>

#include "controlplane/policy/exit_policy.h"

namespace qanat::controlplane {
namespace {

wire::Endpoint at(const char* text) {
    return *wire::Endpoint::parse(text);
}

TEST(MemberHint, AllBlocksParse) {
    for (const std::string_view block : undialable_blocks()) EXPECT_TRUE(wire::Cidr::parse(block)) << block;
}

TEST(MemberHint, OnlyHostsThatCannotBeHarmedAreDialled) {
    const std::vector<wire::IpAddress> own{*wire::IpAddress::parse("127.0.0.1"), *wire::IpAddress::parse("10.0.0.5"),
                                           *wire::IpAddress::parse("2001:db8::5")};
    const std::vector<wire::Endpoint> wildcard{at("0.0.0.0:4000")};
    const std::vector<wire::Endpoint> single{at("10.0.0.5:4000")};
    // Allowing everything opens nothing that a hint must not reach; denying closes.
    const auto rules = make_policy_rules(
        {.allow = {.private_ranges = true, .blocks = {*wire::Cidr::parse("0.0.0.0/0"), *wire::Cidr::parse("::/0")}},
         .deny = {.blocks = {*wire::Cidr::parse("198.51.100.0/24")}}},
        own);
    const struct {
        const char* hint;
        bool expected_wildcard;
        bool expected_single;
    } kTable[] = {
        {"192.0.2.1:4000", true, true},
        {"10.0.0.6:4000", true, true},
        {"[2001:db8::1]:4000", true, true},
        {"127.0.0.1:4001", true, true},  // another node on this machine
        {"10.0.0.5:4001", true, true},
        {"127.0.0.1:4000", false, true},  // ourselves, if we listen there
        {"127.8.8.8:4000", false, true},
        {"10.0.0.5:4000", false, false},
        {"[2001:db8::5]:4000", false, true},
        {"192.0.2.1:0", false, false},
        {"0.0.0.0:4000", false, false},
        {"0.1.2.3:4000", false, false},
        {"[::]:4000", false, false},
        {"169.254.169.254:80", false, false},
        {"[fe80::1]:4000", false, false},
        {"100.100.100.200:80", false, false},
        {"168.63.129.16:80", false, false},
        {"[fd00:ec2::254]:80", false, false},
        {"[fd20:ce::254]:80", false, false},
        {"224.0.0.1:4000", false, false},
        {"[ff02::1]:4000", false, false},
        {"255.255.255.255:4000", false, false},
        {"[64:ff9b::a9fe:a9fe]:80", false, false},
        {"[2002:7f00:1::]:4000", false, false},
        {"[::ffff:169.254.169.254]:80", false, false},
        {"198.51.100.7:4000", false, false},  // what the operator denies
    };
    for (const auto& row : kTable) {
        SCOPED_TRACE(row.hint);
        EXPECT_EQ(may_dial_hint(at(row.hint), rules, wildcard, own), row.expected_wildcard);
        EXPECT_EQ(may_dial_hint(at(row.hint), rules, single, own), row.expected_single);
    }
}

TEST(MemberHint, WhatTheExitDeniesByItselfMayBeAMember) {
    const auto rules = make_policy_rules({}, {});
    EXPECT_TRUE(may_dial_hint(at("192.168.1.7:4000"), rules, {}, {}));
    EXPECT_TRUE(may_dial_hint(at("[::1]:4000"), rules, {}, {}));
}

}  // namespace
}  // namespace qanat::controlplane
