#include "controlplane/loop/signal_watch.h"

#include <event2/event.h>

#include "common/base/assert.h"

namespace qanat::controlplane {

struct SignalWatch::State {
    std::shared_ptr<Callback> callback;
    event* watch = nullptr;

    static void fire(evutil_socket_t, short, void* self) {
        const std::shared_ptr<Callback> callback = static_cast<State*>(self)->callback;
        (*callback)();
    }
};

SignalWatch::SignalWatch(EventLoop& loop, int signal, Callback callback) : state_(std::make_unique<State>()) {
    state_->callback = std::make_shared<Callback>(std::move(callback));
    state_->watch = evsignal_new(loop.base(), signal, &State::fire, state_.get());
    QANAT_ASSERT(state_->watch != nullptr);
    evsignal_add(state_->watch, nullptr);
}

SignalWatch::~SignalWatch() {
    event_free(state_->watch);
}

}  // namespace qanat::controlplane
