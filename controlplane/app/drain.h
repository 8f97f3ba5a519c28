// DrainWatchers: the operators who wait for the end of a drain, and what they are told. Progress is
// {"draining": true, "streams": 3, "seconds_left": 12}; the last line {"draining": false, "streams": 0, "cut": 0}.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "controlplane/admin/server.h"

namespace qanat::controlplane {

class DrainWatchers {
public:
    static constexpr Duration kInterval = std::chrono::milliseconds(200);

    void add(const AdminServer::Reply& reply) { watchers_.push_back(reply); }
    [[nodiscard]] bool empty() const { return watchers_.empty(); }

    void tell(uint64_t streams, std::optional<uint64_t> seconds_left);
    // `cut`: streams that were open when the data plane was told to leave.
    void finish(uint64_t cut);

private:
    std::vector<AdminServer::Reply> watchers_;
};

}  // namespace qanat::controlplane
