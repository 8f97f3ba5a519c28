// NodeTraffic: what the engines report about the streams of one node, added up over engines and their restarts. Pure.
#pragma once

#include <chrono>
#include <cstdint>
#include <map>
#include <optional>

#include "common/ring/messages.h"

namespace qanat::controlplane {

class NodeTraffic {
public:
    struct Sum {
        uint64_t in_flight = 0;
        uint64_t parked = 0;
        uint64_t opened = 0;
        uint64_t failed = 0;
        uint64_t bytes_up = 0;
        uint64_t bytes_down = 0;
        uint64_t punched = 0;
        uint64_t punch_failed = 0;
    };
    // What a report says that the one before did not.
    struct News {
        bool opened = false;                                  // a stream, at least
        std::optional<std::chrono::microseconds> round_trip;  // measured by a stream
        std::optional<bool> punched;                          // a direct connection was made, or tried in vain
    };

    // An engine's report: sums since it knows the node. Smaller ones than before: it began anew.
    News take(uint32_t engine, const ring::NodeStatsEntry& entry);
    // The engines ended: what they counted stays, what was under way in them does not.
    void engines_ended();

    [[nodiscard]] Sum sum() const;

private:
    std::map<uint32_t, ring::NodeStatsEntry> last_;  // by engine
    Sum past_;                                       // of engines that began anew
};

}  // namespace qanat::controlplane
