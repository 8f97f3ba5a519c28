#include "controlplane/plane_link/command_port.h"

#include <algorithm>

namespace qanat::controlplane {

ring::RingEndpoint to_ring(const wire::Endpoint& endpoint) {
    ring::RingEndpoint out{};
    out.family = endpoint.ip.is_v4() ? 4 : 6;
    out.port = endpoint.port;
    const Bytes bytes = endpoint.ip.significant();
    std::copy(bytes.begin(), bytes.end(), out.ip.begin());
    return out;
}

wire::Endpoint from_ring(const ring::RingEndpoint& endpoint) {
    if (endpoint.family == 4)
        return {wire::IpAddress::from_v4(std::span<const uint8_t, 16>(endpoint.ip).first<4>()), endpoint.port};
    return {wire::IpAddress::from_v6(endpoint.ip), endpoint.port};
}

}  // namespace qanat::controlplane
