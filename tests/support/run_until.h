// run_until: an event loop that runs until something has come about. Tests wait for conditions, never for a time.
#pragma once

#include <chrono>
#include <functional>

#include "controlplane/loop/timer.h"

namespace qanat::controlplane {

// Runs the loop until `condition` holds; false if it does not within `limit`. Looks every other millisecond.
[[nodiscard]] inline bool run_until(EventLoop& loop, const std::function<bool()>& condition,
                                    std::chrono::milliseconds limit = std::chrono::seconds(20)) {
    const Instant end = EventLoop::now() + limit;
    bool holds = false;
    Timer look(loop, [&] {
        holds = condition();
        if (holds || EventLoop::now() >= end) loop.stop();
    });
    look.start_every(std::chrono::milliseconds(2));
    loop.run();
    return holds;
}

}  // namespace qanat::controlplane
