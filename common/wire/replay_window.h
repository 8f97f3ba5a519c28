// ReplayWindow: which stream numbers of a session were used (docs/PROTOCOL.md, section 4). Exact: of the numbers in
// [top − window + 1, top] each is accepted once, older ones never, and a larger one moves the top.
//
// The bits lie in a ring of words as in RFC 6479, with one word more than the window needs: moving the top clears whole
// words, and the extra word keeps that from eating into the window. The ring is rounded up to a power of two of words;
// this shows nowhere in the behaviour.
//
// Shared by the engines of a process. A spin lock inside makes top and bits move together. It is held for some
// ten instructions (a jump of the top clears at most the ring), once or twice per stream, so it is hardly ever
// contended.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <span>

namespace qanat::wire {

class ReplayWindow {
public:
    // How many words of storage a window of `window` stream numbers takes. `window` is a multiple of 64, at least 64.
    [[nodiscard]] static size_t words_for(uint32_t window);

    // `storage` is words_for(window) words that outlive the object and nobody else touches. They are zeroed here.
    ReplayWindow(std::span<uint64_t> storage, uint32_t window);

    ReplayWindow(const ReplayWindow&) = delete;
    ReplayWindow& operator=(const ReplayWindow&) = delete;

    [[nodiscard]] uint32_t window() const { return window_; }

    // Neither behind the window nor used. Only a hint, to drop replays before the cost of a key schedule: another
    // thread may use the number in the meantime.
    [[nodiscard]] bool check(uint64_t stream_no) const;

    // Marks the number as used. True exactly once per number, whatever the threads; false if it is behind or was used.
    // Call it only for what is authenticated, or anyone could move the top.
    [[nodiscard]] bool test_and_set(uint64_t stream_no);

private:
    [[nodiscard]] bool is_fresh(uint64_t stream_no) const;  // with the lock held

    std::span<uint64_t> words_;  // bit n % 64 of word (n / 64) % words_.size() is number n
    uint64_t top_ = 0;           // the largest number used, or 0 before the first
    uint32_t window_;
    mutable std::atomic_flag lock_;
};

}  // namespace qanat::wire
