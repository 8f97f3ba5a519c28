#include "dataplane/stream/relaying.h"

#include "common/base/assert.h"
#include "dataplane/engine/socket.h"
#include "dataplane/relay/open_mover.h"
#include "dataplane/relay/seal_mover.h"

namespace qanat::dataplane {

void Relaying::start(Stream& stream, Bytes early_plain, Bytes early_records) {
    stream.phase = Phase::relaying;
    table_.deadline(stream, services_.now_ns + LaneWaits::kKeepAliveAfterNs);
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
        count_bytes(stream, early_plain.size(), 0);
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
    // Only who has delivered everything may offer the tunnel for what comes next.
    if (!stream.seal.ending) stream.seal.parks = stream.keep && stream.side == StreamSide::exit && stream.open.done;
    const uint64_t before = stream.seal.bytes;
    const Move move = seal_some(stream.seal, services_.mover(), stream.plain.get(), stream.tunnel.get());
    count_bytes(stream, stream.seal.bytes - before, 0);
    settle(stream, kSealLane, move);
}

void Relaying::run_open(Stream& stream) {
    const uint64_t before = stream.open.bytes;
    const Move move = open_some(stream.open, services_.mover(), stream.tunnel.get(), stream.plain.get());
    count_bytes(stream, 0, stream.open.bytes - before);
    settle(stream, kOpenLane, move);
}

void Relaying::count_bytes(const Stream& stream, uint64_t sealed, uint64_t opened) {
    const bool client = stream.side == StreamSide::client;
    ring::add(services_.counters.bytes_up, client ? sealed : opened);
    ring::add(services_.counters.bytes_down, client ? opened : sealed);
    if (stream.at_node) services_.node_stats.add_bytes(stream.node, sealed, opened);
}

void Relaying::settle(Stream& stream, uint8_t lane, Move move) {
    if (waits_.wait(stream, lane, move)) return;
    move == Move::finished ? on_finished(stream, lane) : end(stream, move, lane);
}

void Relaying::on_finished(Stream& stream, uint8_t lane) {
    const bool parked = stream.seal.parks || stream.open.parks;
    if (stream.seal.done && stream.open.done) {
        if (stream.keep && parked) tunnel_free_(stream);
        return table_.finish(stream, ring::EndReason::completed, PlainEnd::close);
    }
    // A tunnel cannot be free while this side still uses it.
    if (parked) return end(stream, Move::bad_record, lane);
    const bool client = stream.side == StreamSide::client;
    if (lane == kOpenLane) {
        stream.keep = stream.keep && !client;  // the node has ended first, and does not park
        end_writing(stream.plain.get());
    } else {
        stream.keep = stream.keep && client;
        // What a client has to say is said; the node's end tells whether the tunnel can serve another stream.
        if (!stream.keep) end_writing(stream.tunnel.get());
    }
    table_.deadline(stream, services_.now_ns + LaneWaits::kWatchAfterNs);
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
    const auto reads = [](const Lane& lane) { return !lane.done && lane.backlog.empty(); };
    waits_.watch(stream, kSealLane, reads(stream.seal));
    waits_.watch(stream, kOpenLane, reads(stream.open));
}

void Relaying::on_ready(Stream& stream, uint8_t lane, int32_t result) {
    if (waits_.ready(stream, lane, result)) run(stream, lane);
}

void Relaying::on_watch(Stream& stream, uint8_t lane, int32_t result) {
    switch (waits_.watched(stream, lane, result)) {
        case LaneWaits::Watched::nothing:
            return;
        case LaneWaits::Watched::source_failed:
            return end(stream, Move::source_failed, lane);
        case LaneWaits::Watched::sink_ready:
            return run(stream, other_lane(lane));
    }
}

}  // namespace qanat::dataplane
