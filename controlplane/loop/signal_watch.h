// SignalWatch: a signal as a callback of the loop.
#pragma once

#include <memory>

#include "controlplane/loop/event_loop.h"

namespace qanat::controlplane {

class SignalWatch {
public:
    SignalWatch(EventLoop& loop, int signal, Callback callback);
    ~SignalWatch();
    SignalWatch(const SignalWatch&) = delete;
    SignalWatch& operator=(const SignalWatch&) = delete;

private:
    struct State;
    std::unique_ptr<State> state_;
};

}  // namespace qanat::controlplane
