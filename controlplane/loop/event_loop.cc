#include "controlplane/loop/event_loop.h"

#include <event2/event.h>

#include <utility>

#include "common/base/assert.h"

namespace qanat::controlplane {

void EventLoop::Free::operator()(event_base* base) const {
    event_base_free(base);
}

EventLoop::EventLoop() {
    const std::unique_ptr<event_config, decltype(&event_config_free)> config(event_config_new(), &event_config_free);
    QANAT_ASSERT(config != nullptr);
    // One thread: no locks. Timers of a millisecond are precise enough, but a cached clock would let them fire early.
    event_config_set_flag(config.get(), EVENT_BASE_FLAG_NOLOCK);
    event_config_set_flag(config.get(), EVENT_BASE_FLAG_PRECISE_TIMER);
    base_.reset(event_base_new_with_config(config.get()));
    QANAT_ASSERT(base_ != nullptr);
}

EventLoop::~EventLoop() = default;

void EventLoop::run() {
    while (!stopping_) {
        run_deferred();
        if (stopping_) break;
        // One round of libevent; it waits only if nothing has been deferred meanwhile.
        const int flags = deferred_.empty() ? EVLOOP_ONCE : EVLOOP_NONBLOCK;
        // 1 means that no event is registered: nothing could ever wake us again.
        if (event_base_loop(base_.get(), flags) != 0 && deferred_.empty()) break;
    }
    stopping_ = false;
}

void EventLoop::stop() {
    stopping_ = true;
    event_base_loopbreak(base_.get());
}

void EventLoop::defer(Callback callback) {
    deferred_.push_back(std::move(callback));
}

void EventLoop::run_deferred() {
    // What the calls defer in turn comes in the next round, so that descriptors are not starved.
    std::vector<Callback> batch;
    batch.swap(deferred_);
    for (size_t i = 0; i < batch.size(); ++i) {
        batch[i]();
        if (!stopping_) continue;
        // Keep what was not called, in front of what came new.
        deferred_.insert(deferred_.begin(), std::make_move_iterator(batch.begin() + static_cast<ptrdiff_t>(i) + 1),
                         std::make_move_iterator(batch.end()));
        return;
    }
}

}  // namespace qanat::controlplane
