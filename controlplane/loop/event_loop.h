// EventLoop: the one thread of the control plane. This folder is the only one that includes libevent.
//
// Everything the control plane does is a callback of this loop: a timer, a descriptor, a signal or a deferred call.
// Callbacks must not block. Destroy timers, watches and whoever owns them before the loop.
#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <vector>

#include "common/base/duration.h"

struct event_base;

namespace qanat::controlplane {

using Instant = std::chrono::steady_clock::time_point;
using Callback = std::function<void()>;

class EventLoop {
public:
    EventLoop();
    ~EventLoop();
    EventLoop(const EventLoop&) = delete;
    EventLoop& operator=(const EventLoop&) = delete;

    // Runs callbacks until stop(). May be called again after it returned.
    void run();

    // Ends run() after the callback that is running, or the next run() at once.
    void stop();

    // Calls `callback` once, from the loop, after the callback that is running has returned: for owners that must not
    // be destroyed or re-entered from inside their own member functions. Order is kept.
    void defer(Callback callback);

    [[nodiscard]] static Instant now() { return std::chrono::steady_clock::now(); }

    [[nodiscard]] event_base* base() { return base_.get(); }

private:
    struct Free {
        void operator()(event_base* base) const;
    };

    void run_deferred();

    std::unique_ptr<event_base, Free> base_;
    std::vector<Callback> deferred_;
    bool stopping_ = false;
};

}  // namespace qanat::controlplane
