// PoolSize: how many connections are worth keeping ready for one node, from the demand of the last minute: as many as
// streams came while one connection is being made. A burst counts at once; without demand the number falls to 0 within
// a minute. Connections that streams are likely to give back soon need not be made.
//
// Pure: time is an argument, in nanoseconds of any clock that does not run backwards.
#pragma once

#include <cstdint>

namespace qanat::dataplane {

class PoolSize {
public:
    static constexpr uint64_t kMemoryNs = 60'000'000'000;
    // The time that making one is taken to need before one was made, and the bounds of what was measured.
    static constexpr uint64_t kRefillFirstNs = 200'000'000;
    static constexpr uint64_t kRefillMinNs = 5'000'000;
    static constexpr uint64_t kRefillMaxNs = 2'000'000'000;
    static constexpr uint32_t kWantedMax = 4096;

    // This many streams want a connection now.
    void on_demand(uint64_t now_ns, uint32_t streams = 1);
    // A stream gave the connection back that it had used.
    void on_returned();
    // A connection was made, from the first packet until it was ready.
    void on_made(uint64_t took_ns);

    [[nodiscard]] uint32_t wanted(uint64_t now_ns) const;
    // How many of the connections that `in_flight` streams use now will come back soon, if these do as the last ones
    // did.
    [[nodiscard]] uint32_t coming_back(uint64_t now_ns, uint32_t in_flight) const;
    [[nodiscard]] uint64_t refill_ns() const { return refill_ns_; }

private:
    [[nodiscard]] uint32_t decayed_peak(uint64_t now_ns) const;

    uint64_t refill_ns_ = kRefillFirstNs;  // a moving average
    bool measured_ = false;
    bool demanded_ = false;  // ever; the times below count
    uint64_t last_ns_ = 0;   // of the last demand
    uint64_t window_ns_ = 0;
    uint32_t window_count_ = 0;  // streams since window_ns_
    uint64_t peak_ns_ = 0;
    uint32_t peak_ = 0;
    uint32_t lent_ = 0;      // of the last streams
    uint32_t returned_ = 0;  // of those
};

}  // namespace qanat::dataplane
