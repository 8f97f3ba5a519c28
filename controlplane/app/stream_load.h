// StreamLoad: how much of its capacity for streams a data plane uses.
#pragma once

#include <algorithm>
#include <cstdint>

namespace qanat::controlplane {

struct StreamLoad {
    uint64_t active = 0;
    uint64_t max = 0;  // 0: there is no data plane

    // In 1/10000, as PONG and announcements carry it. A data plane that is not there takes no stream.
    [[nodiscard]] constexpr uint16_t share() const {
        constexpr uint64_t kFull = 10000;
        if (max == 0) return kFull;
        return static_cast<uint16_t>(std::min(kFull, active * kFull / max));
    }
};

}  // namespace qanat::controlplane
