// Resolver: names → addresses, on the loop, without ever blocking it: c-ares with the machine's own configuration
// (/etc/hosts, /etc/resolv.conf). docs/decisions/0004-c-ares.md says why c-ares.
//
// A and AAAA are asked at the same time. When one has answered, the other gets kOtherFamilyTime more (RFC 8305,
// section 3): a name server that swallows AAAA costs 50 ms and not its whole timeout.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "common/ring/messages.h"
#include "common/wire/address.h"
#include "controlplane/loop/timer.h"

namespace qanat::controlplane {

enum class ResolveFamily : uint8_t { any, v4, v6 };

struct Resolution {
    ring::ResolveStatus status = ring::ResolveStatus::failed;
    std::vector<wire::IpAddress> addresses;  // with status ok: 1 … kResolvedMax, in the order to try
};

class Resolver {
public:
    using Done = std::function<void(const Resolution&)>;

    static constexpr Duration kOtherFamilyTime = std::chrono::milliseconds(50);

    struct Settings {
        size_t queries_max = 1024;                       // names at the same time; beyond: overloaded
        Duration timeout = std::chrono::seconds(5);      // for one name, whatever happens
        Duration try_timeout = std::chrono::seconds(2);  // for one question to one server, before the next try
        int tries = 2;
        std::string resolv_conf = "/etc/resolv.conf";  // watched for changes
        std::string hosts = "/etc/hosts";              // likewise
        std::string servers{};                         // "127.0.0.1:5353": instead of those in resolv.conf; for tests
    };

    Resolver(EventLoop& loop, Settings settings);
    // Outstanding queries are dropped without an answer.
    ~Resolver();
    Resolver(const Resolver&) = delete;
    Resolver& operator=(const Resolver&) = delete;

    // Calls `done` once, possibly before it returns (an address literal, a name from /etc/hosts, overload). The name is
    // whatever somebody asked for: what is no host name is not_found.
    void resolve(std::string_view name, ResolveFamily family, Done done);

    [[nodiscard]] size_t in_flight() const;

private:
    class Implementation;
    std::unique_ptr<Implementation> implementation_;
};

}  // namespace qanat::controlplane
