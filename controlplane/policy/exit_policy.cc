#include "controlplane/policy/exit_policy.h"

#include <algorithm>
#include <array>
#include <cstring>

#include "common/base/assert.h"

namespace qanat::controlplane {
namespace {

using ring::PolicyAction;
using ring::PolicyOrigin;
using ring::PolicyRule;

constexpr std::array<std::string_view, 21> kBuiltInDenies{
    "0.0.0.0/8",           // this network, RFC 1122: Linux connects it to itself
    "127.0.0.0/8",         // loopback
    "10.0.0.0/8",          // private, RFC 1918
    "172.16.0.0/12",       //
    "192.168.0.0/16",      //
    "100.64.0.0/10",       // shared address space, RFC 6598
    "169.254.0.0/16",      // link-local and cloud metadata, RFC 3927
    "192.0.0.0/24",        // protocol assignments, RFC 6890
    "198.18.0.0/15",       // benchmarking, RFC 2544
    "224.0.0.0/4",         // multicast
    "240.0.0.0/4",         // reserved
    "255.255.255.255/32",  // broadcast
    "::/128",              // unspecified
    "::1/128",             // loopback
    "fc00::/7",            // unique local, RFC 4193
    "fe80::/10",           // link-local
    "fec0::/10",           // site-local, RFC 3879: deprecated, still routed in places
    "ff00::/8",            // multicast
    "64:ff9b::/96",        // NAT64, RFC 6052: an IPv4 address in disguise
    "64:ff9b:1::/48",      // the same for local networks, RFC 8215
    "2002::/16",           // 6to4, RFC 3056: the same
};

constexpr std::array<std::string_view, 7> kPrivateBlocks{
    "127.0.0.0/8", "::1/128", "10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "fc00::/7"};

PolicyRule make_rule(const wire::Cidr& block, PolicyAction action, PolicyOrigin origin, size_t number) {
    PolicyRule rule{};
    std::memcpy(rule.ip.data(), block.base.bytes.data(), block.base.size());
    rule.family = block.base.is_v4() ? 4 : 6;
    rule.bits = block.bits;
    rule.action = action;
    rule.origin = origin;
    rule.number = static_cast<uint32_t>(number);
    return rule;
}

wire::Cidr parse_known(std::string_view text) {
    const auto block = wire::Cidr::parse(text);
    QANAT_ASSERT(block.has_value());
    return *block;
}

wire::Cidr single(const wire::IpAddress& address) {
    return {address, static_cast<uint8_t>(address.size() * 8)};
}

wire::Cidr block_of(const PolicyRule& rule) {
    wire::Cidr block;
    block.base.family = rule.family == 4 ? wire::IpAddress::Family::v4 : wire::IpAddress::Family::v6;
    block.base.bytes = rule.ip;
    block.bits = rule.bits;
    return block;
}

std::vector<wire::Cidr> expand_private(const PolicyList& list) {
    std::vector<wire::Cidr> blocks = list.blocks;
    if (list.private_ranges)
        for (const std::string_view text : kPrivateBlocks) blocks.push_back(parse_known(text));
    return blocks;
}

}  // namespace

std::span<const std::string_view> built_in_denies() {
    return kBuiltInDenies;
}

std::span<const std::string_view> private_blocks() {
    return kPrivateBlocks;
}

bool in_any(const wire::IpAddress& address, std::span<const std::string_view> blocks) {
    return std::any_of(blocks.begin(), blocks.end(), [&address](std::string_view text) {
        const auto block = wire::Cidr::parse(text);
        return block && block->contains(address);
    });
}

std::vector<PolicyRule> make_policy_rules(const ExitPolicyConfig& policy, std::span<const wire::IpAddress> own) {
    std::vector<PolicyRule> rules;
    size_t number = 0;
    for (const wire::Cidr& block : expand_private(policy.deny))
        rules.push_back(make_rule(block, PolicyAction::deny, PolicyOrigin::config, number++));
    for (const wire::Cidr& block : expand_private(policy.allow))
        rules.push_back(make_rule(block, PolicyAction::allow, PolicyOrigin::config, number++));
    if (policy.allow.private_ranges) {
        for (const wire::IpAddress& address : own) {
            // "private" does not reach link-local addresses, not even our own.
            if (!parse_known("169.254.0.0/16").contains(address) && !parse_known("fe80::/10").contains(address))
                rules.push_back(make_rule(single(address), PolicyAction::allow, PolicyOrigin::config, number++));
        }
    }
    for (size_t i = 0; i < kBuiltInDenies.size(); ++i)
        rules.push_back(make_rule(parse_known(kBuiltInDenies[i]), PolicyAction::deny, PolicyOrigin::built_in, i));
    for (size_t i = 0; i < own.size(); ++i)
        rules.push_back(make_rule(single(own[i]), PolicyAction::deny, PolicyOrigin::own_address, i));
    return rules;
}

std::vector<ring::PolicyPart> make_policy_parts(std::span<const PolicyRule> rules, uint32_t version) {
    QANAT_ASSERT(rules.size() <= ring::kPolicyRulesMax);
    std::vector<ring::PolicyPart> parts;
    size_t first = 0;
    do {
        ring::PolicyPart part{};
        part.version = version;
        part.total = static_cast<uint32_t>(rules.size());
        part.first = static_cast<uint32_t>(first);
        part.count = static_cast<uint32_t>(std::min<size_t>(rules.size() - first, ring::kPolicyRulesPerPart));
        std::copy_n(rules.begin() + static_cast<ptrdiff_t>(first), part.count, part.rules.begin());
        first += part.count;
        parts.push_back(part);
    } while (first < rules.size());
    return parts;
}

const PolicyRule* find_policy_rule(std::span<const PolicyRule> rules, const wire::IpAddress& address) {
    const auto contains = [&address](const PolicyRule& rule) { return block_of(rule).contains(address); };
    const auto found = std::find_if(rules.begin(), rules.end(), contains);
    return found == rules.end() ? nullptr : &*found;
}

bool denied_by_operator(std::span<const PolicyRule> rules, const wire::IpAddress& address) {
    const PolicyRule* rule = find_policy_rule(rules, address);
    return rule != nullptr && rule->origin == PolicyOrigin::config && rule->action == PolicyAction::deny;
}

PolicyVerdict judge_target(std::span<const PolicyRule> rules, std::span<const wire::IpAddress> addresses) {
    PolicyVerdict verdict;
    for (size_t i = 0; i < addresses.size(); ++i) {
        const PolicyRule* rule = find_policy_rule(rules, addresses[i]);
        if (rule == nullptr || rule->action == PolicyAction::allow) return {true, rule};
        if (i == 0) verdict.rule = rule;
    }
    return verdict;
}

std::string describe_rule(const PolicyRule* rule) {
    if (rule == nullptr) return "allowed: no rule matches";
    const bool allow = rule->action == PolicyAction::allow;
    const std::string verb = allow ? "allowed" : "denied";
    switch (rule->origin) {
        case PolicyOrigin::own_address:  // which one is nobody's business: it may be behind a NAT
            return verb + ": the exit's own address";
        case PolicyOrigin::built_in:
            return verb + " by built-in rule " + block_of(*rule).format();
        case PolicyOrigin::config:
            break;
    }
    return verb + " by exit_policy." + (allow ? "allow" : "deny") + "[" + std::to_string(rule->number) + "] " +
           block_of(*rule).format();
}

}  // namespace qanat::controlplane
