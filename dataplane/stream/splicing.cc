#include "dataplane/stream/splicing.h"

#include <algorithm>

#include "common/base/assert.h"
#include "dataplane/engine/socket.h"

namespace qanat::dataplane {
namespace {

constexpr uint64_t kThrottleMaxNs = 250'000'000;
// Lanes whose member holds its share already look again that often, all of them in the same turn: its readers, and
// other members, may have made room.
constexpr uint64_t kShareWaitNs = 20'000'000;

RelayLane& relay_lane(Stream& stream, uint8_t lane) {
    return lane == kSealLane ? stream.answer : stream.ask;
}

}  // namespace

void Splicing::start(Stream& stream) {
    // A first flight into a new connection: it takes all of it, and no buffer is needed.
    Bytes early = Bytes(stream.opening->flight).first(stream.opening->flight_size);
    size_t passed_on = 0;
    if (!early.empty()) {
        const IoResult written = write_some(stream.plain.get(), early);
        if (written.status == IoStatus::ok) passed_on = written.count;
        early = early.subspan(passed_on);
    }
    if (!early.empty() && services_.chunks.available() == 0) {
        reset_on_close(stream.tunnel.get());
        return table_.finish(stream, ring::EndReason::at_capacity, PlainEnd::reset);
    }
    table_.begin_splicing(stream);
    stream.ask.lane.bytes += passed_on;
    count(stream, passed_on);
    ring::add(services_.counters.relay_streams);
    ring::add(services_.counters.relay_total);
    if (!early.empty()) {
        splice_first(stream.ask.lane, services_.chunks, early);
        held_by(stream).add(stream.ask.lane.holds());
        count(stream, early.size());
    }
    table_.release_opening(stream);
    table_.deadline(stream, services_.now_ns + LaneWaits::kKeepAliveAfterNs);

    settle(stream, kSealLane, Move::wait_source);
    if (early.empty())
        settle(stream, kOpenLane, Move::wait_source);
    else
        run(stream, kOpenLane);
}

void Splicing::count(Stream& stream, uint64_t bytes) {
    ring::add(services_.counters.relay_bytes, bytes);
    stream.member->rate.take(services_.relay_byte_rate, bytes, services_.now_ns);
}

void Splicing::run(Stream& stream, uint8_t lane) {
    RelayLane& moved = relay_lane(stream, lane);
    const bool down = lane == kSealLane;
    const int source = down ? stream.plain.get() : stream.tunnel.get();
    const int sink = down ? stream.tunnel.get() : stream.plain.get();
    const size_t allowance = stream.member->rate.allowance(services_.relay_byte_rate, services_.now_ns);
    PoolShare& held = held_by(stream);
    held.subtract(moved.lane.holds());
    const SpliceResources resources = services_.splicer(held);
    const bool without_pipe =
        moved.lane.bulk && moved.lane.pipe == kNoPipe && resources.room.pipes == 0 && allowance >= kSpliceMin;
    const uint64_t before = moved.lane.bytes;
    const Move move = splice_some(moved.lane, resources, source, sink, allowance);
    const uint64_t bytes = moved.lane.bytes - before;
    held.add(moved.lane.holds());
    count(stream, bytes);
    if (without_pipe && bytes > 0) ring::add(services_.counters.pipe_fallbacks);
    // Without this a lane that may not read would ask again and again.
    if (move == Move::yield && stream.member->rate.allowance(services_.relay_byte_rate, services_.now_ns) == 0)
        return throttle(stream, moved, bytes > 0);
    // What is free is for others: the list of those that wait for memory would ask this one again and again.
    if (move == Move::wait_memory && (services_.chunks.available() > 0 || services_.pipes.available() > 0)) {
        ring::add(services_.counters.buffer_waits);
        return services_.timers.arm(moved.throttle, (services_.now_ns / kShareWaitNs + 1) * kShareWaitNs);
    }
    settle(stream, lane, move);
}

PoolShare& Splicing::held_by(Stream& stream) {
    return stream.member->held[services_.relay.engine];
}

void Splicing::throttle(Stream& stream, RelayLane& lane, bool served) {
    ring::add(services_.counters.relay_throttled);
    const uint64_t next_ns = stream.member->rate.next_ns(services_.relay_byte_rate);
    // Who was served goes behind who was not, or the first of a member's lanes would get everything for ever. Never
    // long: the rate may be another one by then.
    services_.timers.arm(lane.throttle,
                         std::min(next_ns + (served ? TimerWheel::kTickNs : 0), services_.now_ns + kThrottleMaxNs));
}

void Splicing::on_throttle(Timer& timer) {
    Stream& stream = *static_cast<Stream*>(timer.owner);
    run(stream, &timer == &stream.answer.throttle ? kSealLane : kOpenLane);
}

void Splicing::settle(Stream& stream, uint8_t lane, Move move) {
    if (waits_.wait(stream, lane, move)) return;
    switch (move) {
        case Move::finished:
            if (stream.answer.lane.done && stream.ask.lane.done)
                return table_.finish(stream, ring::EndReason::completed, PlainEnd::close);
            end_writing(lane == kSealLane ? stream.tunnel.get() : stream.plain.get());
            return table_.deadline(stream, services_.now_ns + LaneWaits::kWatchAfterNs);
        case Move::source_failed:
            return end(stream, lane == kSealLane);
        case Move::sink_failed:
            return end(stream, lane == kOpenLane);
        default:
            QANAT_ASSERT(false);
    }
}

void Splicing::end(Stream& stream, bool by_next_node) {
    reset_on_close(stream.tunnel.get());
    reset_on_close(stream.plain.get());
    table_.finish(stream, by_next_node ? ring::EndReason::application_reset : ring::EndReason::tunnel_reset,
                  PlainEnd::reset);
}

void Splicing::on_timer(Stream& stream) {
    keep_alive(stream.plain.get());
    const auto reads = [](const SpliceLane& lane) { return !lane.done && !lane.waits_for_sink(); };
    waits_.watch(stream, kSealLane, reads(stream.answer.lane));
    waits_.watch(stream, kOpenLane, reads(stream.ask.lane));
}

void Splicing::on_ready(Stream& stream, uint8_t lane, int32_t result) {
    if (waits_.ready(stream, lane, result)) run(stream, lane);
}

void Splicing::on_watch(Stream& stream, uint8_t lane, int32_t result) {
    switch (waits_.watched(stream, lane, result)) {
        case LaneWaits::Watched::nothing:
            return;
        case LaneWaits::Watched::source_failed:
            return end(stream, lane == kSealLane);
        case LaneWaits::Watched::sink_ready:
            return run(stream, other_lane(lane));
    }
}

}  // namespace qanat::dataplane
