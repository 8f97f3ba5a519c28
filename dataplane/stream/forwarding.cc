#include "dataplane/stream/forwarding.h"

#include <poll.h>
#include <sodium.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>

#include "dataplane/engine/inbox.h"
#include "dataplane/engine/socket.h"
#include "dataplane/engine/timers.h"
#include "dataplane/stream/ring_endpoint.h"

namespace qanat::dataplane {
namespace {

using ring::EndReason;
using wire::Reason;
using wire::StreamStatus;

constexpr uint64_t kConnectionWaitNs = 5'000 * kNsPerMs;
// The control plane gives up earlier by itself.
constexpr uint64_t kAnswerWaitNs = 15'000 * kNsPerMs;

// A stream on its way to the engine that has a connection for it. What was read behind its FORWARD follows. Never
// leaves the process; its preamble has been sent.
struct MovedStream {
    RelayMember* member;  // counted there already
    uint64_t connection;  // handle, in the engine that it moves to
    uint64_t accepted_ns;
    wire::DirectionKey seal;
    wire::NextNode next;
    uint32_t flight_size;
};
static_assert(std::is_trivially_copyable_v<MovedStream>);
static_assert(sizeof(MovedStream) + kFlightMax <= kInboxPacketMax);

}  // namespace

void Forwarding::start(Stream& stream, const wire::NextNode& next) {
    responding_.begin(stream);
    stream.side = StreamSide::relay;
    stream.phase = Phase::forward_wait;
    stream.opening->next = next;
    stream.member = services_.relay.members->begin_stream(stream.opening->peer, services_.now_ns);
    if (stream.member == nullptr)
        return refuse(stream, StreamStatus::relay_limit, EndReason::relay_refused,
                      Reason("you have as many streams here as a member may"));
    find(stream, false);
}

void Forwarding::find(Stream& stream, bool reserved) {
    using Kind = RelayMembers::Choice::Kind;
    if (services_.draining)
        return refuse(stream, StreamStatus::draining, EndReason::drained, Reason("the relay is leaving"));
    stream.phase = Phase::forward_wait;
    while (true) {
        const RelayMembers::Choice choice = services_.relay.members->find(
            stream.opening->next.id, table_.engine_stream(stream), reserved, services_.now_ns);
        if (choice.kind == Kind::ask) return ask(stream);
        if (choice.kind == Kind::wait) {
            stream.opening->in_queue = true;
            return wait_until(stream, services_.now_ns + kConnectionWaitNs);
        }
        if (use(stream, choice.connection)) return;
    }
}

bool Forwarding::use(Stream& stream, EngineStream connection) {
    if (connection.engine != services_.relay.engine) {
        move(stream, connection);
        return true;
    }
    stream.plain = offered_.take(connection.handle, stream.opening->next.id, stream.member->id);
    if (!stream.plain) return false;
    connected(stream);
    return true;
}

void Forwarding::move(Stream& stream, EngineStream connection) {
    const Opening& opening = *stream.opening;
    responding_.announce(stream);
    std::array<uint8_t, sizeof(MovedStream) + kFlightMax> packet;
    const MovedStream moved{.member = stream.member,
                            .connection = connection.handle,
                            .accepted_ns = stream.accepted_ns,
                            .seal = stream.seal.key,
                            .next = opening.next,
                            .flight_size = opening.flight_size};
    std::memcpy(packet.data(), &moved, sizeof moved);
    std::memcpy(packet.data() + sizeof moved, opening.flight.data(), opening.flight_size);
    const bool sent = send_packet(services_.relay.inboxes[connection.engine],
                                  Bytes(packet).first(sizeof moved + opening.flight_size), stream.tunnel.get());
    sodium_memzero(packet.data(), packet.size());
    if (!sent) {
        offered_.publish(opening.next.id, connection);
        return refuse(stream, StreamStatus::at_capacity, EndReason::at_capacity,
                      Reason("the relay cannot keep up with new streams"));
    }
    ring::add(services_.counters.relay_moved);
    stream.member = nullptr;  // it is the other engine's to give back
    table_.finish(stream, EndReason::none, PlainEnd::reset);
}

void Forwarding::on_inbox() {
    std::array<uint8_t, kInboxPacketMax> packet;
    while (true) {
        Received received = receive_packet(services_.relay.inbox, packet);
        if (received.packet.empty()) break;
        if (received.packet.size() >= sizeof(MovedStream)) adopt(received.packet, std::move(received.descriptor));
        sodium_memzero(received.packet.data(), received.packet.size());
    }
    while (const auto assignment = services_.relay.members->next_assignment(services_.relay.engine)) {
        Stream* stream = table_.find(assignment->asker);
        if (stream == nullptr || stream->phase != Phase::forward_wait || !stream->opening->in_queue) {
            offered_.publish(assignment->id, assignment->connection);
            continue;
        }
        stream->opening->in_queue = false;
        if (!use(*stream, assignment->connection)) find(*stream, false);
    }
}

void Forwarding::adopt(MutableBytes packet, UniqueFd tunnel) {
    MovedStream moved;
    std::memcpy(&moved, packet.data(), sizeof moved);
    const EngineStream connection{.engine = services_.relay.engine, .handle = moved.connection};
    Stream* stream = tunnel ? table_.acquire(StreamSide::relay, Phase::forward_wait) : nullptr;
    if (stream == nullptr) {
        ring::add(services_.counters.connections_refused);
        services_.relay.members->end_stream(*moved.member);
        offered_.publish(moved.next.id, connection);
        return moved.seal.wipe();
    }
    stream->tunnel = std::move(tunnel);
    stream->member = moved.member;
    stream->accepted_ns = moved.accepted_ns;
    stream->seal.key = moved.seal;
    stream->seal.key_tag = services_.next_key_tag++;
    moved.seal.wipe();
    Opening& opening = *stream->opening;
    opening.next = moved.next;
    opening.preamble_sent = true;
    opening.preamble_due_ns = TimerWheel::kNever;
    opening.flight_size = moved.flight_size;
    std::memcpy(opening.flight.data(), packet.data() + sizeof moved, moved.flight_size);
    // As for a stream that was accepted here: parked connections make room.
    if (!table_.has_room() && !table_.parked().empty())
        table_.finish(*table_.parked().front(), EndReason::parked_expired, PlainEnd::close);
    table_.count_moved(*stream);
    if (table_.over_capacity()) {
        offered_.publish(opening.next.id, connection);
        return refuse(*stream, StreamStatus::at_capacity, EndReason::at_capacity,
                      Reason("the relay is at its limit of streams"));
    }
    if (!use(*stream, connection)) find(*stream, false);
}

void Forwarding::ask(Stream& stream) {
    const wire::NextNode& next = stream.opening->next;
    ring::MemberWanted question{};
    question.query = table_.handle(stream);
    question.id = next.id;
    if (next.hint) question.hint = endpoint_to_ring(*next.hint);
    if (!services_.report(question))
        return refuse(stream, StreamStatus::at_capacity, EndReason::at_capacity,
                      Reason("too many nodes are being looked for"));
    wait_until(stream, services_.now_ns + kAnswerWaitNs);
}

void Forwarding::on_member(const ring::MemberResult& result) {
    Stream* stream = table_.find(result.query);
    // It may have given up meanwhile, or wait for something else.
    if (stream == nullptr || stream->phase != Phase::forward_wait || stream->opening->in_queue) return;
    switch (result.status) {
        case ring::MemberStatus::reachable:
            return dial(*stream, endpoint_from_ring(result.address));
        case ring::MemberStatus::reserved:
            return find(*stream, true);
        case ring::MemberStatus::busy:
            return refuse(*stream, StreamStatus::at_capacity, EndReason::at_capacity,
                          Reason("too many nodes are being looked for"));
        case ring::MemberStatus::unknown:
            return refuse(*stream, StreamStatus::next_unknown, EndReason::next_unreachable,
                          Reason("the relay knows no way to this node"));
    }
}

void Forwarding::dial(Stream& stream, const wire::Endpoint& to) {
    stream.target = wire::Target(to);
    Connecting connecting = start_connect(to);
    if (out_of_resources(connecting.error))
        return refuse(stream, StreamStatus::at_capacity, EndReason::at_capacity,
                      Reason("the relay is out of descriptors"));
    if (connecting.error != 0)
        return refuse(stream, StreamStatus::next_unreachable, EndReason::next_unreachable,
                      Reason("the relay cannot connect to this node"));
    stream.phase = Phase::forward_dial;
    stream.plain = std::move(connecting.fd);
    if (connecting.established) return connected(stream);
    table_.arm_seal(stream, stream.plain.get(), POLLOUT);
    wait_until(stream, services_.now_ns + services_.limits.connect_timeout_ms * kNsPerMs);
}

void Forwarding::on_dial_ready(Stream& stream) {
    if (connect_error(stream.plain.get()) == 0) return connected(stream);
    refuse(stream, StreamStatus::next_unreachable, EndReason::next_unreachable,
           Reason("the relay cannot connect to this node"));
}

void Forwarding::connected(Stream& stream) {
    reset_on_close(stream.plain.get());
    const wire::Response response{
        .status = StreamStatus::ok, .bound = local_endpoint(stream.plain.get()), .reason = {}};
    if (!responding_.respond(stream, response)) return table_.finish(stream, EndReason::tunnel_reset, PlainEnd::reset);
    splicing_.start(stream);
}

void Forwarding::wait_until(Stream& stream, uint64_t at_ns) {
    stream.opening->forward_by_ns = at_ns;
    table_.deadline(stream, std::min(at_ns, responding_.announce_by_ns(stream)));
    // Who knows that the relay is at work may give up.
    if (stream.opening->preamble_sent) table_.watch(stream, kOpenLane);
}

void Forwarding::on_watch(Stream& stream, int32_t result) {
    if (responding_.client_left(stream, result)) table_.finish(stream, EndReason::tunnel_reset, PlainEnd::reset);
}

void Forwarding::on_timer(Stream& stream) {
    responding_.announce_if_due(stream);
    if (services_.now_ns < stream.opening->forward_by_ns) return table_.deadline(stream, stream.opening->forward_by_ns);
    refuse(stream, StreamStatus::next_unreachable, EndReason::next_unreachable,
           Reason(stream.phase == Phase::forward_dial ? "this node did not answer in time"
                                                      : "no connection of this node came in time"));
}

void Forwarding::end_waiting() {
    table_.for_each([&](Stream& stream) {
        if (stream.phase == Phase::forward_wait)
            refuse(stream, StreamStatus::draining, EndReason::drained, Reason("the relay is leaving"));
    });
}

void Forwarding::refuse(Stream& stream, StreamStatus status, EndReason reason, Reason why) {
    ring::add(services_.counters.relay_refused);
    table_.leave_member(stream);
    table_.abandon_plain(stream);
    responding_.refuse(stream, status, reason, why);
}

}  // namespace qanat::dataplane
