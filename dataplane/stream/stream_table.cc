#include "dataplane/stream/stream_table.h"

#include <poll.h>

#include <algorithm>
#include <cstring>

#include "common/base/assert.h"
#include "dataplane/engine/socket.h"

namespace qanat::dataplane {

StreamTable::StreamTable(EngineServices& services)
    : services_(services),
      // Outsiders have slots of their own: however many they are, they take none from members.
      streams_(services.limits.streams + services.limits.unauthenticated + kRefusalSlots),
      openings_(streams_.capacity()) {}

Stream* StreamTable::acquire(StreamSide side, Phase phase) {
    if (counted_ >= services_.limits.streams + kRefusalSlots) return nullptr;
    Stream* stream = streams_.acquire();
    if (stream == nullptr) return nullptr;
    stream->opening = openings_.acquire();
    QANAT_ASSERT(stream->opening != nullptr);  // as many as streams
    stream->side = side;
    stream->phase = phase;
    stream->accepted_ns = services_.now_ns;
    stream->timer.own(Timer::Kind::stream, stream);
    return stream;
}

void StreamTable::count(Stream& stream) {
    stream.counted = true;
    ++counted_;
    ring::add(services_.counters.streams_active);
    ring::add(services_.counters.streams_total);
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

void StreamTable::arm_watch(Stream& stream, uint8_t lane) {
    QANAT_ASSERT((stream.watch_armed & lane) == 0);
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

void StreamTable::abandon_tunnel(Stream& stream) {
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

void StreamTable::release_opening(Stream& stream) {
    if (stream.opening == nullptr) return;
    for (size_t slot = 0; slot < Dialer::kAttemptsMax; ++slot) abandon_attempt(stream, slot);
    openings_.release(stream.opening);
    stream.opening = nullptr;
}

void StreamTable::finish(Stream& stream, ring::EndReason reason, PlainEnd how) {
    if (stream.phase == Phase::closing) return;
    if (stream.reason == ring::EndReason::none) stream.reason = reason;
    if (stream.seal_armed) cancel(stream, OpKind::seal, stream.tunnel_try);
    if (stream.open_armed) cancel(stream, OpKind::open, stream.tunnel_try);
    for (const uint8_t lane : {kSealLane, kOpenLane})
        if ((stream.watch_armed & lane) != 0) cancel(stream, OpKind::watch, lane);
    release_opening(stream);
    stream.phase = Phase::closing;
    services_.timers.disarm(stream.timer);
    if (stream.counted_unauthenticated) {
        unauthenticated.remove(stream);
        stream.counted_unauthenticated = false;
        ring::subtract(services_.counters.unauthenticated_active);
    } else {
        opening.remove(stream);
    }
    ready.remove(stream);
    memory.remove(stream);
    if (how == PlainEnd::close && stream.plain) finish_on_close(stream.plain.get());
    report_end(stream);
    stream.seal.release(services_.chunks, services_.keys);
    stream.open.release(services_.chunks, services_.keys);
    finished_.push_back(stream);
}

void StreamTable::finish_all(ring::EndReason reason) {
    streams_.for_each([&](Stream& stream) { finish(stream, reason, PlainEnd::reset); });
}

void StreamTable::report_end(const Stream& stream) {
    if (stream.reason == ring::EndReason::none) return;
    ring::EngineCounters& counters = services_.counters;
    const bool client = stream.side == StreamSide::client;
    const uint64_t up = client ? stream.seal.bytes : stream.open.bytes;
    const uint64_t down = client ? stream.open.bytes : stream.seal.bytes;
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
