// Towards which addresses this end punches (PROTOCOL.md section 6.3). Pure.
//
// The other side says where a relay sees it; nobody vouches for that. What can come of a lie are some SYNs to an
// address of its choice, and a connection on which nothing is said to whoever accepts them (on a node), or one first
// flight that nobody else can read (on a client). So the address must look like the outer side of a NAT:
//
//   * a port from 1024 up, of the same family as the one that the relay sees here;
//   * in a private network only if this end is seen in one as well: from the outside, nobody can make a node feel its
//     way through its own network;
//   * never loopback, an address of this machine, what no hint reaches (member_hint.h), or what the operator denies in
//     node.exit_policy.deny.
#pragma once

#include <span>

#include "common/ring/messages.h"
#include "common/wire/address.h"

namespace qanat::controlplane {

inline constexpr uint16_t kPunchPortMin = 1024;

// `observed`: how a relay sees this end. `rules` are the exit policy's, or none; `own` the addresses of this machine.
[[nodiscard]] bool may_punch(const wire::Endpoint& peer, const wire::Endpoint& observed,
                             std::span<const ring::PolicyRule> rules, std::span<const wire::IpAddress> own);

}  // namespace qanat::controlplane
