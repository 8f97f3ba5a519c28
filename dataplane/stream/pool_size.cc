#include "dataplane/stream/pool_size.h"

#include <algorithm>

namespace qanat::dataplane {
namespace {

// Streams do not come evenly: those of two refill times, so that twice the usual number finds one.
constexpr uint64_t kRefillsPerWindow = 2;
constexpr uint64_t kAverageOver = 8;
constexpr uint32_t kLentMax = 128;

}  // namespace

void PoolSize::on_demand(uint64_t now_ns, uint32_t streams) {
    if (!demanded_ || now_ns - window_ns_ >= kRefillsPerWindow * refill_ns_) {
        window_ns_ = now_ns;
        window_count_ = 0;
    }
    lent_ += std::min(streams, kWantedMax);
    while (lent_ >= kLentMax) {
        lent_ /= 2;
        returned_ /= 2;
    }
    demanded_ = true;
    last_ns_ = now_ns;
    window_count_ = std::min(window_count_ + std::min(streams, kWantedMax), kWantedMax);
    if (window_count_ < decayed_peak(now_ns)) return;
    peak_ = window_count_;
    peak_ns_ = now_ns;
}

void PoolSize::on_returned() {
    returned_ = std::min(returned_ + 1, lent_);
}

uint32_t PoolSize::coming_back(uint64_t now_ns, uint32_t in_flight) const {
    if (lent_ == 0) return 0;
    // A stream that has lasted longer than the demand of the last minute reaches is not about to end.
    return std::min(in_flight, decayed_peak(now_ns)) * returned_ / lent_;
}

void PoolSize::on_made(uint64_t took_ns) {
    const uint64_t took = std::clamp(took_ns, kRefillMinNs, kRefillMaxNs);
    refill_ns_ = measured_ ? (refill_ns_ * (kAverageOver - 1) + took) / kAverageOver : took;
    measured_ = true;
}

uint32_t PoolSize::decayed_peak(uint64_t now_ns) const {
    const uint64_t age = now_ns - peak_ns_;
    if (age >= kMemoryNs) return 0;
    return static_cast<uint32_t>((peak_ * (kMemoryNs - age) + kMemoryNs - 1) / kMemoryNs);
}

uint32_t PoolSize::wanted(uint64_t now_ns) const {
    if (!demanded_ || now_ns - last_ns_ >= kMemoryNs) return 0;
    return std::max(decayed_peak(now_ns), 1U);
}

}  // namespace qanat::dataplane
