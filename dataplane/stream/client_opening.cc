#include "dataplane/stream/client_opening.h"

#include <poll.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "common/crypto/random.h"
#include "common/wire/stream_messages.h"
#include "dataplane/engine/socket.h"
#include "dataplane/stream/ring_endpoint.h"

namespace qanat::dataplane {
namespace {

using wire::StreamStatus;

// How long a node that has answered may take: it gives up on the target before that and says why (it is allowed
// resolve_timeout + connect_timeout, 15 s by default).
constexpr uint64_t kAnsweredTimeoutNs = 20'000'000'000;
// An application that has waited this long may have left; one that has not would only cost a system call more.
constexpr uint64_t kWatchAfterNs = 250'000'000;
constexpr uint64_t kHopTimeoutMinNs = 1'000'000'000;
constexpr uint64_t kNsPerMs = 1'000'000;

}  // namespace

void ClientOpening::on_accept(UniqueFd fd) {
    Stream* stream = table_.acquire(StreamSide::client, Phase::socks);
    if (stream == nullptr) return ring::add(services_.counters.connections_refused);
    table_.count(*stream);
    stream->plain = std::move(fd);
    stream->opening->over_capacity = table_.over_capacity();
    stream->opening->socks = Socks5Server(&services_.users);
    table_.deadline(*stream, services_.now_ns + services_.limits.handshake_timeout_ms * kNsPerMs);
    on_plain_ready(*stream);  // the greeting is there in most cases
}

void ClientOpening::on_plain_ready(Stream& stream) {
    Opening& opening = *stream.opening;
    const IoResult read = read_some(stream.plain.get(), MutableBytes(opening.plain).subspan(opening.plain_size));
    if (read.status == IoStatus::again) return table_.arm_seal(stream, stream.plain.get(), POLLIN);
    if (read.status != IoStatus::ok) {
        const bool said_nothing = opening.plain_size == 0 && read.status == IoStatus::end;
        return table_.finish(stream, said_nothing ? ring::EndReason::completed : ring::EndReason::application_reset,
                             PlainEnd::close);
    }
    opening.plain_size += static_cast<uint32_t>(read.count);

    const Socks5Server::Step step = opening.socks.feed(Bytes(opening.plain).first(opening.plain_size));
    opening.plain_size -= static_cast<uint32_t>(step.consumed);
    std::memmove(opening.plain.data(), opening.plain.data() + step.consumed, opening.plain_size);
    if (const Bytes output = opening.socks.take_output(); !output.empty()) {
        // A few bytes into an empty send buffer: not taking them means that the connection is gone.
        const IoResult written = write_some(stream.plain.get(), output);
        if (written.status != IoStatus::ok || written.count != output.size())
            return table_.finish(stream, ring::EndReason::application_reset, PlainEnd::reset);
    }
    switch (step.kind) {
        case Socks5Server::Step::Kind::need_more:
            return table_.arm_seal(stream, stream.plain.get(), POLLIN);
        case Socks5Server::Step::Kind::refuse:
            return discarding_.linger_plain(stream, step.reason);
        case Socks5Server::Step::Kind::request:
            break;
    }
    stream.target = opening.socks.target();
    table_.opening.push_back(stream);
    if (opening.over_capacity) return refuse(stream, StreamStatus::at_capacity, ring::EndReason::at_capacity);
    opening.asked_ns = services_.now_ns;
    opening.give_up_ns = services_.now_ns + services_.plan.response_timeout_ms() * kNsPerMs;
    try_next_hop(stream);
}

void ClientOpening::try_next_hop(Stream& stream) {
    Opening& opening = *stream.opening;
    const size_t tries_max = std::min<size_t>(std::max<uint32_t>(services_.plan.tries_max(), 1), kTriesMax);
    while (opening.tries < tries_max && services_.now_ns < opening.give_up_ns) {
        uint64_t random = 0;
        crypto::random_bytes(MutableBytes(reinterpret_cast<uint8_t*>(&random), sizeof random));
        const auto usable = [&](uint32_t node) { return services_.sessions.current_for_node(node) != nullptr; };
        const ring::PlanHop* hop =
            services_.plan.pick(pick_, random, std::span(opening.tried).first(opening.tries), usable);
        // Every node has been tried: what failed may have been that one connection, so the budget goes on.
        if (hop == nullptr && opening.tries > 0) hop = services_.plan.pick(pick_, random, {}, usable);
        if (hop == nullptr) {
            // Before the first plan, and while a handshake is on its way, a usable hop may be a moment away.
            if (services_.plan.version() != 0 && !services_.plan.any_connecting()) break;
            stream.phase = Phase::hop_wait;
            opening.hop_by_ns = opening.give_up_ns;
            return arm_deadline(stream);
        }
        stream.node = hop->node;
        opening.tried[opening.tries++] = hop->node;
        SharedSession& session = *services_.sessions.current_for_node(hop->node);
        opening.session_id = session.id;
        Connecting connecting = start_connect(endpoint_from_ring(hop->address));
        if (connecting.error == EMFILE || connecting.error == ENFILE || connecting.error == ENOMEM)
            return refuse(stream, StreamStatus::at_capacity, ring::EndReason::at_capacity);
        if (connecting.error != 0) {
            hop_failed(stream, ring::HopStage::connect, connecting.error, 0);
            continue;
        }
        stream.tunnel = std::move(connecting.fd);
        stream.phase = Phase::hop_connect;
        set_hop_deadline(stream);
        if (connecting.established) return send_first_flight(stream);
        return table_.arm_open(stream, stream.tunnel.get(), POLLOUT);
    }
    refuse(stream, StreamStatus::general_failure, ring::EndReason::no_exit);
}

void ClientOpening::set_hop_deadline(Stream& stream) {
    // Each try gets its share of the time, so that there is some left for the next node when one says nothing.
    const uint64_t whole = services_.plan.response_timeout_ms() * kNsPerMs;
    const uint64_t share = std::max(whole / std::max<uint32_t>(services_.plan.tries_max(), 1), kHopTimeoutMinNs);
    stream.opening->hop_by_ns = std::min(services_.now_ns + share, stream.opening->give_up_ns);
    arm_deadline(stream);
}

void ClientOpening::arm_deadline(Stream& stream) {
    const uint64_t watch_ns = stream.opening->asked_ns + kWatchAfterNs;
    const uint64_t hop_by_ns = stream.opening->hop_by_ns;
    table_.deadline(stream, stream.watch_armed != 0 ? hop_by_ns : std::min(watch_ns, hop_by_ns));
}

void ClientOpening::on_watch(Stream& stream, int32_t result) {
    // A FIN with early data before it is a half-close that came early; without any, nobody is waiting any more.
    const bool closed =
        (result & (POLLRDHUP | POLLHUP)) != 0 && stream.opening->plain_size == 0 && ended_and_empty(stream.plain.get());
    if (result >= 0 && (result & POLLERR) == 0 && !closed) return;
    table_.finish(stream, ring::EndReason::application_reset, PlainEnd::reset);
}

void ClientOpening::on_tunnel_ready(Stream& stream) {
    if (stream.phase == Phase::hop_response) return read_response(stream);
    if (const int error = connect_error(stream.tunnel.get()); error != 0) {
        hop_failed(stream, ring::HopStage::connect, error, 0);
        return try_next_hop(stream);
    }
    send_first_flight(stream);
}

void ClientOpening::send_first_flight(Stream& stream) {
    Opening& opening = *stream.opening;
    SharedSession* session = services_.sessions.find(opening.session_id);
    if (session == nullptr) {  // removed while we were connecting
        table_.abandon_tunnel(stream);
        --opening.tries;
        return try_next_hop(stream);
    }

    wire::Random client_random;
    crypto::random_bytes(client_random);
    const uint64_t stream_no = session->next_stream.fetch_add(1, std::memory_order_relaxed);
    opening.schedule.emplace(session->suite, session->data_secret.bytes(), session->id, stream_no, client_random);
    stream.seal.key = opening.schedule->client_to_node();
    stream.seal.key_tag = services_.next_key_tag++;

    std::array<uint8_t, wire::kRequestFlightMultiple> flight;
    wire::encode_client_preamble(std::span(flight).first<wire::kClientPreambleSize>(), session->header_key.bytes(),
                                 client_random, session->id, stream_no);
    std::array<uint8_t, wire::kRequestSizeMax> request;
    const size_t request_size =
        wire::encode_request(request, {.kind = wire::RequestKind::connect, .flags = 0, .target = stream.target});
    const size_t padding = wire::padding_for(wire::kClientPreambleSize, request_size, wire::kRequestFlightMultiple);
    const size_t size = wire::kClientPreambleSize +
                        wire::seal_record_copy(services_.keys.context(stream.seal.key, stream.seal.key_tag),
                                               stream.seal.key, MutableBytes(flight).subspan(wire::kClientPreambleSize),
                                               Bytes(request).first(request_size), wire::ContentType::control, padding);

    const IoResult written = write_some(stream.tunnel.get(), Bytes(flight).first(size));
    if (written.status != IoStatus::ok || written.count != size) {
        hop_failed(stream, ring::HopStage::first_flight, written.error, 0);
        return try_next_hop(stream);
    }
    opening.flight_size = 0;
    opening.node_answered = false;
    stream.phase = Phase::hop_response;
    table_.arm_open(stream, stream.tunnel.get(), POLLIN);
}

void ClientOpening::read_response(Stream& stream) {
    Opening& opening = *stream.opening;
    const auto failed = [&](int error) {
        hop_failed(stream, ring::HopStage::response, error, 0);
        try_next_hop(stream);
    };
    const auto wait = [&] { table_.arm_open(stream, stream.tunnel.get(), POLLIN); };
    const IoResult read = read_some(stream.tunnel.get(), MutableBytes(opening.flight).subspan(opening.flight_size));
    if (read.status == IoStatus::again) return wait();
    if (read.status != IoStatus::ok) return failed(read.error);
    opening.flight_size += static_cast<uint32_t>(read.count);

    const MutableBytes flight = MutableBytes(opening.flight).first(opening.flight_size);
    if (flight.size() < wire::kNodePreambleSize) return wait();
    if (!opening.node_answered) {
        const auto preamble = wire::decode_node_preamble(flight.first<wire::kNodePreambleSize>());
        if (!preamble) return failed(EBADMSG);
        stream.open.key = opening.schedule->node_to_client(preamble->server_random);
        stream.open.key_tag = services_.next_key_tag++;
        opening.node_answered = true;
        opening.give_up_ns = std::max(opening.give_up_ns, services_.now_ns + kAnsweredTimeoutNs);
        opening.hop_by_ns = opening.give_up_ns;
        arm_deadline(stream);
    }
    const MutableBytes records = flight.subspan(wire::kNodePreambleSize);
    if (records.size() < wire::kRecordHeaderSize) return wait();
    const auto size = wire::record_size(records);
    if (!size || *size > kFlightMax - wire::kNodePreambleSize) return failed(EBADMSG);
    if (records.size() < *size) return wait();
    const auto record = wire::open_record(services_.keys.context(stream.open.key, stream.open.key_tag), stream.open.key,
                                          records.first(*size));
    if (!record || record->type != wire::ContentType::control) return failed(EBADMSG);
    const auto response = wire::decode_response(record->content);
    if (!response) return failed(EBADMSG);

    if (response->status == StreamStatus::ok) {
        std::array<uint8_t, kSocks5ReplySizeMax> reply;
        const size_t reply_size = encode_reply(reply, Socks5Reply::succeeded, response->bound);
        const IoResult written = write_some(stream.plain.get(), Bytes(reply).first(reply_size));
        if (written.status != IoStatus::ok || written.count != reply_size)
            return table_.finish(stream, ring::EndReason::application_reset, PlainEnd::reset);
        return relaying_.start(stream, Bytes(opening.plain).first(opening.plain_size), records.subspan(*size));
    }
    if (wire::another_node_may_help(response->status)) {
        hop_failed(stream, ring::HopStage::response, 0, static_cast<uint8_t>(response->status));
        return try_next_hop(stream);
    }
    refuse(stream, response->status, ring::EndReason::exit_refused);
}

void ClientOpening::hop_failed(Stream& stream, ring::HopStage stage, int error, uint8_t status) {
    ring::HopFailed event{};
    event.session_id = stream.opening->session_id;
    event.node = stream.node;
    event.error = error;
    event.stage = stage;
    event.status = status;
    services_.report(event);
    ring::add(services_.counters.hop_retries);
    table_.abandon_tunnel(stream);
}

void ClientOpening::refuse(Stream& stream, StreamStatus status, ring::EndReason reason) {
    stream.status = static_cast<uint8_t>(status);
    std::array<uint8_t, kSocks5ReplySizeMax> reply;
    const size_t size = encode_reply(reply, reply_for(status), wire::Endpoint{});
    (void)write_some(stream.plain.get(), Bytes(reply).first(size));
    discarding_.linger_plain(stream, reason);
}

void ClientOpening::on_timer(Stream& stream) {
    if (stream.phase != Phase::socks && services_.now_ns < stream.opening->hop_by_ns) {
        if (stream.watch_armed == 0) table_.arm_watch(stream, kSealLane);
        return arm_deadline(stream);
    }
    switch (stream.phase) {
        case Phase::socks:
            return table_.finish(stream, ring::EndReason::handshake_timeout, PlainEnd::close);
        case Phase::hop_wait:
            return refuse(stream, StreamStatus::general_failure, ring::EndReason::no_exit);
        case Phase::hop_connect:
            hop_failed(stream, ring::HopStage::connect, ETIMEDOUT, 0);
            return try_next_hop(stream);
        case Phase::hop_response:
            // A node that has answered was working on the target: trying another one now would keep the application
            // waiting even longer, for a target that most likely does not answer there either.
            if (stream.opening->node_answered)
                return refuse(stream, StreamStatus::timed_out, ring::EndReason::connect_timeout);
            hop_failed(stream, ring::HopStage::response, ETIMEDOUT, 0);
            return try_next_hop(stream);
        default:
            return;
    }
}

void ClientOpening::on_routes_changed() {
    Stream* next = nullptr;
    for (Stream* stream = table_.opening.front(); stream != nullptr; stream = next) {
        next = decltype(table_.opening)::next(*stream);
        if (stream->phase == Phase::hop_wait) try_next_hop(*stream);
    }
}

void ClientOpening::on_session_removed(uint64_t session_id) {
    Stream* next = nullptr;
    for (Stream* stream = table_.opening.front(); stream != nullptr; stream = next) {
        next = decltype(table_.opening)::next(*stream);
        const bool waits = stream->phase == Phase::hop_connect || stream->phase == Phase::hop_response;
        if (!waits || stream->opening->session_id != session_id || stream->opening->node_answered) continue;
        table_.abandon_tunnel(*stream);
        --stream->opening->tries;  // not the node's failure
        try_next_hop(*stream);
    }
}

}  // namespace qanat::dataplane
