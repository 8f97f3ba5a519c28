// FdWatch: calls when a descriptor can be read or written. Level-triggered. The descriptor stays the caller's and must
// outlive the watch.
#pragma once

#include <functional>
#include <memory>

#include "controlplane/loop/event_loop.h"

namespace qanat::controlplane {

struct Readiness {
    bool readable = false;
    bool writable = false;
};

class FdWatch {
public:
    using Ready = std::function<void(Readiness)>;

    // The callback may destroy the watch. Starts with `interest`; an empty interest waits for nothing.
    FdWatch(EventLoop& loop, int fd, Readiness interest, Ready ready);
    ~FdWatch();
    FdWatch(const FdWatch&) = delete;
    FdWatch& operator=(const FdWatch&) = delete;

    void set_interest(Readiness interest);

private:
    struct State;
    std::unique_ptr<State> state_;
};

}  // namespace qanat::controlplane
