// The order in which the addresses of a name are tried: RFC 8305, section 4. Pure.
#pragma once

#include <vector>

#include "common/wire/address.h"

namespace qanat::controlplane {

// IPv6 and IPv4 in turns, IPv6 first, each family in the order given; doubles are left out; at most `count_max`.
[[nodiscard]] std::vector<wire::IpAddress> interleave_families(const std::vector<wire::IpAddress>& v6,
                                                               const std::vector<wire::IpAddress>& v4,
                                                               size_t count_max);

}  // namespace qanat::controlplane
