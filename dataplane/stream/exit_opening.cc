#include "dataplane/stream/exit_opening.h"

#include <poll.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "common/base/assert.h"
#include "common/crypto/random.h"
#include "common/wire/stream_messages.h"
#include "dataplane/engine/socket.h"
#include "dataplane/stream/ring_endpoint.h"

namespace qanat::dataplane {
namespace {

using wire::StreamStatus;

constexpr uint64_t kNsPerMs = 1'000'000;
// A RESPONSE that takes longer than this is announced by its preamble, so that the client knows that the node lives
// and that the target is what it waits for.
constexpr uint64_t kPreambleAfterNs = 250 * kNsPerMs;
constexpr uint64_t kParkedTimeoutNs = 600'000 * kNsPerMs;
constexpr uint8_t kHandshakeFirstByte = 0x01;

constexpr std::array<uint8_t, 5> kStreamFirstBytes{0x17, 0x03, 0x03, 0x00, 0x30};

// True while `flight` can still become what it must begin with.
bool plausible_start(Bytes flight) {
    if (flight[0] == kHandshakeFirstByte) return true;
    const size_t known = std::min(flight.size(), kStreamFirstBytes.size());
    return std::memcmp(flight.data(), kStreamFirstBytes.data(), known) == 0;
}

ring::EndReason reason_for(StreamStatus status) {
    switch (status) {
        case StreamStatus::denied: return ring::EndReason::policy_denied;
        case StreamStatus::name_not_found:
        case StreamStatus::name_unresolved: return ring::EndReason::resolve_failed;
        case StreamStatus::timed_out: return ring::EndReason::connect_timeout;
        case StreamStatus::at_capacity: return ring::EndReason::at_capacity;
        default: return ring::EndReason::connect_failed;
    }
}

StreamStatus status_for(wire::MessageError error) {
    switch (error) {
        case wire::MessageError::unknown_kind: return StreamStatus::kind_not_supported;
        case wire::MessageError::unknown_address_type: return StreamStatus::address_type_not_supported;
        default: return StreamStatus::general_failure;
    }
}

bool out_of_resources(int error) { return error == EMFILE || error == ENFILE || error == ENOMEM || error == ENOBUFS; }

}  // namespace

ExitOpening::ExitOpening(EngineServices& services, StreamTable& table, Relaying& relaying, Discarding& discarding,
                         uint64_t unauthenticated_timeout_ns, ControlHandOver hand_over)
    : services_(services),
      table_(table),
      relaying_(relaying),
      discarding_(discarding),
      unauthenticated_timeout_ns_(unauthenticated_timeout_ns),
      hand_over_(std::move(hand_over)) {}

void ExitOpening::on_accept(UniqueFd fd) {
    // The oldest goes, not the newest: a member proves itself within a round trip, so what is old here is most likely
    // somebody who only wants to fill the table.
    if (services_.counters.unauthenticated_active.load(std::memory_order_relaxed) >= services_.limits.unauthenticated)
        table_.finish(*table_.unauthenticated.front(), ring::EndReason::unauthenticated, PlainEnd::close);
    Stream* stream = table_.acquire(StreamSide::exit, Phase::first_flight);
    if (stream == nullptr) return ring::add(services_.counters.connections_refused);
    stream->tunnel = std::move(fd);
    stream->counted_unauthenticated = true;
    table_.unauthenticated.push_back(*stream);
    ring::add(services_.counters.unauthenticated_active);
    table_.deadline(*stream, services_.now_ns + unauthenticated_timeout_ns_);
    read_first_flight(*stream);  // it is there in most cases
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
    if (read.status != IoStatus::ok)
        return table_.finish(stream, ring::EndReason::unauthenticated, PlainEnd::close);
    opening.flight_size += static_cast<uint32_t>(read.count);

    const MutableBytes flight = MutableBytes(opening.flight).first(opening.flight_size);
    if (!plausible_start(flight)) return discarding_.silence(stream);
    if (flight[0] == kHandshakeFirstByte) {
        if (flight.size() < ring::kHandshakeSize) return table_.arm_open(stream, stream.tunnel.get(), POLLIN);
        // Nothing may follow MSG1 before MSG2.
        if (flight.size() > ring::kHandshakeSize) return discarding_.silence(stream);
        const bool taken = hand_over_(std::move(stream.tunnel), flight, stream.timer.deadline_ns);
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
    const auto record = wire::open_record(services_.keys.context(stream.open.key, stream.open.key_tag),
                                          stream.open.key, records.first(*size));
    if (!record) return discarding_.silence(stream);
    // Only now, after authentication: otherwise an outsider could use up a member's numbers. And before anything is
    // done: otherwise two copies could race.
    if (!session->window.test_and_set(preamble->stream_no)) return discarding_.silence(stream);

    leave_unauthenticated(stream);
    table_.count(stream);
    opening.over_capacity = table_.over_capacity();
    opening.session_id = session->id;
    if (!session->confirmed.exchange(true, std::memory_order_relaxed))
        services_.report(ring::SessionConfirmed{.session_id = session->id});
    if (record->type != wire::ContentType::control)
        return table_.finish(stream, ring::EndReason::protocol_error, PlainEnd::close);
    on_request(stream, record->content, wire::kClientPreambleSize + *size);
}

void ExitOpening::read_parked(Stream& stream) {
    Opening& opening = *stream.opening;
    const IoResult read = read_some(stream.tunnel.get(), MutableBytes(opening.flight).subspan(opening.flight_size));
    if (read.status == IoStatus::again) return table_.arm_open(stream, stream.tunnel.get(), POLLIN);
    if (read.status != IoStatus::ok)
        return table_.finish(stream, ring::EndReason::parked_expired, PlainEnd::close);
    opening.flight_size += static_cast<uint32_t>(read.count);
    digest_parked(stream);
}

void ExitOpening::digest_parked(Stream& stream) {
    Opening& opening = *stream.opening;
    const auto wait = [&] { table_.arm_open(stream, stream.tunnel.get(), POLLIN); };
    const MutableBytes flight = MutableBytes(opening.flight).first(opening.flight_size);
    if (flight.size() < wire::kRecordHeaderSize) return wait();
    const auto size = wire::record_size(flight);
    if (!size || *size > kFlightMax) return table_.finish(stream, ring::EndReason::protocol_error, PlainEnd::close);
    if (flight.size() < *size) return wait();
    const auto record = wire::open_record(services_.keys.context(stream.open.key, stream.open.key_tag),
                                          stream.open.key, flight.first(*size));
    if (!record) return table_.finish(stream, ring::EndReason::protocol_error, PlainEnd::close);
    if (record->type == wire::ContentType::alert)  // the client does not need it any more
        return table_.finish(stream, ring::EndReason::parked_expired, PlainEnd::close);
    if (record->type != wire::ContentType::control)
        return table_.finish(stream, ring::EndReason::protocol_error, PlainEnd::close);
    on_request(stream, record->content, *size);
}

void ExitOpening::end_parked() {
    table_.for_each([&](Stream& stream) {
        if (stream.phase == Phase::parked) table_.finish(stream, ring::EndReason::parked_expired, PlainEnd::close);
    });
}

void ExitOpening::on_request(Stream& stream, Bytes content, size_t consumed) {
    Opening& opening = *stream.opening;
    const auto request = wire::decode_request(content);
    // What follows the request are early records: they wait in front of the buffer until the relay begins.
    opening.flight_size -= static_cast<uint32_t>(consumed);
    std::memmove(opening.flight.data(), opening.flight.data() + consumed, opening.flight_size);
    if (!request)
        return refuse(stream, status_for(request.error()), ring::EndReason::protocol_error,
                      wire::Reason("malformed request"));
    opening.preamble_due_ns = services_.now_ns + kPreambleAfterNs;
    switch (request->kind) {
        case wire::RequestKind::park:
            if (opening.was_parked)
                return refuse(stream, StreamStatus::kind_not_supported, ring::EndReason::protocol_error,
                              wire::Reason("parked already"));
            if (services_.draining || opening.over_capacity) break;
            opening.was_parked = true;
            stream.phase = Phase::parked;
            if (!respond(stream, {.status = StreamStatus::parked, .bound = {}, .reason = {}}))
                return table_.finish(stream, ring::EndReason::tunnel_reset, PlainEnd::close);
            table_.deadline(stream, services_.now_ns + kParkedTimeoutNs);
            return digest_parked(stream);  // its REQUEST may have come with the PARK
        case wire::RequestKind::connect: break;
        case wire::RequestKind::forward:
        case wire::RequestKind::udp:
            return refuse(stream, StreamStatus::kind_not_supported, ring::EndReason::exit_refused,
                          wire::Reason("this kind of stream is not supported"));
    }
    stream.target = request->target;
    if (opening.over_capacity)
        return refuse(stream, StreamStatus::at_capacity, ring::EndReason::at_capacity,
                      wire::Reason("the node is at its limit of streams"));
    if (services_.draining)
        return refuse(stream, StreamStatus::draining, ring::EndReason::drained, wire::Reason("the node is leaving"));
    if (stream.target.is_name()) return resolve(stream);
    const wire::Endpoint endpoint = stream.target.endpoint();
    dial(stream, std::span(&endpoint, 1));
}

void ExitOpening::resolve(Stream& stream) {
    const std::string_view name = stream.target.name();
    ring::Resolve question{};
    question.query = table_.handle(stream);
    question.size = static_cast<uint8_t>(name.size());
    std::memcpy(question.name.data(), name.data(), name.size());
    if (!services_.report(question))
        return refuse(stream, StreamStatus::at_capacity, ring::EndReason::at_capacity,
                      wire::Reason("too many names are being resolved"));
    stream.phase = Phase::resolving;
    stream.opening->resolve_by_ns = services_.now_ns + services_.limits.resolve_timeout_ms * kNsPerMs;
    arm_opening_deadline(stream);
}

void ExitOpening::on_resolved(const ring::ResolveResult& result) {
    Stream* stream = table_.find(result.query);
    if (stream == nullptr || stream->phase != Phase::resolving) return;  // it has given up meanwhile
    using ring::ResolveStatus;
    switch (result.status) {
        case ResolveStatus::ok: break;
        case ResolveStatus::not_found:
            return refuse(*stream, StreamStatus::name_not_found, ring::EndReason::resolve_failed,
                          wire::Reason("the name does not exist"));
        case ResolveStatus::overloaded:
            return refuse(*stream, StreamStatus::at_capacity, ring::EndReason::at_capacity,
                          wire::Reason("too many names are being resolved"));
        case ResolveStatus::failed:
        case ResolveStatus::timed_out:
            return refuse(*stream, StreamStatus::name_unresolved, ring::EndReason::resolve_failed,
                          wire::Reason("the name could not be resolved"));
    }
    std::array<wire::Endpoint, ring::kResolvedMax> candidates;
    for (size_t i = 0; i < result.count; ++i)
        candidates[i] = {.ip = ip_from_ring(result.addresses[i]), .port = stream->target.port()};
    dial(*stream, std::span(candidates).first(result.count));
}

void ExitOpening::dial(Stream& stream, std::span<const wire::Endpoint> candidates) {
    std::array<wire::Endpoint, Dialer::kAddressesMax> allowed;
    size_t count = 0;
    const ring::PolicyRule* denied_by = nullptr;
    for (const wire::Endpoint& candidate : candidates) {
        const ExitPolicy::Verdict verdict = services_.policy.check(candidate.ip);
        if (verdict.allowed && count < allowed.size()) allowed[count++] = candidate;
        if (!verdict.allowed && denied_by == nullptr) denied_by = verdict.rule;
    }
    if (count == 0)
        return refuse(stream, StreamStatus::denied, ring::EndReason::policy_denied, describe(denied_by));
    stream.phase = Phase::dialing;
    stream.opening->dialer = Dialer(services_.limits.connect_timeout_ms * kNsPerMs);
    stream.opening->dialer.start(std::span(allowed).first(count), services_.now_ns);
    advance_dial(stream);
}

void ExitOpening::advance_dial(Stream& stream) {
    Opening& opening = *stream.opening;
    while (true) {
        const Dialer::Action action = opening.dialer.next(services_.now_ns);
        if (action.kind == Dialer::Action::none) return arm_opening_deadline(stream);
        if (action.kind == Dialer::Action::give_up)
            return refuse(stream, opening.dialer.outcome(), reason_for(opening.dialer.outcome()), wire::Reason());
        Connecting connecting = start_connect(action.to);
        if (out_of_resources(connecting.error))
            return refuse(stream, StreamStatus::at_capacity, ring::EndReason::at_capacity,
                          wire::Reason("the node is out of descriptors"));
        if (connecting.error != 0) {
            opening.dialer.on_failed(action.attempt_slot, connecting.error);
            continue;
        }
        opening.attempts[action.attempt_slot] = std::move(connecting.fd);
        if (connecting.established) return connected(stream, action.attempt_slot);
        opening.attempt_lane[action.attempt_slot] = opening.next_lane++;
        table_.arm_dial(stream, action.attempt_slot);
    }
}

void ExitOpening::on_dial_ready(Stream& stream, uint8_t lane) {
    Opening& opening = *stream.opening;
    size_t slot = 0;
    while (slot < Dialer::kAttemptsMax && !((stream.dial_armed >> slot & 1) != 0 && opening.attempt_lane[slot] == lane))
        ++slot;
    if (slot == Dialer::kAttemptsMax) return;  // of an attempt that was given up
    stream.dial_armed = static_cast<uint8_t>(stream.dial_armed & ~(1U << slot));
    if (const int error = connect_error(opening.attempts[slot].get()); error != 0) {
        opening.attempts[slot].reset();
        opening.dialer.on_failed(slot, error);
        return advance_dial(stream);
    }
    connected(stream, slot);
}

void ExitOpening::connected(Stream& stream, size_t slot) {
    Opening& opening = *stream.opening;
    stream.plain = std::move(opening.attempts[slot]);
    reset_on_close(stream.plain.get());
    const wire::Response response{
        .status = StreamStatus::ok, .bound = local_endpoint(stream.plain.get()), .reason = {}};
    if (!respond(stream, response)) return table_.finish(stream, ring::EndReason::tunnel_reset, PlainEnd::reset);
    relaying_.start(stream, {}, Bytes(opening.flight).first(opening.flight_size));
}

void ExitOpening::arm_opening_deadline(Stream& stream) {
    const Opening& opening = *stream.opening;
    uint64_t at = stream.phase == Phase::resolving ? opening.resolve_by_ns : opening.dialer.next_deadline_ns();
    if (!opening.preamble_sent) at = std::min(at, opening.preamble_due_ns);
    table_.deadline(stream, at);
}

void ExitOpening::on_timer(Stream& stream) {
    if (stream.phase == Phase::first_flight)
        return table_.finish(stream, ring::EndReason::unauthenticated, PlainEnd::close);
    if (stream.phase == Phase::parked)
        return table_.finish(stream, ring::EndReason::parked_expired, PlainEnd::close);
    if (stream.phase == Phase::resolving && services_.now_ns >= stream.opening->resolve_by_ns)
        return refuse(stream, StreamStatus::name_unresolved, ring::EndReason::resolve_failed,
                      wire::Reason("the name could not be resolved in time"));
    if (!stream.opening->preamble_sent && services_.now_ns >= stream.opening->preamble_due_ns) {
        send_preamble(stream);
        table_.arm_watch(stream, kOpenLane);  // the client may give up now
    }
    if (stream.phase == Phase::dialing) return advance_dial(stream);
    arm_opening_deadline(stream);
}

void ExitOpening::on_watch(Stream& stream, int32_t result) {
    // Early records before the FIN are a request that was sent whole; without any, the client has left.
    const bool closed = (result & (POLLRDHUP | POLLHUP)) != 0 && stream.opening->flight_size == 0 &&
                        ended_and_empty(stream.tunnel.get());
    if (result >= 0 && (result & POLLERR) == 0 && !closed) return;
    table_.finish(stream, ring::EndReason::tunnel_reset, PlainEnd::reset);
}

void ExitOpening::make_preamble(Stream& stream, std::span<uint8_t, wire::kNodePreambleSize> out) {
    wire::Random server_random;
    crypto::random_bytes(server_random);
    wire::encode_node_preamble(out, server_random);
    stream.seal.key = stream.opening->schedule->node_to_client(server_random);
    stream.seal.key_tag = services_.next_key_tag++;
    stream.opening->preamble_sent = true;
}

void ExitOpening::send_preamble(Stream& stream) {
    std::array<uint8_t, wire::kNodePreambleSize> preamble;
    make_preamble(stream, preamble);
    // 37 bytes into an empty send buffer; if the connection is gone, the RESPONSE will tell.
    (void)write_some(stream.tunnel.get(), preamble);
}

bool ExitOpening::respond(Stream& stream, const wire::Response& response) {
    std::array<uint8_t, 2 * wire::kResponseFlightMultiple> flight;
    size_t begin = 0;
    if (!stream.opening->preamble_sent) {
        make_preamble(stream, std::span(flight).first<wire::kNodePreambleSize>());
        begin = wire::kNodePreambleSize;
    }
    // The first record shares its multiple with the preamble, also when that went ahead alone.
    const size_t preamble_size = stream.seal.key.sequence == 0 ? wire::kNodePreambleSize : 0;
    std::array<uint8_t, wire::kResponseSizeMax> content;
    const size_t content_size = wire::encode_response(content, response);
    const size_t padding = wire::padding_for(preamble_size, content_size, wire::kResponseFlightMultiple);
    const size_t size = begin + wire::seal_record_copy(services_.keys.context(stream.seal.key, stream.seal.key_tag),
                                                       stream.seal.key, MutableBytes(flight).subspan(begin),
                                                       Bytes(content).first(content_size), wire::ContentType::control,
                                                       padding);
    const IoResult written = write_some(stream.tunnel.get(), Bytes(flight).first(size));
    return written.status == IoStatus::ok && written.count == size;
}

void ExitOpening::refuse(Stream& stream, StreamStatus status, ring::EndReason reason, wire::Reason why) {
    stream.status = static_cast<uint8_t>(status);
    if (respond(stream, {.status = status, .bound = {}, .reason = why})) {
        std::array<uint8_t, wire::kRecordOverhead + 2> close;
        const size_t size = wire::seal_record_copy(services_.keys.context(stream.seal.key, stream.seal.key_tag),
                                                   stream.seal.key, close, wire::kCloseNotify, wire::ContentType::alert);
        (void)write_some(stream.tunnel.get(), Bytes(close).first(size));
    }
    discarding_.linger_tunnel(stream, reason);
}

}  // namespace qanat::dataplane
