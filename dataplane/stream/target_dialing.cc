#include "dataplane/stream/target_dialing.h"

#include <poll.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>

#include "common/crypto/random.h"
#include "dataplane/engine/socket.h"
#include "dataplane/stream/ring_endpoint.h"

namespace qanat::dataplane {
namespace {

using wire::StreamStatus;

constexpr uint64_t kNsPerMs = 1'000'000;
// A RESPONSE that takes longer than this is announced by its preamble, so that the client knows that the node lives
// and that the target is what it waits for.
constexpr uint64_t kPreambleAfterNs = 250 * kNsPerMs;

ring::EndReason reason_for(StreamStatus status) {
    switch (status) {
        case StreamStatus::denied:
            return ring::EndReason::policy_denied;
        case StreamStatus::name_not_found:
        case StreamStatus::name_unresolved:
            return ring::EndReason::resolve_failed;
        case StreamStatus::timed_out:
            return ring::EndReason::connect_timeout;
        case StreamStatus::at_capacity:
            return ring::EndReason::at_capacity;
        default:
            return ring::EndReason::connect_failed;
    }
}

bool out_of_resources(int error) {
    return error == EMFILE || error == ENFILE || error == ENOMEM || error == ENOBUFS;
}

}  // namespace

void TargetDialing::start(Stream& stream) {
    stream.opening->preamble_due_ns = services_.now_ns + kPreambleAfterNs;
    if (stream.target.is_name()) return resolve(stream);
    const wire::Endpoint endpoint = stream.target.endpoint();
    dial(stream, std::span(&endpoint, 1));
}

void TargetDialing::resolve(Stream& stream) {
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

void TargetDialing::on_resolved(const ring::ResolveResult& result) {
    Stream* stream = table_.find(result.query);
    if (stream == nullptr || stream->phase != Phase::resolving) return;  // it has given up meanwhile
    using ring::ResolveStatus;
    switch (result.status) {
        case ResolveStatus::ok:
            break;
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

void TargetDialing::dial(Stream& stream, std::span<const wire::Endpoint> candidates) {
    std::array<wire::Endpoint, Dialer::kAddressesMax> allowed;
    size_t count = 0;
    const ring::PolicyRule* denied_by = nullptr;
    for (const wire::Endpoint& candidate : candidates) {
        const ExitPolicy::Verdict verdict = services_.policy.check(candidate.ip);
        if (verdict.allowed && count < allowed.size()) allowed[count++] = candidate;
        if (!verdict.allowed && denied_by == nullptr) denied_by = verdict.rule;
    }
    if (count == 0) return refuse(stream, StreamStatus::denied, ring::EndReason::policy_denied, describe(denied_by));
    stream.phase = Phase::dialing;
    stream.opening->dialer = Dialer(services_.limits.connect_timeout_ms * kNsPerMs);
    stream.opening->dialer.start(std::span(allowed).first(count), services_.now_ns);
    advance_dial(stream);
}

void TargetDialing::advance_dial(Stream& stream) {
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

void TargetDialing::on_dial_ready(Stream& stream, uint8_t lane) {
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

void TargetDialing::connected(Stream& stream, size_t slot) {
    Opening& opening = *stream.opening;
    stream.plain = std::move(opening.attempts[slot]);
    reset_on_close(stream.plain.get());
    const wire::Response response{
        .status = StreamStatus::ok, .bound = local_endpoint(stream.plain.get()), .reason = {}};
    if (!respond(stream, response)) return table_.finish(stream, ring::EndReason::tunnel_reset, PlainEnd::reset);
    relaying_.start(stream, {}, Bytes(opening.flight).first(opening.flight_size));
}

void TargetDialing::arm_opening_deadline(Stream& stream) {
    const Opening& opening = *stream.opening;
    uint64_t at = stream.phase == Phase::resolving ? opening.resolve_by_ns : opening.dialer.next_deadline_ns();
    if (!opening.preamble_sent) at = std::min(at, opening.preamble_due_ns);
    table_.deadline(stream, at);
}

void TargetDialing::on_timer(Stream& stream) {
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

void TargetDialing::on_watch(Stream& stream, int32_t result) {
    // Early records before the FIN are a request that was sent whole; without any, the client has left.
    const bool closed = (result & (POLLRDHUP | POLLHUP)) != 0 && stream.opening->flight_size == 0 &&
                        ended_and_empty(stream.tunnel.get());
    if (result >= 0 && (result & POLLERR) == 0 && !closed) return;
    table_.finish(stream, ring::EndReason::tunnel_reset, PlainEnd::reset);
}

void TargetDialing::make_preamble(Stream& stream, std::span<uint8_t, wire::kNodePreambleSize> out) {
    wire::Random server_random;
    crypto::random_bytes(server_random);
    wire::encode_node_preamble(out, server_random);
    stream.seal.key = stream.opening->schedule->node_to_client(server_random);
    stream.seal.key_tag = services_.next_key_tag++;
    stream.opening->preamble_sent = true;
}

void TargetDialing::send_preamble(Stream& stream) {
    std::array<uint8_t, wire::kNodePreambleSize> preamble;
    make_preamble(stream, preamble);
    // 37 bytes into an empty send buffer; if the connection is gone, the RESPONSE will tell.
    (void)write_some(stream.tunnel.get(), preamble);
}

bool TargetDialing::respond(Stream& stream, const wire::Response& response) {
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
    const size_t size =
        begin + wire::seal_record_copy(services_.keys.context(stream.seal.key, stream.seal.key_tag), stream.seal.key,
                                       MutableBytes(flight).subspan(begin), Bytes(content).first(content_size),
                                       wire::ContentType::control, padding);
    const IoResult written = write_some(stream.tunnel.get(), Bytes(flight).first(size));
    return written.status == IoStatus::ok && written.count == size;
}

void TargetDialing::refuse(Stream& stream, StreamStatus status, ring::EndReason reason, wire::Reason why) {
    stream.status = static_cast<uint8_t>(status);
    if (respond(stream, {.status = status, .bound = {}, .reason = why})) {
        std::array<uint8_t, wire::kRecordOverhead + 2> close;
        const size_t size =
            wire::seal_record_copy(services_.keys.context(stream.seal.key, stream.seal.key_tag), stream.seal.key, close,
                                   wire::kCloseNotify, wire::ContentType::alert);
        (void)write_some(stream.tunnel.get(), Bytes(close).first(size));
    }
    discarding_.linger_tunnel(stream, reason);
}

}  // namespace qanat::dataplane
