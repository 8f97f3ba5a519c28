// The exit policy: which targets this node connects to. Pure; the engines execute the list, the first rule that
// contains the address decides, and what no rule contains is allowed.
//
// Order: what the operator denied, what the operator allowed, what is denied unless allowed (built in), the node's own
// addresses. So an allowed block opens a hole in the built-in denies, and nothing opens one in the operator's denies.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "common/ring/messages.h"
#include "common/wire/address.h"
#include "controlplane/config/config.h"

namespace qanat::controlplane {

// "private" in the operator's lists is loopback, RFC 1918, RFC 6598 and unique local addresses; among the allowed ones
// also the node's own addresses. Link-local addresses are never part of it: in a cloud, 169.254.169.254 hands out
// credentials, so they have to be allowed as a block.

// The blocks denied unless allowed: everything that is not the public internet, or that leads around the policy
// (translation prefixes such as 64:ff9b::/96 and 2002::/16 carry an IPv4 address).
[[nodiscard]] std::span<const std::string_view> built_in_denies();
[[nodiscard]] std::span<const std::string_view> private_blocks();
[[nodiscard]] bool in_any(const wire::IpAddress& address, std::span<const std::string_view> blocks);

// The whole ordered list. Rule numbers count from 0 per origin; those of own addresses follow the order given.
// `own` may hold any addresses; those that a built-in rule denies anyway are kept (they make "denied by" exact).
[[nodiscard]] std::vector<ring::PolicyRule> make_policy_rules(const ExitPolicyConfig& policy,
                                                              std::span<const wire::IpAddress> own);

// The list as it travels: at least one part, also for an empty list. `rules` has at most kPolicyRulesMax entries.
[[nodiscard]] std::vector<ring::PolicyPart> make_policy_parts(std::span<const ring::PolicyRule> rules,
                                                              uint32_t version);

// What the engines will decide: the reference for tests and for `qanat explain`.
[[nodiscard]] const ring::PolicyRule* find_policy_rule(std::span<const ring::PolicyRule> rules,
                                                       const wire::IpAddress& address);

// The operator's own list denies it, whatever the built-in one says: nobody may name it to this node either.
[[nodiscard]] bool denied_by_operator(std::span<const ring::PolicyRule> rules, const wire::IpAddress& address);

// What becomes of a target with these addresses, as the engines decide it: each is judged by itself, and the target is
// denied only if none may be dialled. `rule` is what decided about the first address that may be dialled, or about the
// first one if none may; null: no rule contains it.
struct PolicyVerdict {
    bool allowed = false;
    const ring::PolicyRule* rule = nullptr;
};
[[nodiscard]] PolicyVerdict judge_target(std::span<const ring::PolicyRule> rules,
                                         std::span<const wire::IpAddress> addresses);

// A rule in the words that an engine refuses with: "denied by exit_policy.deny[2] 10.0.0.0/8".
[[nodiscard]] std::string describe_rule(const ring::PolicyRule* rule);

}  // namespace qanat::controlplane
