#include "dataplane/stream/exit_opening.h"

#include <poll.h>

#include <algorithm>
#include <cstring>

#include "common/wire/stream_messages.h"
#include "dataplane/engine/socket.h"
#include "dataplane/engine/timers.h"
#include "dataplane/stream/ring_endpoint.h"

namespace qanat::dataplane {
namespace {

using wire::StreamStatus;

constexpr uint64_t kParkedTimeoutNs = 600'000 * kNsPerMs;
constexpr uint8_t kHandshakeFirstByte = 0x01;

constexpr std::array<uint8_t, 5> kStreamFirstBytes{0x17, 0x03, 0x03, 0x00, 0x30};

// True while `flight` can still become what it must begin with.
bool plausible_start(Bytes flight) {
    if (flight[0] == kHandshakeFirstByte) return true;
    const size_t known = std::min(flight.size(), kStreamFirstBytes.size());
    return std::memcmp(flight.data(), kStreamFirstBytes.data(), known) == 0;
}

StreamStatus status_for(wire::MessageError error) {
    switch (error) {
        case wire::MessageError::unknown_kind:
            return StreamStatus::kind_not_supported;
        case wire::MessageError::unknown_address_type:
            return StreamStatus::address_type_not_supported;
        default:
            return StreamStatus::general_failure;
    }
}

}  // namespace

ExitOpening::ExitOpening(EngineServices& services, StreamTable& table, Discarding& discarding, Responding& responding,
                         TargetDialing& dialing, Forwarding& forwarding, Offered& offered,
                         uint64_t unauthenticated_timeout_ns, ControlHandOver hand_over)
    : services_(services),
      table_(table),
      discarding_(discarding),
      responding_(responding),
      dialing_(dialing),
      forwarding_(forwarding),
      offered_(offered),
      unauthenticated_timeout_ns_(unauthenticated_timeout_ns),
      hand_over_(std::move(hand_over)) {}

void ExitOpening::on_accept(UniqueFd fd) {
    if (Stream* stream = begin(std::move(fd)); stream != nullptr) read_first_flight(*stream);  // it is there mostly
}

void ExitOpening::adopt(UniqueFd fd, const std::array<uint8_t, 16>& source, Bytes received) {
    Stream* stream = begin(std::move(fd));
    if (stream == nullptr) return;
    Opening& opening = *stream->opening;
    opening.source = source;
    std::memcpy(opening.flight.data(), received.data(), received.size());
    opening.flight_size = static_cast<uint32_t>(received.size());
    received.empty() ? read_first_flight(*stream) : digest_first_flight(*stream);
}

Stream* ExitOpening::begin(UniqueFd fd) {
    // The oldest goes, not the newest: a member proves itself within a round trip, so what is old here is most likely
    // somebody who only wants to fill the table.
    if (services_.counters.unauthenticated_active.load(std::memory_order_relaxed) >= services_.limits.unauthenticated)
        table_.finish(*table_.unauthenticated.front(), ring::EndReason::unauthenticated, PlainEnd::close);
    Stream* stream = table_.acquire(StreamSide::exit, Phase::first_flight);
    if (stream == nullptr) {
        ring::add(services_.counters.connections_refused);
        return nullptr;
    }
    stream->tunnel = std::move(fd);
    stream->counted_unauthenticated = true;
    table_.unauthenticated.push_back(*stream);
    ring::add(services_.counters.unauthenticated_active);
    table_.deadline(*stream, services_.now_ns + unauthenticated_timeout_ns_);
    return stream;
}

void ExitOpening::leave_unauthenticated(Stream& stream) {
    table_.unauthenticated.remove(stream);
    stream.counted_unauthenticated = false;
    ring::subtract(services_.counters.unauthenticated_active);
}

void ExitOpening::on_tunnel_ready(Stream& stream) {
    stream.phase == Phase::parked ? read_parked(stream) : read_first_flight(stream);
}

void ExitOpening::read_first_flight(Stream& stream) {
    Opening& opening = *stream.opening;
    const IoResult read = read_some(stream.tunnel.get(), MutableBytes(opening.flight).subspan(opening.flight_size));
    if (read.status == IoStatus::again) return table_.arm_open(stream, stream.tunnel.get(), POLLIN);
    if (read.status != IoStatus::ok) return table_.finish(stream, ring::EndReason::unauthenticated, PlainEnd::close);
    opening.flight_size += static_cast<uint32_t>(read.count);
    digest_first_flight(stream);
}

void ExitOpening::digest_first_flight(Stream& stream) {
    const Opening& opening = *stream.opening;
    const MutableBytes flight = MutableBytes(stream.opening->flight).first(opening.flight_size);
    if (!plausible_start(flight)) return discarding_.silence(stream);
    if (flight[0] == kHandshakeFirstByte) {
        if (flight.size() < ring::kHandshakeSize) return table_.arm_open(stream, stream.tunnel.get(), POLLIN);
        // Nothing may follow MSG1 before MSG2.
        if (flight.size() > ring::kHandshakeSize) return discarding_.silence(stream);
        const ring::RingEndpoint peer =
            opening.source ? ring::RingEndpoint{.ip = *opening.source, .port = 0, .family = 6, .zero = 0}
                           : endpoint_to_ring(peer_endpoint(stream.tunnel.get()));
        const bool taken = hand_over_(std::move(stream.tunnel), flight, stream.timer.deadline_ns, peer);
        // Handed over, it was no stream and is not counted as one.
        return table_.finish(stream, taken ? ring::EndReason::none : ring::EndReason::at_capacity, PlainEnd::close);
    }
    authenticate(stream, flight);
}

SharedSession* ExitOpening::find_session(uint64_t id) {
    if (SharedSession* session = services_.sessions.find(id); session != nullptr) return session;
    services_.drain_commands();  // its installation may wait in the ring
    return services_.sessions.find(id);
}

void ExitOpening::authenticate(Stream& stream, MutableBytes flight) {
    constexpr size_t kHeaderEnd = wire::kClientPreambleSize + wire::kRecordHeaderSize;
    const auto wait = [&] { table_.arm_open(stream, stream.tunnel.get(), POLLIN); };
    if (flight.size() < kHeaderEnd) return wait();
    const MutableBytes records = flight.subspan(wire::kClientPreambleSize);
    const auto size = wire::record_size(records);
    if (!size || *size > kFlightMax - wire::kClientPreambleSize) return discarding_.silence(stream);
    if (records.size() < *size) return wait();

    const auto preamble = wire::decode_client_preamble(flight.first<wire::kClientPreambleSize>(), services_.header_key);
    if (!preamble) return discarding_.silence(stream);
    SharedSession* session = find_session(preamble->session_id);
    if (stream.phase != Phase::first_flight) return;  // one of the commands that were applied has ended it
    if (session == nullptr || !session->window.check(preamble->stream_no)) return discarding_.silence(stream);
    Opening& opening = *stream.opening;
    opening.schedule.emplace(session->suite, session->data_secret.bytes(), session->id, preamble->stream_no,
                             preamble->client_random);
    stream.open.key = opening.schedule->client_to_node();
    stream.open.key_tag = services_.next_key_tag++;
    const auto record = wire::open_record(services_.keys.context(stream.open.key, stream.open.key_tag), stream.open.key,
                                          records.first(*size));
    if (!record) return discarding_.silence(stream);
    // Only now, after authentication: otherwise an outsider could use up a member's numbers. And before anything is
    // done: otherwise two copies could race.
    if (!session->window.test_and_set(preamble->stream_no)) return discarding_.silence(stream);

    leave_unauthenticated(stream);
    stream.session_id = session->id;
    opening.peer = session->peer;
    if (!session->confirmed.exchange(true, std::memory_order_relaxed))
        services_.report(ring::SessionConfirmed{.session_id = session->id});
    if (record->type != wire::ContentType::control)
        return table_.finish(stream, ring::EndReason::protocol_error, PlainEnd::close);
    on_request(stream, record->content, wire::kClientPreambleSize + *size);
}

void ExitOpening::admit(Stream& stream) {
    // One that may never be used makes room for one that is.
    if (!table_.has_room() && !table_.parked().empty())
        table_.finish(*table_.parked().front(), ring::EndReason::parked_expired, PlainEnd::close);
    table_.count(stream);
    stream.opening->over_capacity = table_.over_capacity();
}

void ExitOpening::wait_for_request(Stream& stream) {
    // While nothing has come, a parked connection costs its slot and no more.
    if (stream.opening->flight_size == 0) table_.release_opening(stream);
    table_.arm_open(stream, stream.tunnel.get(), POLLIN);
}

void ExitOpening::borrow_opening(Stream& stream) {
    table_.borrow_opening(stream);
    Opening& opening = *stream.opening;
    opening.was_parked = opening.preamble_sent = true;
    // It is there: parked connections end with their session.
    opening.peer = services_.sessions.find(stream.session_id)->peer;
}

void ExitOpening::read_parked(Stream& stream) {
    if (stream.opening == nullptr) borrow_opening(stream);
    Opening& opening = *stream.opening;
    const IoResult read = read_some(stream.tunnel.get(), MutableBytes(opening.flight).subspan(opening.flight_size));
    if (read.status == IoStatus::again) return wait_for_request(stream);
    if (read.status != IoStatus::ok) return table_.finish(stream, ring::EndReason::parked_expired, PlainEnd::close);
    opening.flight_size += static_cast<uint32_t>(read.count);
    digest_parked(stream);
}

void ExitOpening::digest_parked(Stream& stream) {
    Opening& opening = *stream.opening;
    const MutableBytes flight = MutableBytes(opening.flight).first(opening.flight_size);
    if (flight.size() < wire::kRecordHeaderSize) return wait_for_request(stream);
    const auto size = wire::record_size(flight);
    if (!size || *size > kFlightMax) return table_.finish(stream, ring::EndReason::protocol_error, PlainEnd::close);
    if (flight.size() < *size) return wait_for_request(stream);
    const auto record = wire::open_record(services_.keys.context(stream.open.key, stream.open.key_tag), stream.open.key,
                                          flight.first(*size));
    if (!record) return table_.finish(stream, ring::EndReason::protocol_error, PlainEnd::close);
    if (record->type == wire::ContentType::alert)  // the client does not need it any more
        return table_.finish(stream, ring::EndReason::parked_expired, PlainEnd::close);
    if (record->type != wire::ContentType::control)
        return table_.finish(stream, ring::EndReason::protocol_error, PlainEnd::close);
    table_.unpark(stream);
    on_request(stream, record->content, *size);
}

void ExitOpening::take_back(Stream& ended) {
    const bool wanted = !services_.draining && table_.has_room() && !worn(ended) &&
                        services_.sessions.find(ended.session_id) != nullptr;
    Stream* stream = wanted ? table_.acquire_waiting(StreamSide::exit, Phase::parked) : nullptr;
    if (stream == nullptr) return;
    stream->session_id = ended.session_id;
    stream->tunnel = std::move(ended.tunnel);
    table_.park(*stream);
    table_.deadline(*stream, services_.now_ns + kParkedTimeoutNs);
    stream->seal = ended.seal.pass_on();
    stream->open = ended.open.pass_on();
    table_.arm_open(*stream, stream->tunnel.get(), POLLIN);
}

void ExitOpening::end_parked() {
    while (Stream* stream = table_.parked().front())
        table_.finish(*stream, ring::EndReason::parked_expired, PlainEnd::close);
}

void ExitOpening::on_session_removed(uint64_t session_id) {
    Stream* next = nullptr;
    for (Stream* stream = table_.parked().front(); stream != nullptr; stream = next) {
        next = List<Stream, &Stream::phase_hook>::next(*stream);
        if (stream->session_id == session_id) table_.finish(*stream, ring::EndReason::parked_expired, PlainEnd::close);
    }
}

void ExitOpening::on_request(Stream& stream, Bytes content, size_t consumed) {
    Opening& opening = *stream.opening;
    const auto request = wire::decode_request(content);
    // What follows the request are early records: they wait in front of the buffer until the relay begins.
    opening.flight_size -= static_cast<uint32_t>(consumed);
    std::memmove(opening.flight.data(), opening.flight.data() + consumed, opening.flight_size);
    // A parked connection is no stream yet.
    if (!request || request->kind != wire::RequestKind::park || opening.was_parked) admit(stream);
    if (!request)
        return responding_.refuse(stream, status_for(request.error()), ring::EndReason::protocol_error,
                                  wire::Reason("malformed request"));
    act(stream, *request);
}

void ExitOpening::act(Stream& stream, const wire::Request& request) {
    using wire::RequestKind;
    Opening& opening = *stream.opening;
    const bool relayed = request.kind == RequestKind::forward || request.kind == RequestKind::offer;
    const auto refuse = [&](StreamStatus status, ring::EndReason reason, std::string_view why) {
        if (relayed) ring::add(services_.counters.relay_refused);
        responding_.refuse(stream, status, reason, wire::Reason(why));
    };
    if (request.kind == RequestKind::udp)
        return refuse(StreamStatus::kind_not_supported, ring::EndReason::exit_refused,
                      "this kind of stream is not supported");
    if (relayed && !services_.relaying)
        return refuse(StreamStatus::kind_not_supported, ring::EndReason::relay_refused, "this node does not relay");
    if (request.kind == RequestKind::park) {
        if (opening.was_parked)
            return refuse(StreamStatus::kind_not_supported, ring::EndReason::protocol_error, "parked already");
        return services_.draining || !table_.has_room() ? refuse_park(stream) : park(stream);
    }
    stream.target = request.target;
    stream.keep = request.keep;
    if (opening.over_capacity)
        return refuse(StreamStatus::at_capacity, ring::EndReason::at_capacity, "the node is at its limit of streams");
    if (services_.draining) return refuse(StreamStatus::draining, ring::EndReason::drained, "the node is leaving");
    switch (request.kind) {
        case RequestKind::observe:
            return observe(stream);
        case RequestKind::connect:
            return dialing_.start(stream);
        case RequestKind::forward:
            return forwarding_.start(stream, request.next);
        case RequestKind::offer:
            return offered_.accept(stream);
        case RequestKind::park:
        case RequestKind::udp:
            break;
    }
}

void ExitOpening::observe(Stream& stream) {
    // Through a relay of its own the member would learn that relay's address, which is of no use to it.
    if (stream.opening->source)
        return responding_.refuse(stream, StreamStatus::kind_not_supported, ring::EndReason::exit_refused,
                                  wire::Reason("this connection came through a relay"));
    responding_.conclude(stream,
                         {.status = StreamStatus::ok, .bound = peer_endpoint(stream.tunnel.get()), .reason = {}},
                         ring::EndReason::completed);
}

void ExitOpening::park(Stream& stream) {
    stream.opening->was_parked = true;
    stream.phase = Phase::parked;
    table_.park(stream);
    if (!responding_.respond(stream, {.status = StreamStatus::parked, .bound = {}, .reason = {}}))
        return table_.finish(stream, ring::EndReason::tunnel_reset, PlainEnd::close);
    table_.deadline(stream, services_.now_ns + kParkedTimeoutNs);
    digest_parked(stream);  // its REQUEST may have come with the PARK
}

void ExitOpening::refuse_park(Stream& stream) {
    if (services_.draining)
        responding_.refuse(stream, StreamStatus::draining, ring::EndReason::drained,
                           wire::Reason("the node is leaving"));
    else
        responding_.refuse(stream, StreamStatus::at_capacity, ring::EndReason::at_capacity,
                           wire::Reason("the node has no room for parked connections"));
    // Nothing comes behind a PARK, so that the answer needs no time; and it must not take a stream's place.
    table_.finish(stream, stream.reason, PlainEnd::close);
}

void ExitOpening::on_timer(Stream& stream) {
    table_.finish(stream,
                  stream.phase == Phase::parked ? ring::EndReason::parked_expired : ring::EndReason::unauthenticated,
                  PlainEnd::close);
}

}  // namespace qanat::dataplane
