// Timer: one call later. Not running until start(); start() again moves it; destroying it cancels it.
#pragma once

#include <memory>
#include <optional>

#include "controlplane/loop/event_loop.h"

namespace qanat::controlplane {

class Timer {
public:
    // The callback may start, cancel, or destroy this timer.
    Timer(EventLoop& loop, Callback callback);
    ~Timer();
    Timer(const Timer&) = delete;
    Timer& operator=(const Timer&) = delete;

    void start(Duration delay);                  // once; a negative delay is zero
    void start_at(Instant when);                 // once; the past is now
    void start_at(std::optional<Instant> when);  // the same, or cancel()
    void start_every(Duration interval);         // until cancel()
    void cancel();

private:
    struct State;

    std::unique_ptr<State> state_;
};

}  // namespace qanat::controlplane
