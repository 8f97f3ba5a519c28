#include "controlplane/policy/punch_peer.h"

#include <algorithm>

#include "controlplane/policy/exit_policy.h"
#include "controlplane/policy/member_hint.h"

namespace qanat::controlplane {

bool may_punch(const wire::Endpoint& peer, const wire::Endpoint& observed, std::span<const ring::PolicyRule> rules,
               std::span<const wire::IpAddress> own) {
    if (peer.port < kPunchPortMin || peer.ip.family != observed.ip.family) return false;
    if (peer.ip.is_loopback() || in_any(peer.ip, undialable_blocks())) return false;
    if (in_any(peer.ip, private_blocks()) != in_any(observed.ip, private_blocks())) return false;
    if (std::find(own.begin(), own.end(), peer.ip) != own.end()) return false;
    return !denied_by_operator(rules, peer.ip);
}

}  // namespace qanat::controlplane
