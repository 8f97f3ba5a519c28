#include "perf/loadgen/event_loop.h"

#include <sys/epoll.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <ctime>

#include "perf/loadgen/fatal.h"

namespace qanat::loadgen {
namespace {

constexpr uint64_t kSecond = 1'000'000'000;
constexpr int kBulkEventsPerTurn = 4;
constexpr int kUrgentEventsPerTurn = 128;

size_t index(Priority priority) {
    return static_cast<size_t>(priority);
}

}  // namespace

uint64_t now_ns() {
    timespec now{};
    clock_gettime(CLOCK_MONOTONIC, &now);
    return static_cast<uint64_t>(now.tv_sec) * kSecond + static_cast<uint64_t>(now.tv_nsec);
}

EventLoop::EventLoop(bool spin) : spin_(spin) {
    for (UniqueFd* fd : {&both_, &queues_[0], &queues_[1]}) {
        fd->reset(epoll_create1(EPOLL_CLOEXEC));
        if (!*fd) fatal("epoll_create1", errno);
    }
    for (const UniqueFd& queue : queues_) {
        epoll_event event{};
        event.events = EPOLLIN;
        if (epoll_ctl(both_.get(), EPOLL_CTL_ADD, queue.get(), &event) != 0) fatal("epoll_ctl", errno);
    }
}

void EventLoop::add(int fd, uint32_t events, Handler& handler, Priority priority) {
    epoll_event event{};
    event.events = events;
    event.data.ptr = &handler;
    if (epoll_ctl(queues_[index(priority)].get(), EPOLL_CTL_ADD, fd, &event) != 0) fatal("epoll_ctl", errno);
    ++registered_[index(priority)];
}

void EventLoop::change(int fd, uint32_t events, Handler& handler, Priority priority) {
    epoll_event event{};
    event.events = events;
    event.data.ptr = &handler;
    if (epoll_ctl(queues_[index(priority)].get(), EPOLL_CTL_MOD, fd, &event) != 0) fatal("epoll_ctl", errno);
}

void EventLoop::remove(int fd, Handler& handler, Priority priority) {
    epoll_ctl(queues_[index(priority)].get(), EPOLL_CTL_DEL, fd, nullptr);
    --registered_[index(priority)];
    removed_.push_back(&handler);
}

void EventLoop::call_at(uint64_t when, std::function<void()> what) {
    timers_.push({when, timers_made_++, std::move(what)});
}

bool EventLoop::run_until(const std::function<bool()>& done, uint64_t deadline) {
    while (!done()) {
        if (now_ns() >= deadline) return false;
        turn(deadline);
    }
    return true;
}

void EventLoop::turn(uint64_t wait_until) {
    fire_timers();
    const bool one_queue = registered_[0] == 0 || registered_[1] == 0;
    const int only = registered_[0] == 0 ? queues_[1].get() : queues_[0].get();
    const int wait_on = one_queue ? only : both_.get();

    if (!timers_.empty()) wait_until = std::min(wait_until, timers_.top().when);
    const uint64_t now = now_ns();
    const uint64_t wait = spin_ || wait_until <= now ? 0 : std::min(wait_until - now, kSecond);
    const timespec timeout{static_cast<time_t>(wait / kSecond), static_cast<long>(wait % kSecond)};
    std::array<epoll_event, kUrgentEventsPerTurn> events;
    const int most = one_queue && registered_[0] != 0 ? kUrgentEventsPerTurn : kBulkEventsPerTurn;
    const int ready = epoll_pwait2(wait_on, events.data(), most, &timeout, nullptr);
    if (ready < 0 && errno != EINTR) fatal("epoll_pwait2", errno);
    if (!one_queue) {
        if (ready > 0 && !handle(queues_[0].get(), kUrgentEventsPerTurn)) handle(queues_[1].get(), 1);
        return;
    }
    removed_.clear();
    for (int n = 0; n < ready; ++n) {
        auto* handler = static_cast<Handler*>(events[static_cast<size_t>(n)].data.ptr);
        if (std::find(removed_.begin(), removed_.end(), handler) == removed_.end())
            handler->on_ready(events[static_cast<size_t>(n)].events);
    }
}

bool EventLoop::handle(int epoll, int at_most) {
    std::array<epoll_event, kUrgentEventsPerTurn> events;
    const int ready = epoll_wait(epoll, events.data(), at_most, 0);
    removed_.clear();
    for (int n = 0; n < ready; ++n) {
        auto* handler = static_cast<Handler*>(events[static_cast<size_t>(n)].data.ptr);
        if (std::find(removed_.begin(), removed_.end(), handler) == removed_.end())
            handler->on_ready(events[static_cast<size_t>(n)].events);
    }
    return ready > 0;
}

void EventLoop::fire_timers() {
    while (!timers_.empty() && timers_.top().when <= now_ns()) {
        const std::function<void()> what = timers_.top().what;
        timers_.pop();
        what();
    }
}

}  // namespace qanat::loadgen
