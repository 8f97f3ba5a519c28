#include "dataplane/stream/stream_table.h"

#include <poll.h>

#include <algorithm>
#include <cstring>
#include <new>

#include "common/base/assert.h"
#include "dataplane/engine/socket.h"

namespace qanat::dataplane {

StreamTable::StreamTable(EngineServices& services)
    : services_(services), streams_(slots(services.limits)), openings_(streams_.capacity()) {}

Stream* StreamTable::acquire(StreamSide side, Phase phase) {
    Stream* stream = acquire_waiting(side, phase);
    if (stream != nullptr) borrow_opening(*stream);
    return stream;
}

Stream* StreamTable::acquire_waiting(StreamSide side, Phase phase) {
    if (counted_ >= services_.limits.streams + kRefusalSlots) return nullptr;
    Stream* stream = streams_.acquire();
    if (stream == nullptr) return nullptr;
    stream->side = side;
    stream->phase = phase;
    stream->accepted_ns = services_.now_ns;
    stream->timer.own(Timer::Kind::stream, stream);
    return stream;
}

void StreamTable::count(Stream& stream) {
    count_moved(stream);
    ring::add(services_.counters.streams_total);
}

void StreamTable::count_moved(Stream& stream) {
    stream.counted = true;
    ++counted_;
    ring::add(services_.counters.streams_active);
}

void StreamTable::park(Stream& stream) {
    parked_.push_back(stream);
    ++parked_count_;
}

void StreamTable::unpark(Stream& stream) {
    if (!parked_.linked(stream)) return;
    parked_.remove(stream);
    --parked_count_;
}

uint64_t StreamTable::handle(const Stream& stream) const {
    return uint64_t{streams_.generation_of(&stream)} << 32 | streams_.index_of(&stream);
}

Stream* StreamTable::find(uint64_t handle) {
    if (handle >> 48 != 0) return nullptr;
    return streams_.find(static_cast<uint32_t>(handle), static_cast<uint16_t>(handle >> 32));
}

Token StreamTable::token(const Stream& stream, OpKind kind, uint8_t lane) const {
    return {
        .kind = kind, .lane = lane, .generation = streams_.generation_of(&stream), .slot = streams_.index_of(&stream)};
}

void StreamTable::arm_seal(Stream& stream, int fd, uint32_t events) {
    QANAT_ASSERT(!stream.seal_armed);
    stream.seal_armed = true;
    ++stream.in_flight;
    services_.io.poll(fd, events, token(stream, OpKind::seal, stream.tunnel_try));
}

void StreamTable::arm_open(Stream& stream, int fd, uint32_t events) {
    QANAT_ASSERT(!stream.open_armed);
    stream.open_armed = true;
    ++stream.in_flight;
    services_.io.poll(fd, events, token(stream, OpKind::open, stream.tunnel_try));
}

void StreamTable::watch(Stream& stream, uint8_t lane) {
    if ((stream.watch_armed & lane) != 0) return;
    stream.watch_armed = static_cast<uint8_t>(stream.watch_armed | lane);
    ++stream.in_flight;
    const int source = lane == kSealLane ? stream.plain.get() : stream.tunnel.get();
    services_.io.watch(source, token(stream, OpKind::watch, lane));
}

void StreamTable::arm_dial(Stream& stream, size_t slot) {
    stream.dial_armed = static_cast<uint8_t>(stream.dial_armed | 1U << slot);
    ++stream.in_flight;
    services_.io.poll(stream.opening->attempts[slot].get(), POLLOUT,
                      token(stream, OpKind::dial, stream.opening->attempt_lane[slot]));
}

bool StreamTable::take(Stream& stream, const Completion& completion) {
    QANAT_ASSERT(stream.in_flight > 0);
    if (!completion.more) --stream.in_flight;
    if (stream.phase == Phase::closing) return false;
    switch (completion.token.kind) {
        case OpKind::seal:
            if (completion.token.lane != stream.tunnel_try) return false;
            stream.seal_armed = false;
            return true;
        case OpKind::open:
            if (completion.token.lane != stream.tunnel_try) return false;
            stream.open_armed = false;
            return true;
        case OpKind::watch:
            if (!completion.more)
                stream.watch_armed = static_cast<uint8_t>(stream.watch_armed & ~completion.token.lane);
            return true;
        case OpKind::dial:
            return stream.phase == Phase::dialing;
        default:
            return false;
    }
}

void StreamTable::cancel(Stream& stream, OpKind kind, uint8_t lane) {
    services_.io.cancel(token(stream, kind, lane));
}

void StreamTable::enter_node(Stream& stream, uint32_t node) {
    leave_node(stream);
    stream.node = node;
    stream.at_node = true;
    services_.node_stats.enter(node);
}

void StreamTable::leave_node(Stream& stream) {
    if (!stream.at_node) return;
    stream.at_node = false;
    services_.node_stats.leave(stream.node);
}

void StreamTable::abandon_tunnel(Stream& stream) {
    leave_node(stream);
    if (stream.open_armed) cancel(stream, OpKind::open, stream.tunnel_try);
    if (stream.seal_armed) cancel(stream, OpKind::seal, stream.tunnel_try);
    stream.open_armed = stream.seal_armed = false;
    ++stream.tunnel_try;
    stream.tunnel.reset();
    stream.seal.release(services_.chunks, services_.keys);
    stream.open.release(services_.chunks, services_.keys);
    stream.seal = Lane{};
    stream.open = Lane{};
}

void StreamTable::abandon_attempt(Stream& stream, size_t slot) {
    if ((stream.dial_armed >> slot & 1) != 0) cancel(stream, OpKind::dial, stream.opening->attempt_lane[slot]);
    stream.dial_armed = static_cast<uint8_t>(stream.dial_armed & ~(1U << slot));
    stream.opening->attempts[slot].reset();
}

void StreamTable::borrow_opening(Stream& stream) {
    stream.opening = openings_.acquire();
    QANAT_ASSERT(stream.opening != nullptr);  // as many as streams
}

void StreamTable::release_opening(Stream& stream) {
    if (stream.opening == nullptr) return;
    for (size_t slot = 0; slot < Dialer::kAttemptsMax; ++slot) abandon_attempt(stream, slot);
    openings_.release(stream.opening);
    stream.opening = nullptr;
}

void StreamTable::abandon_plain(Stream& stream) {
    if (stream.seal_armed) cancel(stream, OpKind::seal, stream.tunnel_try);
    stream.seal_armed = false;
    ++stream.tunnel_try;
    stream.plain.reset();
}

void StreamTable::leave_member(Stream& stream) {
    if (stream.member == nullptr) return;
    RelayMembers& members = *services_.relay.members;
    if (stream.phase == Phase::offered) {
        ring::subtract(services_.counters.relay_offered);
        members.end_offer(*stream.member, engine_stream(stream), services_.now_ns);
    } else {
        if (stream.opening != nullptr && stream.opening->in_queue)
            members.stop_waiting(stream.opening->next.id, engine_stream(stream));
        members.end_stream(*stream.member);
    }
    stream.member = nullptr;
}

void StreamTable::begin_splicing(Stream& stream) {
    stream.seal.release(services_.chunks, services_.keys);
    stream.open.release(services_.chunks, services_.keys);
    for (RelayLane* lane : {new (&stream.answer) RelayLane, new (&stream.ask) RelayLane})
        lane->throttle.own(Timer::Kind::throttle, &stream);
    stream.phase = Phase::splicing;
}

void StreamTable::release_splicing(Stream& stream) {
    for (RelayLane* lane : {&stream.answer, &stream.ask}) {
        services_.timers.disarm(lane->throttle);
        stream.member->held[services_.relay.engine].subtract(lane->lane.holds());
        lane->lane.release(services_.pipes, services_.chunks);
    }
}

void StreamTable::finish(Stream& stream, ring::EndReason reason, PlainEnd how) {
    if (stream.phase == Phase::closing) return;
    QANAT_ASSERT(stream.kept_in == nullptr);  // its group would still list it
    if (stream.reason == ring::EndReason::none) stream.reason = reason;
    if (stream.seal_armed) cancel(stream, OpKind::seal, stream.tunnel_try);
    if (stream.open_armed) cancel(stream, OpKind::open, stream.tunnel_try);
    for (const uint8_t lane : {kSealLane, kOpenLane})
        if ((stream.watch_armed & lane) != 0) cancel(stream, OpKind::watch, lane);
    const bool spliced = stream.phase == Phase::splicing;
    if (spliced) release_splicing(stream);  // from a member that may be forgotten then
    leave_member(stream);
    release_opening(stream);
    leave_node(stream);
    services_.timers.disarm(stream.timer);
    if (stream.counted_unauthenticated) {
        unauthenticated.remove(stream);
        stream.counted_unauthenticated = false;
        ring::subtract(services_.counters.unauthenticated_active);
    } else if (stream.phase == Phase::parked) {
        unpark(stream);
    } else {
        opening.remove(stream);
    }
    stream.phase = Phase::closing;
    ready.remove(stream);
    memory.remove(stream);
    if (how == PlainEnd::close && stream.plain) finish_on_close(stream.plain.get());
    if (spliced) {
        ring::subtract(services_.counters.relay_streams);
        report_end(stream, stream.ask.lane.bytes, stream.answer.lane.bytes);
    } else {
        const bool client = stream.side == StreamSide::client;
        report_end(stream, client ? stream.seal.bytes : stream.open.bytes,
                   client ? stream.open.bytes : stream.seal.bytes);
        stream.seal.release(services_.chunks, services_.keys);
        stream.open.release(services_.chunks, services_.keys);
    }
    finished_.push_back(stream);
}

void StreamTable::finish_all(ring::EndReason reason) {
    streams_.for_each([&](Stream& stream) { finish(stream, reason, PlainEnd::reset); });
}

void StreamTable::report_end(const Stream& stream, uint64_t up, uint64_t down) {
    if (stream.reason == ring::EndReason::none) return;
    ring::EngineCounters& counters = services_.counters;
    ring::add(counters.ended[static_cast<size_t>(stream.reason)]);
    if (!services_.stream_events || !stream.counted) return;
    ring::StreamEnded event{};
    event.bytes_up = up;
    event.bytes_down = down;
    event.duration_us = (services_.now_ns - stream.accepted_ns) / 1000;
    event.node = stream.node;
    event.reason = static_cast<uint8_t>(stream.reason);
    event.status = stream.status;
    event.port = stream.target.port();
    const std::string name =
        stream.target.is_name() ? std::string(stream.target.name()) : stream.target.endpoint().ip.format();
    event.target_size = static_cast<uint8_t>(std::min<size_t>(name.size(), event.target.size()));
    std::memcpy(event.target.data(), name.data(), event.target_size);
    services_.report(event);
}

bool StreamTable::sweep() {
    bool released = false;
    Stream* next = nullptr;
    for (Stream* stream = finished_.front(); stream != nullptr; stream = next) {
        next = List<Stream, &Stream::sweep_hook>::next(*stream);
        stream->plain.reset();
        stream->tunnel.reset();
        if (stream->in_flight > 0) continue;
        finished_.remove(*stream);
        if (stream->counted) {
            --counted_;
            ring::subtract(services_.counters.streams_active);
        }
        streams_.release(stream);
        released = true;
    }
    return released;
}

}  // namespace qanat::dataplane
