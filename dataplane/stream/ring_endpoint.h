// Between an address in a ring message and one that the network code works with.
#pragma once

#include "common/ring/messages.h"
#include "common/wire/address.h"

namespace qanat::dataplane {

[[nodiscard]] inline wire::IpAddress ip_from_ring(const ring::RingEndpoint& from) {
    return from.family == 4 ? wire::IpAddress::from_v4(std::span(from.ip).first<4>())
                            : wire::IpAddress::from_v6(std::span(from.ip).first<16>());
}

[[nodiscard]] inline wire::Endpoint endpoint_from_ring(const ring::RingEndpoint& from) {
    return {.ip = ip_from_ring(from), .port = from.port};
}

[[nodiscard]] inline ring::RingEndpoint endpoint_to_ring(const wire::Endpoint& from) {
    return {.ip = from.ip.bytes, .port = from.port, .family = static_cast<uint8_t>(from.ip.is_v4() ? 4 : 6), .zero = 0};
}

}  // namespace qanat::dataplane
