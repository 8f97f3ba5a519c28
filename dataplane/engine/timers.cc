#include "dataplane/engine/timers.h"

#include "common/base/assert.h"

namespace qanat::dataplane {

TimerWheel::TimerWheel(uint64_t now_ns) : tick_(now_ns / kTickNs) {
    for (Timer& list : slots_) list.next = list.previous = &list;
    cursor_ = slots_[tick_ % kSlots].next;
}

void TimerWheel::link(Timer& list, Timer& timer) {
    timer.next = &list;
    timer.previous = list.previous;
    list.previous->next = &timer;
    list.previous = &timer;
}

void TimerWheel::unlink(Timer& timer) {
    timer.previous->next = timer.next;
    timer.next->previous = timer.previous;
    timer.next = timer.previous = nullptr;
}

void TimerWheel::arm(Timer& timer, uint64_t deadline_ns) {
    disarm(timer);
    timer.deadline_ns = deadline_ns;
    // A deadline that has passed goes to the slot being looked at, behind the cursor's end.
    const uint64_t tick = tick_of(deadline_ns) > tick_ ? tick_of(deadline_ns) : tick_;
    Timer& list = slots_[tick % kSlots];
    link(list, timer);
    if (cursor_ == &list) cursor_ = &timer;
    if (count_ == 0 || tick < earliest_tick_) earliest_tick_ = tick;
    ++count_;
}

void TimerWheel::disarm(Timer& timer) {
    if (!timer.armed()) return;
    if (cursor_ == &timer) cursor_ = timer.next;
    unlink(timer);
    --count_;
}

Timer* TimerWheel::expired(uint64_t now_ns) {
    const uint64_t now_tick = now_ns / kTickNs;
    if (count_ == 0) {
        // Nothing can be skipped over: jump.
        tick_ = now_tick > tick_ ? now_tick : tick_;
        cursor_ = slots_[tick_ % kSlots].next;
        return nullptr;
    }
    if (now_tick < earliest_tick_) return nullptr;
    while (true) {
        Timer* const list = &slots_[tick_ % kSlots];
        while (cursor_ != list) {
            Timer* const timer = cursor_;
            cursor_ = timer->next;
            if (tick_of(timer->deadline_ns) <= tick_) {
                unlink(*timer);
                --count_;
                return timer;
            }
        }
        if (tick_ >= now_tick) break;
        ++tick_;
        cursor_ = slots_[tick_ % kSlots].next;
    }
    cursor_ = slots_[tick_ % kSlots].next;  // timers armed for this very tick are found next time
    find_earliest();
    return nullptr;
}

void TimerWheel::find_earliest() {
    for (uint64_t tick = tick_; tick < tick_ + kSlots; ++tick) {
        const Timer& list = slots_[tick % kSlots];
        for (const Timer* timer = list.next; timer != &list; timer = timer->next) {
            if (tick_of(timer->deadline_ns) <= tick) {
                earliest_tick_ = tick;
                return;
            }
        }
    }
    earliest_tick_ = tick_ + kSlots;
}

}  // namespace qanat::dataplane
