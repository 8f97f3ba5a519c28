// BackOff: when to try again what has failed. The pause doubles with each failure in a row and is spread by a quarter
// to either side, so that those who failed together do not come back together.
//
// Pure: time (nanoseconds) and randomness are arguments.
#pragma once

#include <algorithm>
#include <cstdint>

namespace qanat::dataplane {

class BackOff {
public:
    static constexpr uint64_t kFirstNs = 500'000'000;
    static constexpr uint64_t kMaxNs = 30'000'000'000;

    [[nodiscard]] bool ready(uint64_t now_ns) const { return now_ns >= until_ns_; }

    // `random`: 64 fresh random bits. A failure during the pause is one of those that were under way when it began.
    void fail(uint64_t now_ns, uint64_t random) {
        if (!ready(now_ns)) return;
        pause_ns_ = pause_ns_ == 0 ? kFirstNs : std::min(2 * pause_ns_, kMaxNs);
        until_ns_ = now_ns + pause_ns_ / 4 * 3 + random % (pause_ns_ / 2);
    }
    // Asked not to try for that long.
    void rest(uint64_t now_ns, uint64_t for_ns) { until_ns_ = std::max(until_ns_, now_ns + for_ns); }
    void succeed() { pause_ns_ = 0; }

private:
    uint64_t pause_ns_ = 0;
    uint64_t until_ns_ = 0;
};

}  // namespace qanat::dataplane
