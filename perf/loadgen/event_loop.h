// EventLoop: one thread's epoll loop with two priorities and timers.
//
// Small messages must not wait behind the load generator's own bulk work, or their latency would be its own and not the
// proxy's: after every bulk event the urgent descriptors are looked at first.
#pragma once

#include <cstdint>
#include <functional>
#include <queue>
#include <vector>

#include "common/base/unique_fd.h"

namespace qanat::loadgen {

[[nodiscard]] uint64_t now_ns();  // CLOCK_MONOTONIC

enum class Priority : uint8_t { urgent, bulk };

// What is registered with a loop. Must be removed (EventLoop::remove) before it goes away.
class Handler {
public:
    Handler() = default;
    virtual ~Handler() = default;
    Handler(const Handler&) = delete;
    Handler& operator=(const Handler&) = delete;

    virtual void on_ready(uint32_t events) = 0;
};

class EventLoop {
public:
    // spin: never sleeps, so that the time a sleeping core needs to wake up is not part of what is measured.
    explicit EventLoop(bool spin = false);

    void add(int fd, uint32_t events, Handler& handler, Priority priority);
    void change(int fd, uint32_t events, Handler& handler, Priority priority);
    void remove(int fd, Handler& handler, Priority priority);

    // One call at or after `when`. Timers cannot be taken back: the callee checks whether it is still wanted.
    void call_at(uint64_t when, std::function<void()> what);

    // Handles events and timers until `done()` is true or `deadline` (now_ns) has passed. True if done.
    bool run_until(const std::function<bool()>& done, uint64_t deadline);

private:
    struct Timer {
        uint64_t when;
        uint64_t order;
        std::function<void()> what;
        bool operator<(const Timer& other) const {
            return when != other.when ? when > other.when : order > other.order;
        }
    };

    void turn(uint64_t wait_until);
    bool handle(int epoll, int at_most);
    void fire_timers();

    bool spin_;
    UniqueFd both_;
    UniqueFd queues_[2];
    size_t registered_[2] = {};
    uint64_t timers_made_ = 0;
    std::priority_queue<Timer> timers_;
    std::vector<Handler*> removed_;  // in this batch: later events for them are void
};

}  // namespace qanat::loadgen
