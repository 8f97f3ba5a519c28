// LaneWaits: how a lane waits for what its mover asked for, whatever the mover is: for its source, its sink, memory or
// its next turn. Shared by Relaying and Splicing.
#pragma once

#include <utility>

#include "dataplane/stream/stream_table.h"

namespace qanat::dataplane {

// The sink of a lane is the source of the other one.
[[nodiscard]] constexpr uint8_t other_lane(uint8_t lane) {
    return lane == kSealLane ? kOpenLane : kSealLane;
}

class LaneWaits {
public:
    // A stream whose two directions end together, the usual case, never needs a watch.
    static constexpr uint64_t kWatchAfterNs = 1'000'000'000;
    static constexpr uint64_t kKeepAliveAfterNs = 10'000'000'000;

    LaneWaits(EngineServices& services, StreamTable& table) : services_(services), table_(table) {}

    // Waits as `move` says. False if it is none of wait_source, wait_sink, wait_memory and yield.
    bool wait(Stream& stream, uint8_t lane, Move move);

    // What `lane` polled for has come: `result` = poll events, or -errno. False: nothing that it could use; it goes on
    // waiting.
    bool ready(Stream& stream, uint8_t lane, int32_t result);

    // A lane that has ended, or waits for its sink, does not read: nothing but a watch notices a reset of its source.
    void watch(Stream& stream, uint8_t lane, bool reads);

    // Something happened to the source of `lane` that it may not have seen.
    enum class Watched : uint8_t {
        nothing,
        source_failed,
        sink_ready,  // the other lane waited for this socket to take more, and can go on
    };
    Watched watched(Stream& stream, uint8_t lane, int32_t result);

    // Runs the lanes that yielded, and those that waited for memory which is there now: run(stream, lane). True if
    // there is more to do at once.
    template <class Run>
    bool run_ready(Run run) {
        // Only those that are waiting at the start: who yields again comes after everyone else's completions.
        for (size_t left = size_of(table_.ready); left > 0 && !table_.ready.empty(); --left) {
            Stream& stream = *table_.ready.pop_front();
            run_lanes(run, stream, std::exchange(stream.ready_lanes, uint8_t{0}));
        }
        for (size_t left = size_of(table_.memory); left > 0 && enough_memory(); --left) {
            Stream& stream = *table_.memory.pop_front();
            run_lanes(run, stream, std::exchange(stream.memory_lanes, uint8_t{0}));
        }
        return !table_.ready.empty();
    }

private:
    template <class L>
    [[nodiscard]] static size_t size_of(const L& list) {
        size_t size = 0;
        for (const Stream* item = list.front(); item != nullptr; item = L::next(*item)) ++size;
        return size;
    }
    template <class Run>
    static void run_lanes(Run& run, Stream& stream, uint8_t lanes) {
        for (const uint8_t lane : {kSealLane, kOpenLane})
            if ((lanes & lane) != 0 && stream.phase != Phase::closing) run(stream, lane);
    }
    // For the stream that has waited longest.
    [[nodiscard]] bool enough_memory() const;

    EngineServices& services_;
    StreamTable& table_;
};

}  // namespace qanat::dataplane
