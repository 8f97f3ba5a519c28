#include "common/wire/replay_window.h"

#include <sched.h>

#include <algorithm>
#include <bit>

#include "common/base/assert.h"

namespace qanat::wire {

namespace {

constexpr uint64_t kWordBits = 64;

// Yields after a while: on a machine with fewer cores than engines the holder may have been scheduled away.
class SpinGuard {
public:
    explicit SpinGuard(std::atomic_flag& flag) : flag_(flag) {
        for (unsigned tries = 1; flag_.test_and_set(std::memory_order_acquire); ++tries) {
            while (flag_.test(std::memory_order_relaxed)) {
                if (++tries % 128 == 0) ::sched_yield();
            }
        }
    }
    ~SpinGuard() { flag_.clear(std::memory_order_release); }
    SpinGuard(const SpinGuard&) = delete;
    SpinGuard& operator=(const SpinGuard&) = delete;

private:
    std::atomic_flag& flag_;
};

}  // namespace

size_t ReplayWindow::words_for(uint32_t window) {
    QANAT_ASSERT(window >= kWordBits && window % kWordBits == 0);
    return std::bit_ceil(size_t{window / kWordBits} + 1);
}

ReplayWindow::ReplayWindow(std::span<uint64_t> storage, uint32_t window) : words_(storage), window_(window) {
    QANAT_ASSERT(storage.size() == words_for(window));
    std::ranges::fill(words_, 0);
}

bool ReplayWindow::is_fresh(uint64_t stream_no) const {
    if (stream_no > top_) return true;
    if (top_ - stream_no >= window_) return false;
    const uint64_t word = words_[(stream_no / kWordBits) & (words_.size() - 1)];
    return (word >> (stream_no % kWordBits) & 1) == 0;
}

bool ReplayWindow::check(uint64_t stream_no) const {
    const SpinGuard guard(lock_);
    return is_fresh(stream_no);
}

bool ReplayWindow::test_and_set(uint64_t stream_no) {
    const SpinGuard guard(lock_);
    if (!is_fresh(stream_no)) return false;
    const uint64_t mask = words_.size() - 1;
    const uint64_t word = stream_no / kWordBits;
    if (stream_no > top_) {
        const uint64_t steps = std::min<uint64_t>(word - top_ / kWordBits, words_.size());
        for (uint64_t i = 0; i < steps; ++i) words_[(word - i) & mask] = 0;
        top_ = stream_no;
    }
    words_[word & mask] |= uint64_t{1} << (stream_no % kWordBits);
    return true;
}

}  // namespace qanat::wire
