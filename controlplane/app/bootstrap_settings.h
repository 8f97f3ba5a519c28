// From the configuration to the first message that the data plane gets.
#pragma once

#include <string>
#include <vector>

#include "common/base/result.h"
#include "common/ring/bootstrap.h"
#include "controlplane/config/config.h"

namespace qanat::controlplane {

// What has no field in the configuration.
inline constexpr Duration kSocksHandshakeTime = std::chrono::seconds(10);
inline constexpr Duration kTargetConnectTime = std::chrono::seconds(8);  // below a client's default patience of 10 s
inline constexpr Duration kResolveTime = std::chrono::seconds(5);

// What the machine says.
struct Machine {
    std::vector<uint32_t> cpus;  // that this process may run on, ascending
    bool root = false;
    bool has_qanat_user = false;

    [[nodiscard]] static Machine current();
};

// Fails with one line that names data_plane.cores if they do not fit the machine. Pure.
[[nodiscard]] Result<ring::Bootstrap> make_bootstrap(const Config& config, Role role, const Machine& machine);

}  // namespace qanat::controlplane
