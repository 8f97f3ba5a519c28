#include "dataplane/stream/target_dialing.h"

#include <algorithm>
#include <array>
#include <cstring>

#include "dataplane/engine/socket.h"
#include "dataplane/engine/timers.h"
#include "dataplane/stream/ring_endpoint.h"

namespace qanat::dataplane {
namespace {

using wire::StreamStatus;

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

}  // namespace

void TargetDialing::start(Stream& stream) {
    responding_.begin(stream);
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
        return responding_.refuse(stream, StreamStatus::at_capacity, ring::EndReason::at_capacity,
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
            return responding_.refuse(*stream, StreamStatus::name_not_found, ring::EndReason::resolve_failed,
                                      wire::Reason("the name does not exist"));
        case ResolveStatus::overloaded:
            return responding_.refuse(*stream, StreamStatus::at_capacity, ring::EndReason::at_capacity,
                                      wire::Reason("too many names are being resolved"));
        case ResolveStatus::failed:
        case ResolveStatus::timed_out:
            return responding_.refuse(*stream, StreamStatus::name_unresolved, ring::EndReason::resolve_failed,
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
    if (count == 0)
        return responding_.refuse(stream, StreamStatus::denied, ring::EndReason::policy_denied, describe(denied_by));
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
            return responding_.refuse(stream, opening.dialer.outcome(), reason_for(opening.dialer.outcome()),
                                      wire::Reason());
        Connecting connecting = start_connect(action.to);
        if (out_of_resources(connecting.error))
            return responding_.refuse(stream, StreamStatus::at_capacity, ring::EndReason::at_capacity,
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
        .status = StreamStatus::ok, .bound = local_endpoint(stream.plain.get()), .reason = {}, .kept = stream.keep};
    if (!responding_.respond(stream, response))
        return table_.finish(stream, ring::EndReason::tunnel_reset, PlainEnd::reset);
    services_.count_open_latency(opening.asked_ns);
    relaying_.start(stream, {}, Bytes(opening.flight).first(opening.flight_size));
}

void TargetDialing::arm_opening_deadline(Stream& stream) {
    const Opening& opening = *stream.opening;
    const uint64_t at = stream.phase == Phase::resolving ? opening.resolve_by_ns : opening.dialer.next_deadline_ns();
    table_.deadline(stream, std::min(at, responding_.announce_by_ns(stream)));
}

void TargetDialing::on_timer(Stream& stream) {
    if (stream.phase == Phase::resolving && services_.now_ns >= stream.opening->resolve_by_ns)
        return responding_.refuse(stream, StreamStatus::name_unresolved, ring::EndReason::resolve_failed,
                                  wire::Reason("the name could not be resolved in time"));
    responding_.announce_if_due(stream);
    if (stream.phase == Phase::dialing) return advance_dial(stream);
    arm_opening_deadline(stream);
}

void TargetDialing::on_watch(Stream& stream, int32_t result) {
    if (responding_.client_left(stream, result)) table_.finish(stream, ring::EndReason::tunnel_reset, PlainEnd::reset);
}

}  // namespace qanat::dataplane
