#include "dataplane/exit/policy.h"

#include <arpa/inet.h>

#include <algorithm>
#include <array>
#include <cstdio>

#include "common/base/bytes.h"

namespace qanat::dataplane {
namespace {

constexpr unsigned kMappedBits = 96;  // of ::ffff:0:0/96, RFC 4291 section 2.5.5.2

uint32_t v4_mask(unsigned bits) {
    return bits == 0 ? 0 : ~uint32_t{0} << (32 - bits);
}
uint64_t half_mask(unsigned bits) {
    return bits == 0 ? 0 : ~uint64_t{0} << (64 - bits);
}

struct Ip {  // an address in the form it is compared in
    bool is_v4;
    uint32_t v4;
    uint64_t high, low;
};

Ip from_v4_bytes(Bytes bytes) {
    ByteReader reader(bytes);
    return {true, reader.u32(), 0, 0};
}

Ip from_v6_bytes(Bytes bytes) {
    ByteReader reader(bytes);
    const uint64_t high = reader.u64();
    const uint64_t low = reader.u64();
    if (high == 0 && low >> 32 == 0xffff) return {true, static_cast<uint32_t>(low), 0, 0};
    return {false, 0, high, low};
}

bool valid(const ring::PolicyRule& rule) {
    const bool family_ok = (rule.family == 4 && rule.bits <= 32) || (rule.family == 6 && rule.bits <= 128);
    const bool action_ok = rule.action == ring::PolicyAction::allow || rule.action == ring::PolicyAction::deny;
    return family_ok && action_ok;
}

}  // namespace

ExitPolicy::ExitPolicy() : parts_(ring::kPolicyRulesMax) {
    v4_.reserve(ring::kPolicyRulesMax);
    v6_.reserve(ring::kPolicyRulesMax);
}

PartOutcome ExitPolicy::apply(const ring::PolicyPart& part) {
    if (part.count > part.rules.size()) {
        parts_.abandon();
        return PartOutcome::invalid;
    }
    const std::span<const ring::PolicyRule> rules = std::span(part.rules).first(part.count);
    // A rule that cannot be understood must not just be left out: it may be a deny.
    if (!std::all_of(rules.begin(), rules.end(), valid)) {
        parts_.abandon();
        return PartOutcome::invalid;
    }
    const PartOutcome outcome = parts_.accept(part.version, part.total, part.first, rules);
    if (outcome == PartOutcome::complete) {
        compile();
        ready_ = true;
    }
    return outcome;
}

void ExitPolicy::compile() {
    v4_.clear();
    v6_.clear();
    const std::span<const ring::PolicyRule> rules = parts_.items();
    for (size_t i = 0; i < rules.size(); ++i) {
        const ring::PolicyRule& rule = rules[i];
        const auto index = static_cast<uint32_t>(i);
        const Ip base = rule.family == 4 ? from_v4_bytes(Bytes(rule.ip).first(4)) : from_v6_bytes(rule.ip);
        // An IPv6 block inside ::ffff:0:0/96 is a block of IPv4 addresses: nothing arrives here as IPv4-mapped.
        const bool is_v4 = rule.family == 4 || (base.is_v4 && rule.bits >= kMappedBits);
        if (is_v4) {
            const uint32_t mask = v4_mask(rule.family == 4 ? rule.bits : rule.bits - kMappedBits);
            v4_.push_back({base.v4 & mask, mask, index});
        } else {
            ByteReader reader(rule.ip);
            const uint64_t mask_high = half_mask(std::min<unsigned>(rule.bits, 64));
            const uint64_t mask_low = half_mask(rule.bits > 64 ? rule.bits - 64U : 0);
            const uint64_t high = reader.u64();
            const uint64_t low = reader.u64();
            v6_.push_back({high & mask_high, low & mask_low, mask_high, mask_low, index});
        }
    }
}

ExitPolicy::Verdict ExitPolicy::verdict(uint32_t index) const {
    const ring::PolicyRule& rule = parts_.items()[index];
    return {rule.action == ring::PolicyAction::allow, &rule};
}

ExitPolicy::Verdict ExitPolicy::check(const wire::IpAddress& address) const {
    if (!ready_) return {false, nullptr};
    const Ip ip = address.is_v4() ? from_v4_bytes(address.significant()) : from_v6_bytes(address.significant());
    if (ip.is_v4) {
        for (const V4Rule& rule : v4_)
            if ((ip.v4 & rule.mask) == rule.base) return verdict(rule.index);
    } else {
        for (const V6Rule& rule : v6_)
            if ((ip.high & rule.mask_high) == rule.base_high && (ip.low & rule.mask_low) == rule.base_low)
                return verdict(rule.index);
    }
    return {true, nullptr};
}

wire::Reason describe(const ring::PolicyRule* rule) {
    if (rule == nullptr) return wire::Reason("allowed: no rule matches");
    const bool allow = rule->action == ring::PolicyAction::allow;
    std::array<char, INET6_ADDRSTRLEN> ip{};
    inet_ntop(rule->family == 4 ? AF_INET : AF_INET6, rule->ip.data(), ip.data(), ip.size());
    const unsigned bits = rule->bits;
    std::array<char, wire::kReasonSizeMax + 1> text{};
    const char* verb = allow ? "allowed" : "denied";
    switch (rule->origin) {
        case ring::PolicyOrigin::own_address:  // which one is nobody's business: it may be behind a NAT
            std::snprintf(text.data(), text.size(), "%s: the exit's own address", verb);
            break;
        case ring::PolicyOrigin::built_in:
            std::snprintf(text.data(), text.size(), "%s by built-in rule %s/%u", verb, ip.data(), bits);
            break;
        case ring::PolicyOrigin::config:
            std::snprintf(text.data(), text.size(), "%s by exit_policy.%s[%u] %s/%u", verb, allow ? "allow" : "deny",
                          rule->number, ip.data(), bits);
            break;
    }
    return wire::Reason(text.data());
}

}  // namespace qanat::dataplane
