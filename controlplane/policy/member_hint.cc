#include "controlplane/policy/member_hint.h"

#include <algorithm>
#include <array>

#include "controlplane/policy/exit_policy.h"

namespace qanat::controlplane {
namespace {

constexpr std::array<std::string_view, 16> kUndialable{
    "0.0.0.0/8",           // this network: Linux connects it to itself
    "169.254.0.0/16",      // link-local and cloud metadata
    "192.0.0.0/24",        // protocol assignments; metadata in Oracle's classic cloud
    "100.100.100.200/32",  // metadata at Alibaba
    "168.63.129.16/32",    // metadata at Azure
    "224.0.0.0/4",         // multicast
    "240.0.0.0/4",         // reserved, and broadcast
    "::/128",              // unspecified
    "fe80::/10",           // link-local
    "fec0::/10",           // site-local
    "fd00:ec2::/32",       // metadata at Amazon
    "fd20:ce::254/128",    // metadata at Google
    "ff00::/8",            // multicast
    "64:ff9b::/96",        // NAT64
    "64:ff9b:1::/48",      // NAT64 for local networks
    "2002::/16",           // 6to4
};

bool is_own_listener(const wire::Endpoint& hint, std::span<const wire::Endpoint> listening,
                     std::span<const wire::IpAddress> own) {
    const bool here = hint.ip.is_loopback() || std::find(own.begin(), own.end(), hint.ip) != own.end();
    return std::any_of(listening.begin(), listening.end(), [&](const wire::Endpoint& listener) {
        return listener.port == hint.port && (listener.ip == hint.ip || (here && listener.ip.is_wildcard()));
    });
}

}  // namespace

std::span<const std::string_view> undialable_blocks() {
    return kUndialable;
}

bool may_dial_hint(const wire::Endpoint& hint, std::span<const ring::PolicyRule> rules,
                   std::span<const wire::Endpoint> listening, std::span<const wire::IpAddress> own) {
    if (hint.port == 0 || in_any(hint.ip, kUndialable) || denied_by_operator(rules, hint.ip)) return false;
    return !is_own_listener(hint, listening, own);
}

}  // namespace qanat::controlplane
