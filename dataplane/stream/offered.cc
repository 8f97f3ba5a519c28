#include "dataplane/stream/offered.h"

#include <poll.h>

#include <array>

#include "dataplane/engine/inbox.h"
#include "dataplane/engine/socket.h"

namespace qanat::dataplane {
namespace {

using wire::StreamStatus;

}  // namespace

void Offered::accept(Stream& stream) {
    if (stream.opening->flight_size > 0) {
        ring::add(services_.counters.relay_refused);
        return responding_.refuse(stream, StreamStatus::general_failure, ring::EndReason::protocol_error,
                                  wire::Reason("nothing may follow an OFFER"));
    }
    RelayMember* member = services_.relay.members->begin_offer(stream.opening->peer, services_.now_ns);
    if (member == nullptr) {
        ring::add(services_.counters.relay_refused);
        return responding_.refuse(stream, StreamStatus::relay_limit, ring::EndReason::relay_refused,
                                  wire::Reason("as many connections are kept ready here as may be"));
    }
    stream.side = StreamSide::relay;
    stream.phase = Phase::offered;
    stream.member = member;
    ring::add(services_.counters.relay_offered);
    if (!responding_.respond(stream, {.status = StreamStatus::parked, .bound = {}, .reason = {}}))
        return table_.finish(stream, ring::EndReason::tunnel_reset, PlainEnd::close);
    services_.timers.disarm(stream.timer);
    table_.release_opening(stream);
    table_.arm_open(stream, stream.tunnel.get(), POLLIN);
    publish(member->id, table_.engine_stream(stream));
}

void Offered::end_all() {
    table_.for_each([&](Stream& stream) {
        if (stream.phase == Phase::offered) table_.finish(stream, ring::EndReason::parked_expired, PlainEnd::close);
    });
}

UniqueFd Offered::take(uint64_t handle, const MemberId& id, const MemberId& asker) {
    Stream* stream = table_.find(handle);
    if (stream == nullptr || stream->phase != Phase::offered || stream->member->id != id) return UniqueFd();
    if (!nothing_to_read(stream->tunnel.get()) || !send_taken(*stream, asker)) {
        table_.finish(*stream, ring::EndReason::parked_expired, PlainEnd::close);
        return UniqueFd();
    }
    UniqueFd connection = std::move(stream->tunnel);
    // It is part of the asker's stream from now on, and that one is counted.
    table_.finish(*stream, ring::EndReason::none, PlainEnd::reset);
    return connection;
}

bool Offered::send_taken(Stream& stream, const MemberId& asker) {
    const RelayMembers& members = *services_.relay.members;
    std::array<uint8_t, wire::kTakenSize> content;
    const size_t content_size = wire::encode_taken(
        content, {.source = members.source_of(asker), .waiting = members.waiting_for(*stream.member)});
    std::array<uint8_t, wire::kTakenRecordSize> record;
    const size_t size =
        wire::seal_record_copy(services_.keys.context(stream.seal.key, stream.seal.key_tag), stream.seal.key, record,
                               Bytes(content).first(content_size), wire::ContentType::control,
                               wire::padding_for(0, content_size, wire::kTakenRecordSize));
    const IoResult written = write_some(stream.tunnel.get(), Bytes(record).first(size));
    return written.status == IoStatus::ok && written.count == size;
}

void Offered::publish(const MemberId& id, EngineStream connection) {
    const auto engine = services_.relay.members->offer(id, connection);
    if (!engine) return;
    // An inbox that is full wakes its engine as well.
    const uint8_t wake = 0;
    (void)send_packet(services_.relay.inboxes[*engine], Bytes(&wake, 1), -1);
}

}  // namespace qanat::dataplane
