#include "controlplane/loop/timer.h"

#include <event2/event.h>

#include <algorithm>

#include "common/base/assert.h"

namespace qanat::controlplane {
namespace {

timeval to_timeval(std::chrono::microseconds delay) {
    const auto count = std::max<int64_t>(delay.count(), 0);
    return {static_cast<time_t>(count / 1'000'000), static_cast<suseconds_t>(count % 1'000'000)};
}

}  // namespace

struct Timer::State {
    std::shared_ptr<Callback> callback;
    event* timer = nullptr;
    event_base* base = nullptr;
    bool periodic = false;

    static void fire(evutil_socket_t, short, void* self) {
        // The callback may destroy the timer and with it this object: keep what is called alive.
        const std::shared_ptr<Callback> callback = static_cast<State*>(self)->callback;
        (*callback)();
    }
};

Timer::Timer(EventLoop& loop, Callback callback) : state_(std::make_unique<State>()) {
    state_->callback = std::make_shared<Callback>(std::move(callback));
    state_->base = loop.base();
    state_->timer = event_new(loop.base(), -1, 0, &State::fire, state_.get());
    QANAT_ASSERT(state_->timer != nullptr);
}

Timer::~Timer() {
    event_free(state_->timer);
}

void Timer::start(Duration delay) {
    cancel();
    if (state_->periodic) {
        event_assign(state_->timer, state_->base, -1, 0, &State::fire, state_.get());
        state_->periodic = false;
    }
    const timeval wait = to_timeval(delay);
    event_add(state_->timer, &wait);
}

void Timer::start_at(std::optional<Instant> when) {
    when ? start_at(*when) : cancel();
}

void Timer::start_at(Instant when) {
    // Rounded up: a timer that fires before its time makes its owner start it again and again.
    start(std::max(std::chrono::ceil<Duration>(when - EventLoop::now()), Duration(0)));
}

void Timer::start_every(Duration interval) {
    cancel();
    if (!state_->periodic) {
        event_assign(state_->timer, state_->base, -1, EV_PERSIST, &State::fire, state_.get());
        state_->periodic = true;
    }
    const timeval wait = to_timeval(interval);
    event_add(state_->timer, &wait);
}

void Timer::cancel() {
    event_del(state_->timer);
}

}  // namespace qanat::controlplane
