#include "controlplane/policy/own_addresses.h"

#include <ifaddrs.h>
#include <netinet/in.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <memory>

#include "controlplane/policy/exit_policy.h"

namespace qanat::controlplane {
namespace {

constexpr size_t kOwnAddressesMax = 1024;
constexpr std::array<std::string_view, 2> kLinkLocal = {"169.254.0.0/16", "fe80::/10"};

// Smaller is better.
int reach(const wire::IpAddress& address) {
    if (address.is_loopback()) return 3;
    if (in_any(address, kLinkLocal)) return 2;
    return in_any(address, built_in_denies()) ? 1 : 0;
}

}  // namespace

Result<std::vector<wire::IpAddress>> read_own_addresses() {
    ifaddrs* list = nullptr;
    if (::getifaddrs(&list) != 0)
        return fail(std::string("cannot read the addresses of this machine: ") + std::strerror(errno));
    const std::unique_ptr<ifaddrs, decltype(&::freeifaddrs)> owner(list, &::freeifaddrs);

    std::vector<wire::IpAddress> addresses;
    for (const ifaddrs* entry = list; entry != nullptr; entry = entry->ifa_next) {
        if (entry->ifa_addr == nullptr) continue;
        const int family = entry->ifa_addr->sa_family;
        if (family != AF_INET && family != AF_INET6) continue;
        sockaddr_storage storage{};
        std::memcpy(&storage, entry->ifa_addr, family == AF_INET ? sizeof(sockaddr_in) : sizeof(sockaddr_in6));
        if (const auto endpoint = wire::Endpoint::from_sockaddr(storage)) addresses.push_back(endpoint->ip);
    }
    std::sort(addresses.begin(), addresses.end());
    addresses.erase(std::unique(addresses.begin(), addresses.end()), addresses.end());
    if (addresses.size() > kOwnAddressesMax) addresses.resize(kOwnAddressesMax);
    return addresses;
}

wire::IpAddress best_public_address(const std::vector<wire::IpAddress>& own) {
    const auto better = [](const wire::IpAddress& a, const wire::IpAddress& b) {
        const int reach_a = reach(a);
        const int reach_b = reach(b);
        if (reach_a != reach_b) return reach_a < reach_b;
        return a.is_v4() && !b.is_v4();
    };
    const auto best = std::min_element(own.begin(), own.end(), better);
    return best == own.end() ? wire::IpAddress::v4(127, 0, 0, 1) : *best;
}

}  // namespace qanat::controlplane
