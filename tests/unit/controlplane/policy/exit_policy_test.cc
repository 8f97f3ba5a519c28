#include "controlplane/policy/exit_policy.h"

#include <gtest/gtest.h>

#include <cstring>

#include "common/ring/codec.h"
#include "dataplane/exit/policy.h"

namespace qanat::controlplane {
namespace {

using ring::PolicyAction;
using ring::PolicyOrigin;
using ring::PolicyRule;

wire::IpAddress ip(std::string_view text) {
    return wire::IpAddress::parse(text).value();
}

wire::Cidr block(std::string_view text) {
    return wire::Cidr::parse(text).value();
}

bool allowed(const std::vector<PolicyRule>& rules, std::string_view address) {
    const PolicyRule* rule = find_policy_rule(rules, ip(address));
    return rule == nullptr || rule->action == PolicyAction::allow;
}

const std::vector<wire::IpAddress> kOwn{ip("127.0.0.1"), ip("203.0.113.7"), ip("169.254.1.1"), ip("2001:db8::7")};

TEST(ExitPolicy, DeniesWhatIsNotThePublicInternet) {
    const auto rules = make_policy_rules({}, kOwn);
    for (const char* address : {"0.0.0.0",
                                "0.255.255.255",
                                "127.0.0.1",
                                "127.255.255.255",
                                "10.0.0.0",
                                "10.255.255.255",
                                "172.16.0.0",
                                "172.31.255.255",
                                "192.168.0.0",
                                "192.168.255.255",
                                "100.64.0.0",
                                "100.127.255.255",
                                "169.254.0.0",
                                "169.254.169.254",
                                "169.254.255.255",
                                "192.0.0.0",
                                "192.0.0.255",
                                "198.18.0.0",
                                "198.19.255.255",
                                "224.0.0.1",
                                "239.255.255.255",
                                "240.0.0.0",
                                "255.255.255.255",
                                "::",
                                "::1",
                                "fc00::1",
                                "fdff::1",
                                "fe80::1",
                                "febf::1",
                                "ff02::1",
                                "64:ff9b::7f00:1",
                                "2002:7f00:1::",
                                "::ffff:127.0.0.1",
                                "::ffff:10.1.2.3",
                                "203.0.113.7",
                                "2001:db8::7"})
        EXPECT_FALSE(allowed(rules, address)) << address;
}

TEST(ExitPolicy, AllowsTheInternetUpToTheEdges) {
    const auto rules = make_policy_rules({}, kOwn);
    for (const char* address :
         {"1.0.0.0",         "9.255.255.255",   "11.0.0.0",        "100.63.255.255", "100.128.0.0",
          "126.255.255.255", "128.0.0.0",       "169.253.255.255", "169.255.0.0",    "172.15.255.255",
          "172.32.0.0",      "192.0.1.0",       "192.167.255.255", "192.169.0.0",    "198.17.255.255",
          "198.20.0.0",      "223.255.255.255", "203.0.113.6",     "203.0.113.8",    "2001:db8::8",
          "2606:4700::1111", "2003::1",         "::ffff:8.8.8.8"})
        EXPECT_TRUE(allowed(rules, address)) << address;
}

TEST(ExitPolicy, PrivateOpensPrivateNetworksAndOwnAddressesButNotLinkLocal) {
    ExitPolicyConfig config;
    config.allow.private_ranges = true;
    const auto rules = make_policy_rules(config, kOwn);
    for (const char* address : {"127.0.0.1", "127.9.9.9", "::1", "10.1.2.3", "172.16.5.5", "192.168.1.1", "100.64.0.1",
                                "fc00::1", "203.0.113.7", "2001:db8::7", "::ffff:127.0.0.1"})
        EXPECT_TRUE(allowed(rules, address)) << address;
    for (const char* address : {"169.254.169.254", "169.254.1.1", "fe80::1", "0.0.0.0", "224.0.0.1", "::", "ff02::1"})
        EXPECT_FALSE(allowed(rules, address)) << address;
}

TEST(ExitPolicy, WhatTheOperatorDeniesStaysDenied) {
    ExitPolicyConfig config;
    config.deny.blocks = {block("10.1.0.0/16"), block("8.8.8.8")};
    config.allow.blocks = {block("10.0.0.0/8"), block("169.254.169.254/32")};
    const auto rules = make_policy_rules(config, kOwn);
    EXPECT_FALSE(allowed(rules, "10.1.2.3"));
    EXPECT_TRUE(allowed(rules, "10.2.2.3"));
    EXPECT_TRUE(allowed(rules, "169.254.169.254"));
    EXPECT_FALSE(allowed(rules, "169.254.169.253"));
    EXPECT_FALSE(allowed(rules, "8.8.8.8"));
    EXPECT_TRUE(allowed(rules, "8.8.4.4"));

    config.deny.private_ranges = true;
    config.allow.private_ranges = true;
    EXPECT_FALSE(allowed(make_policy_rules(config, kOwn), "10.2.2.3"));
}

TEST(ExitPolicy, AllowEverythingIsPossible) {
    ExitPolicyConfig config;
    config.allow.blocks = {block("0.0.0.0/0"), block("::/0")};
    const auto rules = make_policy_rules(config, kOwn);
    for (const char* address : {"127.0.0.1", "169.254.169.254", "::1", "203.0.113.7"})
        EXPECT_TRUE(allowed(rules, address)) << address;
}

TEST(ExitPolicy, RulesNameTheirOrigin) {
    ExitPolicyConfig config;
    config.deny.blocks = {block("8.8.8.8")};
    config.allow.blocks = {block("10.0.0.0/8")};
    const auto rules = make_policy_rules(config, kOwn);
    const auto origin = [&](std::string_view address) { return find_policy_rule(rules, ip(address))->origin; };
    EXPECT_EQ(origin("8.8.8.8"), PolicyOrigin::config);
    EXPECT_EQ(origin("10.0.0.1"), PolicyOrigin::config);
    EXPECT_EQ(origin("127.0.0.1"), PolicyOrigin::built_in);
    EXPECT_EQ(origin("203.0.113.7"), PolicyOrigin::own_address);
    EXPECT_EQ(find_policy_rule(rules, ip("203.0.113.7"))->number, 1u);
    EXPECT_EQ(find_policy_rule(rules, ip("9.9.9.9")), nullptr);
}

TEST(ExitPolicy, PartsAreWholeAndValid) {
    const auto all = make_policy_rules({}, kOwn);
    std::vector<PolicyRule> many;
    for (size_t i = 0; i < 121; ++i) many.push_back(all[i % all.size()]);
    for (const size_t count : {0u, 1u, 39u, 40u, 41u, 80u, 121u}) {
        const std::span<const PolicyRule> rules(many.data(), count);
        const auto parts = make_policy_parts(rules, 3);
        ASSERT_EQ(parts.size(), std::max<size_t>(1, (count + 39) / 40));
        uint32_t next = 0;
        for (const ring::PolicyPart& part : parts) {
            EXPECT_EQ(part.total, count);
            EXPECT_EQ(part.first, next);
            EXPECT_EQ(part.version, 3u);
            for (uint32_t i = 0; i < part.count; ++i)
                EXPECT_EQ(std::memcmp(&part.rules[i], &many[next + i], sizeof(PolicyRule)), 0);
            next += part.count;
            const Bytes bytes(static_cast<const uint8_t*>(static_cast<const void*>(&part)), sizeof part);
            EXPECT_EQ(ring::validate(ring::PolicyPart::kType, bytes), ring::CodecError::none);
        }
        EXPECT_EQ(next, count);
    }
}

TEST(ExitPolicy, ATargetIsDeniedOnlyIfNoneOfItsAddressesMayBeDialled) {
    const auto rules = make_policy_rules({.allow = {.blocks = {block("10.1.0.0/16")}}, .deny = {}}, kOwn);
    const struct {
        std::vector<wire::IpAddress> addresses;
        bool allowed;
        const char* text;
    } kTable[] = {
        {{ip("1.1.1.1")}, true, "allowed: no rule matches"},
        {{ip("10.1.2.3")}, true, "allowed by exit_policy.allow[0] 10.1.0.0/16"},
        {{ip("10.2.0.1")}, false, "denied by built-in rule 10.0.0.0/8"},
        {{ip("10.2.0.1"), ip("1.1.1.1")}, true, "allowed: no rule matches"},
        {{ip("::1"), ip("10.2.0.1")}, false, "denied by built-in rule ::1/128"},
        {{ip("203.0.113.7")}, false, "denied: the exit's own address"},
    };
    for (const auto& row : kTable) {
        SCOPED_TRACE(row.text);
        const PolicyVerdict verdict = judge_target(rules, row.addresses);
        EXPECT_EQ(verdict.allowed, row.allowed);
        EXPECT_EQ(describe_rule(verdict.rule), row.text);
    }
}

TEST(ExitPolicy, ARuleIsDescribedInTheEnginesWords) {
    const auto rules = make_policy_rules({.allow = {.private_ranges = true, .blocks = {block("2001:db8:1::/48")}},
                                          .deny = {.blocks = {block("0.0.0.0/0"), block("1.2.3.4")}}},
                                         kOwn);
    EXPECT_EQ(describe_rule(nullptr), dataplane::describe(nullptr).text());
    for (const PolicyRule& rule : rules) EXPECT_EQ(describe_rule(&rule), dataplane::describe(rule).text());
}

}  // namespace
}  // namespace qanat::controlplane
