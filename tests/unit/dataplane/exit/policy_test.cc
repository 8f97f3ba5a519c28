#include "dataplane/exit/policy.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <random>
#include <string>

namespace qanat::dataplane {
namespace {

using ring::PolicyAction;
using ring::PolicyOrigin;
using ring::PolicyRule;
using wire::IpAddress;

IpAddress ip(std::string_view text) {
    const auto parsed = IpAddress::parse(text);
    EXPECT_TRUE(parsed.has_value()) << text;
    return parsed.value_or(IpAddress{});
}

PolicyRule rule(PolicyAction action, std::string_view cidr, PolicyOrigin origin = PolicyOrigin::built_in,
                uint32_t number = 0) {
    const auto block = wire::Cidr::parse(cidr);
    EXPECT_TRUE(block.has_value()) << cidr;
    PolicyRule result{};
    if (!block) return result;
    result.ip = block->base.bytes;
    result.family = static_cast<uint8_t>(block->base.family);
    result.bits = block->bits;
    result.action = action;
    result.origin = origin;
    result.number = number;
    return result;
}
PolicyRule deny(std::string_view cidr) {
    return rule(PolicyAction::deny, cidr);
}
PolicyRule allow(std::string_view cidr) {
    return rule(PolicyAction::allow, cidr);
}

PolicyRule raw(uint8_t family, std::array<uint8_t, 16> bytes, uint8_t bits) {
    PolicyRule result = deny("0.0.0.0/0");
    result.ip = bytes;
    result.family = family;
    result.bits = bits;
    return result;
}

PartOutcome install(ExitPolicy& policy, uint32_t version, const std::vector<PolicyRule>& rules) {
    size_t first = 0;
    for (;;) {
        ring::PolicyPart part{};
        part.version = version;
        part.total = static_cast<uint32_t>(rules.size());
        part.first = static_cast<uint32_t>(first);
        part.count = static_cast<uint32_t>(std::min<size_t>(rules.size() - first, ring::kPolicyRulesPerPart));
        std::copy_n(rules.begin() + static_cast<ptrdiff_t>(first), part.count, part.rules.begin());
        const PartOutcome outcome = policy.apply(part);
        first += part.count;
        if (first >= rules.size() || outcome != PartOutcome::stored) return outcome;
    }
}

ExitPolicy policy_of(const std::vector<PolicyRule>& rules) {
    ExitPolicy policy;
    EXPECT_EQ(install(policy, 1, rules), PartOutcome::complete);
    return policy;
}

TEST(ExitPolicy, nothing_is_allowed_before_the_rules_are_there) {
    ExitPolicy policy;
    EXPECT_FALSE(policy.ready());
    EXPECT_FALSE(policy.check(ip("8.8.8.8")).allowed);
    std::vector<PolicyRule> rules(41, deny("10.0.0.0/8"));
    ring::PolicyPart part{};
    part.version = 1;
    part.total = 41;
    part.count = 40;
    std::copy_n(rules.begin(), 40, part.rules.begin());
    EXPECT_EQ(policy.apply(part), PartOutcome::stored);
    EXPECT_FALSE(policy.check(ip("8.8.8.8")).allowed);
    EXPECT_EQ(install(policy, 1, rules), PartOutcome::complete);
    EXPECT_TRUE(policy.ready());
    EXPECT_TRUE(policy.check(ip("8.8.8.8")).allowed);
    EXPECT_FALSE(policy.check(ip("10.1.2.3")).allowed);
}

TEST(ExitPolicy, an_empty_list_allows_everything) {
    const ExitPolicy policy = policy_of({});
    for (const char* address : {"0.0.0.0", "127.0.0.1", "255.255.255.255", "::", "::1", "fe80::1"}) {
        EXPECT_TRUE(policy.check(ip(address)).allowed);
        EXPECT_EQ(policy.check(ip(address)).rule, nullptr);
    }
}

TEST(ExitPolicy, the_first_match_decides) {
    const ExitPolicy policy = policy_of({deny("10.1.2.3/32"), allow("10.1.0.0/16"), deny("10.0.0.0/8"),
                                         allow("10.9.0.0/16"), allow("2001:db8::1/128"), deny("2001:db8::/32")});
    const struct {
        const char* address;
        bool allowed;
        int rule;  // −1: none
    } table[] = {
        {"10.1.2.3", false, 0},    {"10.1.2.4", true, 1},    {"10.1.255.255", true, 1},   {"10.2.0.0", false, 2},
        {"10.9.0.1", false, 2},    {"11.0.0.0", true, -1},   {"9.255.255.255", true, -1}, {"2001:db8::1", true, 4},
        {"2001:db8::2", false, 5}, {"2001:db9::", true, -1}, {"::10.1.2.3", true, -1},
    };
    ring::PolicyRule const* const first = policy.check(ip("10.1.2.3")).rule;
    for (const auto& row : table) {
        const auto verdict = policy.check(ip(row.address));
        EXPECT_EQ(verdict.allowed, row.allowed) << row.address;
        EXPECT_EQ(verdict.rule, row.rule < 0 ? nullptr : first + row.rule) << row.address;
    }
}

// Every range of the usual built-in list: the first and the last address of it, and its neighbours.
TEST(ExitPolicy, edges_of_every_built_in_range) {
    const struct {
        const char *cidr, *before, *first, *last, *after;
    } table[] = {
        {"0.0.0.0/8", nullptr, "0.0.0.0", "0.255.255.255", "1.0.0.0"},
        {"10.0.0.0/8", "9.255.255.255", "10.0.0.0", "10.255.255.255", "11.0.0.0"},
        {"100.64.0.0/10", "100.63.255.255", "100.64.0.0", "100.127.255.255", "100.128.0.0"},
        {"127.0.0.0/8", "126.255.255.255", "127.0.0.0", "127.255.255.255", "128.0.0.0"},
        {"169.254.0.0/16", "169.253.255.255", "169.254.0.0", "169.254.255.255", "169.255.0.0"},
        {"169.254.169.254/32", "169.254.169.253", "169.254.169.254", "169.254.169.254", "169.254.169.255"},
        {"172.16.0.0/12", "172.15.255.255", "172.16.0.0", "172.31.255.255", "172.32.0.0"},
        {"192.0.0.0/24", "191.255.255.255", "192.0.0.0", "192.0.0.255", "192.0.1.0"},
        {"192.0.2.0/24", "192.0.1.255", "192.0.2.0", "192.0.2.255", "192.0.3.0"},
        {"192.88.99.0/24", "192.88.98.255", "192.88.99.0", "192.88.99.255", "192.88.100.0"},
        {"192.168.0.0/16", "192.167.255.255", "192.168.0.0", "192.168.255.255", "192.169.0.0"},
        {"198.18.0.0/15", "198.17.255.255", "198.18.0.0", "198.19.255.255", "198.20.0.0"},
        {"198.51.100.0/24", "198.51.99.255", "198.51.100.0", "198.51.100.255", "198.51.101.0"},
        {"203.0.113.0/24", "203.0.112.255", "203.0.113.0", "203.0.113.255", "203.0.114.0"},
        {"224.0.0.0/4", "223.255.255.255", "224.0.0.0", "239.255.255.255", "240.0.0.0"},
        {"240.0.0.0/4", "239.255.255.255", "240.0.0.0", "255.255.255.255", nullptr},
        {"255.255.255.255/32", "255.255.255.254", "255.255.255.255", "255.255.255.255", nullptr},
        {"::/128", nullptr, "::", "::", "::1"},
        {"::1/128", "::", "::1", "::1", "::2"},
        {"64:ff9b::/96", "64:ff9a:ffff:ffff:ffff:ffff:ffff:ffff", "64:ff9b::", "64:ff9b::ffff:ffff", "64:ff9b::1:0:0"},
        {"64:ff9b:1::/48", "64:ff9b:0:ffff:ffff:ffff:ffff:ffff", "64:ff9b:1::", "64:ff9b:1:ffff:ffff:ffff:ffff:ffff",
         "64:ff9b:2::"},
        {"100::/64", "ff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "100::", "100::ffff:ffff:ffff:ffff", "100:0:0:1::"},
        {"2001::/32", "2000:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "2001::", "2001:0:ffff:ffff:ffff:ffff:ffff:ffff",
         "2001:1::"},
        {"2001:db8::/32", "2001:db7:ffff:ffff:ffff:ffff:ffff:ffff",
         "2001:db8::", "2001:db8:ffff:ffff:ffff:ffff:ffff:ffff", "2001:db9::"},
        {"2002::/16", "2001:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "2002::", "2002:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
         "2003::"},
        {"fc00::/7", "fbff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "fc00::", "fdff:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
         "fe00::"},
        {"fe80::/10", "fe7f:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "fe80::", "febf:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
         "fec0::"},
        {"fec0::/10", "febf:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "fec0::", "feff:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
         "ff00::"},
        {"ff00::/8", "feff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "ff00::", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
         nullptr},
        {"0.0.0.0/0", nullptr, "0.0.0.0", "255.255.255.255", nullptr},
        {"::/0", nullptr, "::", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", nullptr},
    };
    for (const auto& row : table) {
        const ExitPolicy policy = policy_of({deny(row.cidr)});
        if (row.before != nullptr) {
            EXPECT_TRUE(policy.check(ip(row.before)).allowed) << row.cidr << ' ' << row.before;
        }
        EXPECT_FALSE(policy.check(ip(row.first)).allowed) << row.cidr << ' ' << row.first;
        EXPECT_FALSE(policy.check(ip(row.last)).allowed) << row.cidr << ' ' << row.last;
        if (row.after != nullptr) {
            EXPECT_TRUE(policy.check(ip(row.after)).allowed) << row.cidr << ' ' << row.after;
        }
    }
}

TEST(ExitPolicy, ipv4_mapped_is_ipv4) {
    const ExitPolicy policy = policy_of({deny("127.0.0.0/8")});
    IpAddress mapped;  // made by hand: nothing else makes one
    mapped.family = IpAddress::Family::v6;
    mapped.bytes = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 127, 0, 0, 1};
    EXPECT_FALSE(policy.check(mapped).allowed);
    mapped.bytes[12] = 128;
    EXPECT_TRUE(policy.check(mapped).allowed);
    mapped.bytes[12] = 127;
    mapped.bytes[9] = 1;  // no longer mapped
    EXPECT_TRUE(policy.check(mapped).allowed);
    EXPECT_FALSE(policy.check(ip("::ffff:127.0.0.1")).allowed);
}

TEST(ExitPolicy, a_rule_written_as_ipv4_mapped_is_about_ipv4) {
    const std::array<uint8_t, 16> mapped{0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 10, 0, 0, 0};
    const ExitPolicy policy = policy_of({raw(6, mapped, 104)});
    EXPECT_FALSE(policy.check(ip("10.255.0.1")).allowed);
    EXPECT_TRUE(policy.check(ip("11.0.0.1")).allowed);
    EXPECT_FALSE(policy_of({raw(6, mapped, 96)}).check(ip("8.8.8.8")).allowed);
    // Shorter prefixes are about IPv6.
    EXPECT_TRUE(policy_of({raw(6, mapped, 95)}).check(ip("10.0.0.1")).allowed);
    EXPECT_FALSE(policy_of({raw(6, mapped, 95)}).check(ip("::fffe:0:1")).allowed);
}

TEST(ExitPolicy, bits_behind_the_prefix_do_not_count) {
    const ExitPolicy policy = policy_of({raw(4, {10, 1, 2, 3}, 8), raw(6, {0xfd, 1, 2, 3, 4, 5, 6, 7, 8}, 7)});
    EXPECT_FALSE(policy.check(ip("10.200.0.1")).allowed);
    EXPECT_FALSE(policy.check(ip("fc12::1")).allowed);
}

TEST(ExitPolicy, every_prefix_length) {
    for (unsigned bits = 0; bits <= 32; ++bits) {
        const ExitPolicy policy = policy_of({raw(4, {0xaa, 0xaa, 0xaa, 0xaa}, static_cast<uint8_t>(bits))});
        for (unsigned flipped = 0; flipped < 32; ++flipped) {
            IpAddress address = IpAddress::v4(0xaa, 0xaa, 0xaa, 0xaa);
            address.bytes[flipped / 8] = static_cast<uint8_t>(address.bytes[flipped / 8] ^ 0x80U >> flipped % 8);
            EXPECT_EQ(policy.check(address).allowed, flipped < bits) << bits << ' ' << flipped;
        }
    }
    std::array<uint8_t, 16> pattern;
    pattern.fill(0x55);
    for (unsigned bits = 0; bits <= 128; ++bits) {
        const ExitPolicy policy = policy_of({raw(6, pattern, static_cast<uint8_t>(bits))});
        for (unsigned flipped = 0; flipped < 128; ++flipped) {
            IpAddress address{IpAddress::Family::v6, pattern};
            address.bytes[flipped / 8] = static_cast<uint8_t>(address.bytes[flipped / 8] ^ 0x80U >> flipped % 8);
            EXPECT_EQ(policy.check(address).allowed, flipped < bits) << bits << ' ' << flipped;
        }
    }
}

TEST(ExitPolicy, a_part_with_a_rule_that_cannot_be_understood_is_refused_whole) {
    ExitPolicy policy = policy_of({deny("10.0.0.0/8")});
    for (const PolicyRule& bad : {raw(4, {}, 33), raw(6, {}, 129), raw(0, {}, 0), raw(5, {}, 8), raw(64, {}, 8)})
        EXPECT_EQ(install(policy, 2, {allow("0.0.0.0/0"), bad}), PartOutcome::invalid);
    PolicyRule bad = deny("1.2.3.4/32");
    bad.action = PolicyAction{0};
    EXPECT_EQ(install(policy, 2, {bad}), PartOutcome::invalid);
    bad.action = PolicyAction{3};
    EXPECT_EQ(install(policy, 2, {bad}), PartOutcome::invalid);
    ring::PolicyPart part{};
    part.version = 2;
    part.total = part.count = ring::kPolicyRulesPerPart + 1;
    EXPECT_EQ(policy.apply(part), PartOutcome::invalid);
    EXPECT_FALSE(policy.check(ip("10.0.0.1")).allowed);
    EXPECT_EQ(policy.size(), 1U);
    EXPECT_EQ(install(policy, 1, {}), PartOutcome::stale);
    EXPECT_EQ(install(policy, 2, {}), PartOutcome::complete);
    EXPECT_TRUE(policy.check(ip("10.0.0.1")).allowed);
}

TEST(ExitPolicy, full_list) {
    std::vector<PolicyRule> rules;
    for (uint32_t i = 0; i < ring::kPolicyRulesMax; ++i)
        rules.push_back(raw(4, {10, 0, static_cast<uint8_t>(i >> 8), static_cast<uint8_t>(i)}, 32));
    ExitPolicy policy = policy_of(rules);
    EXPECT_FALSE(policy.check(IpAddress::v4(10, 0, 3999 >> 8, 3999 & 255)).allowed);
    EXPECT_TRUE(policy.check(IpAddress::v4(10, 0, 4000 >> 8, 4000 & 255)).allowed);
    rules.push_back(deny("::/0"));
    EXPECT_EQ(install(policy, 2, rules), PartOutcome::invalid);
}

TEST(ExitPolicy, random_lists_against_a_slow_reference) {
    std::mt19937_64 random(99);
    ExitPolicy policy;
    for (uint32_t version = 1; version <= 200; ++version) {
        std::vector<PolicyRule> rules(random() % 60);
        for (PolicyRule& entry : rules) {
            const bool v4 = random() % 2 == 0;
            std::array<uint8_t, 16> bytes{};
            // Few different bits, so that rules overlap.
            for (size_t i = 0; i < (v4 ? 4U : 16U); ++i) bytes[i] = static_cast<uint8_t>(random() & 0x81);
            entry = raw(v4 ? 4 : 6, bytes, static_cast<uint8_t>(random() % (v4 ? 33 : 129)));
            if (random() % 2 == 0) entry.action = PolicyAction::allow;
        }
        ASSERT_EQ(install(policy, version, rules), PartOutcome::complete);
        for (int i = 0; i < 100; ++i) {
            const bool v4 = random() % 2 == 0;
            IpAddress address{v4 ? IpAddress::Family::v4 : IpAddress::Family::v6, {}};
            for (size_t byte = 0; byte < address.size(); ++byte)
                address.bytes[byte] = static_cast<uint8_t>(random() & 0x81);
            bool expected = true;
            for (const PolicyRule& entry : rules) {
                if ((entry.family == 4) != v4) continue;
                bool contained = true;
                for (unsigned bit = 0; bit < entry.bits; ++bit)
                    contained &= ((entry.ip[bit / 8] ^ address.bytes[bit / 8]) & 0x80 >> bit % 8) == 0;
                if (!contained) continue;
                expected = entry.action == PolicyAction::allow;
                break;
            }
            ASSERT_EQ(policy.check(address).allowed, expected) << address.format();
        }
    }
}

TEST(ExitPolicy, descriptions) {
    const auto text = [](const PolicyRule& entry) { return std::string(describe(entry).text()); };
    EXPECT_EQ(text(deny("127.0.0.0/8")), "denied by built-in rule 127.0.0.0/8");
    EXPECT_EQ(text(deny("fc00::/7")), "denied by built-in rule fc00::/7");
    EXPECT_EQ(text(rule(PolicyAction::deny, "10.0.0.0/8", PolicyOrigin::config, 2)),
              "denied by exit_policy.deny[2] 10.0.0.0/8");
    EXPECT_EQ(text(rule(PolicyAction::allow, "10.1.0.0/16", PolicyOrigin::config, 0)),
              "allowed by exit_policy.allow[0] 10.1.0.0/16");
    EXPECT_EQ(text(rule(PolicyAction::deny, "203.0.113.5/32", PolicyOrigin::own_address)),
              "denied: the exit's own address");
    const std::string longest = text(
        rule(PolicyAction::allow, "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff/128", PolicyOrigin::config, 0xffffffff));
    EXPECT_EQ(longest, "allowed by exit_policy.allow[4294967295] ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff/128");
    EXPECT_EQ(describe(nullptr).text(), "allowed: no rule matches");
}

}  // namespace
}  // namespace qanat::dataplane
