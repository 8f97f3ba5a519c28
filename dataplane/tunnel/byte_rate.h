// ByteRate: a token bucket over the bytes of one member, taken from by every engine at once. Lock-free; time and rate
// are arguments, so that a new rate counts at once.
//
// What is kept is one moment: until when the bytes taken so far are paid for. A bucket that is full is paid for up to
// kBurst ago or earlier. Whoever finds tokens takes a whole burst and may so run the bucket into debt; the debt is
// waited for before the next.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <limits>

namespace qanat::dataplane {

class ByteRate {
public:
    static constexpr size_t kUnlimited = std::numeric_limits<size_t>::max();
    static constexpr uint64_t kNsPerS = 1'000'000'000;

    // A quarter of a second's bytes, and never less than one full pipe.
    [[nodiscard]] static constexpr uint64_t burst(uint64_t rate) { return std::max<uint64_t>(rate / 4, 256 * 1024); }
    // What is worth being woken up for: 1/16 s, as long as that is a page and leaves room in the bucket.
    [[nodiscard]] static constexpr uint64_t quantum(uint64_t rate) {
        return std::clamp<uint64_t>(rate / 16, 4096, burst(rate) / 4);
    }

    // Bytes that may be taken now: kUnlimited with rate 0, and 0 instead of less than a quantum.
    [[nodiscard]] size_t allowance(uint64_t rate, uint64_t now_ns) const {
        if (rate == 0) return kUnlimited;
        const uint64_t paid = std::max(paid_until_ns_.load(std::memory_order_relaxed), now_ns);
        const uint64_t full = now_ns + time_of(burst(rate), rate);
        const uint64_t bytes = paid < full ? bytes_in(full - paid, rate) : 0;
        return bytes < quantum(rate) ? 0 : static_cast<size_t>(bytes);
    }
    void take(uint64_t rate, uint64_t bytes, uint64_t now_ns) {
        if (rate == 0 || bytes == 0) return;
        const uint64_t cost = time_of(bytes, rate);
        uint64_t paid = paid_until_ns_.load(std::memory_order_relaxed);
        while (!paid_until_ns_.compare_exchange_weak(paid, std::max(paid, now_ns) + cost, std::memory_order_relaxed)) {
        }
    }
    // When allowance() is no longer 0 if nobody takes anything.
    [[nodiscard]] uint64_t next_ns(uint64_t rate) const {
        const uint64_t paid = paid_until_ns_.load(std::memory_order_relaxed);
        const uint64_t ahead = time_of(burst(rate) - quantum(rate), rate);
        return paid > ahead ? paid - ahead + 1 : 0;
    }
    // The rate has changed: what was taken at the old one is forgotten.
    void forget() { paid_until_ns_.store(0, std::memory_order_relaxed); }
    // Nothing is remembered that a new one would not know.
    [[nodiscard]] bool full(uint64_t now_ns) const { return paid_until_ns_.load(std::memory_order_relaxed) <= now_ns; }

private:
    // 128 bits: neither a terabyte per second nor a year of debt overflows.
    [[nodiscard]] static constexpr uint64_t time_of(uint64_t bytes, uint64_t rate) {
        return static_cast<uint64_t>(Wide{bytes} * kNsPerS / rate);
    }
    [[nodiscard]] static constexpr uint64_t bytes_in(uint64_t ns, uint64_t rate) {
        return static_cast<uint64_t>(Wide{ns} * rate / kNsPerS);
    }
    __extension__ using Wide = unsigned __int128;

    std::atomic<uint64_t> paid_until_ns_{0};
};

}  // namespace qanat::dataplane
