// Backoff: how long to wait before the next try. Doubles from `min` to `max`; each wait is drawn between a half and the
// whole of its step, so that many clients that lost the same node do not come back in one wave. Pure.
#pragma once

#include <algorithm>
#include <cstdint>

#include "common/base/duration.h"

namespace qanat::controlplane {

class Backoff {
public:
    Backoff(Duration min, Duration max) : min_(min), max_(max), step_(min) {}

    // The wait before the next try. `random`: any 64 random bits.
    [[nodiscard]] Duration next(uint64_t random) {
        const auto half = static_cast<uint64_t>(step_.count() / 2);
        const Duration wait(step_.count() - static_cast<int64_t>(half == 0 ? 0 : random % (half + 1)));
        step_ = std::min(step_ * 2, max_);
        return wait;
    }

    // After a success.
    void reset() { step_ = min_; }

private:
    Duration min_;
    Duration max_;
    Duration step_;
};

}  // namespace qanat::controlplane
