// TimerWheel: deadlines in coarse ticks. Arming, moving and disarming cost a few pointer writes; a timer fires at its
// deadline or up to one tick later, never earlier. Time comes in as an argument.
#pragma once

#include <array>
#include <cstdint>

namespace qanat::dataplane {

inline constexpr uint64_t kNsPerMs = 1'000'000;

// Embedded in whatever wants to be woken. Must be disarmed before it goes away.
struct Timer {
    Timer() = default;
    Timer(const Timer&) = delete;
    Timer& operator=(const Timer&) = delete;

    // Whose deadline it is; the engine finds its way back from here.
    enum class Kind : uint8_t { stream, throttle, control, listener, pool, punched, punch, offers };
    void own(Kind of, void* by) {
        kind = of;
        owner = by;
    }

    [[nodiscard]] bool armed() const { return next != nullptr; }

    Timer* next = nullptr;
    Timer* previous = nullptr;
    uint64_t deadline_ns = 0;
    void* owner = nullptr;
    Kind kind = Kind::stream;
};

class TimerWheel {
public:
    static constexpr uint64_t kTickNs = 8'000'000;
    static constexpr uint64_t kNever = UINT64_MAX;

    explicit TimerWheel(uint64_t now_ns);
    TimerWheel(const TimerWheel&) = delete;
    TimerWheel& operator=(const TimerWheel&) = delete;

    void arm(Timer& timer, uint64_t deadline_ns);  // moves it when it is armed already
    void disarm(Timer& timer);

    // Disarms and returns one timer that is due at now_ns, or nullptr when there is none left.
    [[nodiscard]] Timer* expired(uint64_t now_ns);

    // When to call expired() next; kNever without timers. Never later than the earliest deadline's tick, sometimes
    // earlier (a timer that was disarmed, or the wheel's turn).
    [[nodiscard]] uint64_t next_ns() const { return count_ == 0 ? kNever : earliest_tick_ * kTickNs; }

private:
    static constexpr uint32_t kSlots = 1024;
    static uint64_t tick_of(uint64_t deadline_ns) { return (deadline_ns + kTickNs - 1) / kTickNs; }
    static void link(Timer& list, Timer& timer);
    static void unlink(Timer& timer);
    void find_earliest();

    std::array<Timer, kSlots> slots_;
    uint64_t tick_;               // all slots before this tick have been emptied of what was due
    uint64_t earliest_tick_ = 0;  // no timer is due before it
    Timer* cursor_ = nullptr;     // within the slot of tick_
    uint64_t count_ = 0;
};

}  // namespace qanat::dataplane
