#include "controlplane/loop/fd_watch.h"

#include <event2/event.h>

#include "common/base/assert.h"

namespace qanat::controlplane {

struct FdWatch::State {
    std::shared_ptr<Ready> ready;
    event_base* base = nullptr;
    event* watch = nullptr;
    int fd = -1;
    short events = 0;

    static void fire(evutil_socket_t, short events, void* self) {
        const std::shared_ptr<Ready> ready = static_cast<State*>(self)->ready;
        (*ready)({(events & EV_READ) != 0, (events & EV_WRITE) != 0});
    }
};

FdWatch::FdWatch(EventLoop& loop, int fd, Readiness interest, Ready ready) : state_(std::make_unique<State>()) {
    state_->ready = std::make_shared<Ready>(std::move(ready));
    state_->base = loop.base();
    state_->fd = fd;
    state_->watch = event_new(loop.base(), fd, EV_PERSIST, &State::fire, state_.get());
    QANAT_ASSERT(state_->watch != nullptr);
    set_interest(interest);
}

FdWatch::~FdWatch() {
    event_free(state_->watch);
}

void FdWatch::set_interest(Readiness interest) {
    const auto events = static_cast<short>((interest.readable ? EV_READ : 0) | (interest.writable ? EV_WRITE : 0));
    if (events == state_->events) return;
    event_del(state_->watch);
    state_->events = events;
    if (events == 0) return;
    event_assign(state_->watch, state_->base, state_->fd, static_cast<short>(events | EV_PERSIST), &State::fire,
                 state_.get());
    event_add(state_->watch, nullptr);
}

}  // namespace qanat::controlplane
