// The addresses of this machine's interfaces, as the kernel tells them now.
#pragma once

#include <vector>

#include "common/base/result.h"
#include "common/wire/address.h"

namespace qanat::controlplane {

// Sorted, each once, loopback and link-local ones included; at most 1024 (a machine with more has them in blocks,
// which the operator can deny). Does not block. Fails only when the kernel has no memory or descriptors left.
[[nodiscard]] Result<std::vector<wire::IpAddress>> read_own_addresses();

// The address that other machines most likely reach us at: the first global one, IPv4 before IPv6, else the first
// that is not loopback, else loopback.
[[nodiscard]] wire::IpAddress best_public_address(const std::vector<wire::IpAddress>& own);

}  // namespace qanat::controlplane
