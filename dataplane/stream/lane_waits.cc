#include "dataplane/stream/lane_waits.h"

#include <poll.h>

namespace qanat::dataplane {

bool LaneWaits::wait(Stream& stream, uint8_t lane, Move move) {
    const bool sealing = lane == kSealLane;
    const int source = sealing ? stream.plain.get() : stream.tunnel.get();
    const int sink = sealing ? stream.tunnel.get() : stream.plain.get();
    const auto arm = [&](int fd, uint32_t events) {
        sealing ? table_.arm_seal(stream, fd, events) : table_.arm_open(stream, fd, events);
    };
    switch (move) {
        case Move::wait_source:
            arm(source, POLLIN);
            return true;
        case Move::wait_sink:
            table_.deadline(stream, services_.now_ns + kWatchAfterNs);
            if ((stream.watch_armed & other_lane(lane)) == 0)
                arm(sink, POLLOUT);
            else
                stream.sink_lanes = static_cast<uint8_t>(stream.sink_lanes | lane);
            return true;
        case Move::wait_memory:
            ring::add(services_.counters.buffer_waits);
            stream.memory_lanes = static_cast<uint8_t>(stream.memory_lanes | lane);
            if (!table_.memory.linked(stream)) table_.memory.push_back(stream);
            return true;
        case Move::yield:
            stream.ready_lanes = static_cast<uint8_t>(stream.ready_lanes | lane);
            if (!table_.ready.linked(stream)) table_.ready.push_back(stream);
            return true;
        default:
            return false;
    }
}

bool LaneWaits::ready(Stream& stream, uint8_t lane, int32_t result) {
    // Asked for room in its sink, the kernel answered with nothing but the FIN that came from there, and would do so
    // for ever. A watch gets past it.
    if (result != POLLRDHUP) return true;
    stream.sink_lanes = static_cast<uint8_t>(stream.sink_lanes | lane);
    table_.watch(stream, other_lane(lane));
    return false;
}

bool LaneWaits::enough_memory() const {
    const Stream* first = table_.memory.front();
    if (first == nullptr) return false;
    if (first->phase == Phase::splicing) return services_.chunks.available() > 0 || services_.pipes.available() > 0;
    // A record's worth of chunks has to be there, or the first waiter would only wait again. Not more: readers that
    // stand still may hold nearly the whole pool, and the others go on with what is left.
    return services_.chunks.available() >= kChunksPerRecord;
}

void LaneWaits::watch(Stream& stream, uint8_t lane, bool reads) {
    if (!reads) table_.watch(stream, lane);
}

LaneWaits::Watched LaneWaits::watched(Stream& stream, uint8_t lane, int32_t result) {
    if (result < 0 || (result & POLLERR) != 0) return Watched::source_failed;
    // A FIN is what ended the lane, or will be read in its time; a hang-up without error means that this side's other
    // direction has ended too, which the other lane is about to find out.
    const uint8_t writer = other_lane(lane);
    if ((stream.sink_lanes & writer) == 0) return Watched::nothing;
    if ((result & (POLLOUT | POLLHUP)) == 0) {
        table_.watch(stream, lane);
        return Watched::nothing;
    }
    stream.sink_lanes = static_cast<uint8_t>(stream.sink_lanes & ~writer);
    return Watched::sink_ready;
}

}  // namespace qanat::dataplane
