#include "controlplane/resolver/address_order.h"

#include <algorithm>

namespace qanat::controlplane {

std::vector<wire::IpAddress> interleave_families(const std::vector<wire::IpAddress>& v6,
                                                 const std::vector<wire::IpAddress>& v4, size_t count_max) {
    std::vector<wire::IpAddress> order;
    const auto take = [&](const std::vector<wire::IpAddress>& from, size_t i) {
        if (i >= from.size() || order.size() >= count_max) return;
        if (std::find(order.begin(), order.end(), from[i]) == order.end()) order.push_back(from[i]);
    };
    for (size_t i = 0; i < std::max(v6.size(), v4.size()); ++i) {
        take(v6, i);
        take(v4, i);
    }
    return order;
}

}  // namespace qanat::controlplane
