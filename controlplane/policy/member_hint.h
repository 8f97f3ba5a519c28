// Where a relay dials when a member says "that node is there" (the address in a FORWARD, PROTOCOL.md section 6). Pure.
//
// Whoever holds the network key can name any address, so this is about what harm a connection can do there. What the
// relay sends is a MSG1: 512 bytes that the asking member can neither choose nor foresee, and nothing more unless the
// other side proves that it is the member that was named. Private networks and loopback are therefore allowed (a relay
// at the border of a network is what relays are for), and these are not:
//
//   * addresses that mean more or other than one host: unspecified, multicast, broadcast, reserved, and IPv6 prefixes
//     that carry an IPv4 address;
//   * link-local addresses, and the metadata services that clouds have elsewhere;
//   * what the operator denies in node.exit_policy.deny;
//   * this node's own tunnel listeners: nobody else answers there.
#pragma once

#include <span>
#include <string_view>

#include "common/ring/messages.h"
#include "common/wire/address.h"

namespace qanat::controlplane {

// What no hint reaches, whatever the configuration allows.
[[nodiscard]] std::span<const std::string_view> undialable_blocks();

// `rules` are the exit policy's; `listening` with real ports, `own` the addresses of this machine.
[[nodiscard]] bool may_dial_hint(const wire::Endpoint& hint, std::span<const ring::PolicyRule> rules,
                                 std::span<const wire::Endpoint> listening, std::span<const wire::IpAddress> own);

}  // namespace qanat::controlplane
