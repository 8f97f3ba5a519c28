#include "dataplane/stream/relaying.h"

#include <poll.h>

#include "common/base/assert.h"
#include "dataplane/engine/socket.h"
#include "dataplane/relay/open_mover.h"
#include "dataplane/relay/seal_mover.h"

namespace qanat::dataplane {
namespace {

// A stream whose two directions end together, the usual case, never needs the watch.
constexpr uint64_t kWatchAfterNs = 1'000'000'000;
constexpr uint64_t kKeepAliveAfterNs = 10'000'000'000;

// The sink of a lane is the source of the other one.
constexpr uint8_t other(uint8_t lane) {
    return lane == kSealLane ? kOpenLane : kSealLane;
}

}  // namespace

void Relaying::start(Stream& stream, Bytes early_plain, Bytes early_records) {
    stream.phase = Phase::relaying;
    table_.deadline(stream, services_.now_ns + kKeepAliveAfterNs);
    table_.opening.remove(stream);

    Move first = Move::wait_source;
    if (!early_records.empty()) {
        // One to keep them in, and one for what the other side does not take at once.
        if (services_.chunks.available() < 2)
            return table_.finish(stream, ring::EndReason::at_capacity, PlainEnd::reset);
        carry_over(stream.open, services_.chunks, early_records);
    }
    if (!early_plain.empty()) {
        first = seal_bytes(stream.seal, services_.mover(), stream.tunnel.get(), early_plain);
        if (first == Move::wait_memory) return table_.finish(stream, ring::EndReason::at_capacity, PlainEnd::reset);
        ring::add(stream.side == StreamSide::client ? services_.counters.bytes_up : services_.counters.bytes_down,
                  early_plain.size());
    }
    table_.release_opening(stream);

    settle(stream, kSealLane, first);
    if (stream.phase != Phase::relaying) return;
    if (stream.open.carry_is_new)
        run_open(stream);
    else
        settle(stream, kOpenLane, Move::wait_source);
}

void Relaying::run_seal(Stream& stream) {
    const uint64_t before = stream.seal.bytes;
    const Move move = seal_some(stream.seal, services_.mover(), stream.plain.get(), stream.tunnel.get());
    ring::add(stream.side == StreamSide::client ? services_.counters.bytes_up : services_.counters.bytes_down,
              stream.seal.bytes - before);
    settle(stream, kSealLane, move);
}

void Relaying::run_open(Stream& stream) {
    const uint64_t before = stream.open.bytes;
    const Move move = open_some(stream.open, services_.mover(), stream.tunnel.get(), stream.plain.get());
    ring::add(stream.side == StreamSide::client ? services_.counters.bytes_down : services_.counters.bytes_up,
              stream.open.bytes - before);
    settle(stream, kOpenLane, move);
}

void Relaying::settle(Stream& stream, uint8_t lane, Move move) {
    const bool sealing = lane == kSealLane;
    const int source = sealing ? stream.plain.get() : stream.tunnel.get();
    const int sink = sealing ? stream.tunnel.get() : stream.plain.get();
    const auto arm = [&](int fd, uint32_t events) {
        sealing ? table_.arm_seal(stream, fd, events) : table_.arm_open(stream, fd, events);
    };
    switch (move) {
        case Move::wait_source:
            return arm(source, POLLIN);
        case Move::wait_sink:
            table_.deadline(stream, services_.now_ns + kWatchAfterNs);
            if ((stream.watch_armed & other(lane)) == 0) return arm(sink, POLLOUT);
            stream.sink_lanes = static_cast<uint8_t>(stream.sink_lanes | lane);
            return;
        case Move::wait_memory:
            ring::add(services_.counters.buffer_waits);
            stream.memory_lanes = static_cast<uint8_t>(stream.memory_lanes | lane);
            if (!table_.memory.linked(stream)) table_.memory.push_back(stream);
            return;
        case Move::yield:
            stream.ready_lanes = static_cast<uint8_t>(stream.ready_lanes | lane);
            if (!table_.ready.linked(stream)) table_.ready.push_back(stream);
            return;
        case Move::finished:
            if (stream.seal.done && stream.open.done)
                table_.finish(stream, ring::EndReason::completed, PlainEnd::close);
            else
                table_.deadline(stream, services_.now_ns + kWatchAfterNs);
            return;
        default:
            return end(stream, move, lane);
    }
}

void Relaying::end(Stream& stream, Move move, uint8_t lane) {
    using ring::EndReason;
    const bool sealing = lane == kSealLane;
    EndReason reason = EndReason::none;
    switch (move) {
        case Move::source_failed:
            reason = sealing ? EndReason::application_reset : EndReason::tunnel_reset;
            break;
        case Move::sink_failed:
            reason = sealing ? EndReason::tunnel_reset : EndReason::application_reset;
            break;
        case Move::truncated:
            reason = EndReason::tunnel_reset;
            break;
        case Move::aborted:
            reason = EndReason::peer_abort;
            break;
        case Move::bad_record:
            reason = EndReason::protocol_error;
            break;
        case Move::key_exhausted:
            reason = EndReason::key_exhausted;
            break;
        default:
            QANAT_ASSERT(false);
    }
    const bool far_side_knows = reason == EndReason::tunnel_reset || reason == EndReason::peer_abort;
    if (!far_side_knows && !seal_abort(stream.seal, services_.mover(), stream.tunnel.get()))
        reset_on_close(stream.tunnel.get());
    table_.finish(stream, reason, PlainEnd::reset);
}

void Relaying::on_timer(Stream& stream) {
    keep_alive(stream.side == StreamSide::client ? stream.tunnel.get() : stream.plain.get());
    // A lane that has ended, or waits for its sink, does not read: nothing else would notice a reset of its source.
    const auto watch = [&](const Lane& state, uint8_t lane) {
        if ((state.done || !state.backlog.empty()) && (stream.watch_armed & lane) == 0) table_.arm_watch(stream, lane);
    };
    watch(stream.seal, kSealLane);
    watch(stream.open, kOpenLane);
}

void Relaying::on_ready(Stream& stream, uint8_t lane, int32_t result) {
    // Asked for room in its sink, the kernel answered with nothing but the FIN that came from there, and would do so
    // for ever. A watch gets past it.
    if (result == POLLRDHUP) {
        stream.sink_lanes = static_cast<uint8_t>(stream.sink_lanes | lane);
        if ((stream.watch_armed & other(lane)) == 0) table_.arm_watch(stream, other(lane));
        return;
    }
    run(stream, lane);
}

void Relaying::on_watch(Stream& stream, uint8_t lane, int32_t result) {
    if (result < 0 || (result & POLLERR) != 0) return end(stream, Move::source_failed, lane);
    // A FIN is what ended the lane, or will be read in its time; a hang-up without error means that this side's other
    // direction has ended too, which the other lane is about to find out.
    const uint8_t writer = other(lane);
    if ((stream.sink_lanes & writer) == 0) return;
    if ((result & (POLLOUT | POLLHUP)) == 0) {
        if ((stream.watch_armed & lane) == 0) table_.arm_watch(stream, lane);
        return;
    }
    stream.sink_lanes = static_cast<uint8_t>(stream.sink_lanes & ~writer);
    run(stream, writer);
}

bool Relaying::run_ready() {
    // Only those that were waiting at the start: who yields again comes after everyone else's completions.
    Stream* const last = [&] {
        Stream* item = table_.ready.front();
        while (item != nullptr && List<Stream, &Stream::ready_hook>::next(*item) != nullptr)
            item = List<Stream, &Stream::ready_hook>::next(*item);
        return item;
    }();
    while (Stream* stream = table_.ready.pop_front()) {
        const uint8_t lanes = stream->ready_lanes;
        stream->ready_lanes = 0;
        if ((lanes & kSealLane) != 0) run_seal(*stream);
        if ((lanes & kOpenLane) != 0 && stream->phase == Phase::relaying) run_open(*stream);
        if (stream == last) break;
    }
    // A record's worth of chunks has to be there, or the first waiter would only wait again. Not more: readers that
    // stand still may hold nearly the whole pool, and the others go on with what is left.
    while (!table_.memory.empty() && services_.chunks.available() >= kChunksPerRecord) {
        Stream* stream = table_.memory.pop_front();
        const uint8_t lanes = stream->memory_lanes;
        stream->memory_lanes = 0;
        if ((lanes & kSealLane) != 0) run_seal(*stream);
        if ((lanes & kOpenLane) != 0 && stream->phase == Phase::relaying) run_open(*stream);
    }
    return !table_.ready.empty();
}

}  // namespace qanat::dataplane
