#include "dataplane/stream/client_opening.h"

#include <poll.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

#include "common/base/assert.h"
#include "common/crypto/random.h"
#include "common/wire/stream_messages.h"
#include "dataplane/engine/socket.h"
#include "dataplane/engine/timers.h"
#include "dataplane/stream/first_flight.h"
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
// A connection that was kept ready may be dead without anybody knowing. A node that lives says so within 250 ms and a
// round trip, whatever its target does; without that the stream goes on with a connection of its own.
constexpr uint64_t kParkedAnswerNs = 1'500'000'000;
constexpr uint8_t kStaleMax = 2;
constexpr uint64_t kNsPerUs = 1'000;

std::span<const ring::Via> relays_of(const ring::PlanHop& hop) {
    return std::span(hop.via).first(hop.via_count);
}

wire::Request connect_request(const Stream& stream) {
    return {.kind = wire::RequestKind::connect, .keep = stream.opening->asked_to_keep, .target = stream.target};
}

// Between two rounds of tries over the whole plan: 50, 200 and 800 ms.
constexpr uint64_t kFirstPauseNs = 50'000'000;
constexpr uint8_t kPausesMax = 3;

}  // namespace

ClientOpening::ClientOpening(EngineServices& services, StreamTable& table, Relaying& relaying, Discarding& discarding,
                             ClientPool& pool)
    : services_(services), table_(table), relaying_(relaying), discarding_(discarding), pool_(pool) {
    crypto::random_bytes(MutableBytes(reinterpret_cast<uint8_t*>(&dice_), sizeof dice_));
}

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
        const ring::PlanHop* hop = pick_hop(opening);
        if (hop == nullptr) {
            // Before the first plan, and while a handshake is on its way, a usable hop may be a moment away; so it is
            // when the plan still names one whose session has just ended.
            const RoutingPlan& plan = services_.plan;
            if (plan.version() != 0 && !plan.any_connecting() && plan.up_count() == 0) break;
            return wait_for_hop(stream, opening.give_up_ns);
        }
        begin_try(stream, *hop);
        opening.from_pool = opening.stale_parked < kStaleMax && pool_.take(stream, *hop);
        if (opening.from_pool) return send_parked_request(stream);
        switch (connect(stream, *hop)) {
            case Connect::begun:
                return;
            case Connect::no_resources:
                return refuse(stream, StreamStatus::at_capacity, ring::EndReason::at_capacity);
            case Connect::failed:
                break;
        }
    }
    // Everything was tried. The control plane has been told, and may know another way in a moment: a relay that died is
    // replaced, a node that restarted is back.
    const uint64_t pause_ns = kFirstPauseNs << (2 * opening.pauses);
    const bool time_left = services_.now_ns + pause_ns < opening.give_up_ns;
    if (!opening.waiting_may_help || opening.pauses == kPausesMax || !time_left)
        return refuse(stream, StreamStatus::general_failure, ring::EndReason::no_exit);
    ++opening.pauses;
    opening.tries = 0;
    wait_for_hop(stream, services_.now_ns + pause_ns);
}

void ClientOpening::wait_for_hop(Stream& stream, uint64_t until_ns) {
    stream.phase = Phase::hop_wait;
    stream.opening->hop_by_ns = until_ns;
    arm_deadline(stream);
}

const ring::PlanHop* ClientOpening::pick_hop(const Opening& opening) {
    const uint64_t random = RoutingPlan::next_random(dice_);
    const auto usable = [&](const ring::PlanHop& hop) {
        return services_.sessions.current_for_node(hop.node) != nullptr &&
               Chain::usable(services_.sessions, relays_of(hop));
    };
    const auto in_flight = [&](uint32_t node) { return services_.node_stats.in_flight(node); };
    const std::span tried = std::span(opening.tried).first(opening.tries);
    const ring::PlanHop* hop = services_.plan.pick(pick_, random, tried, usable, in_flight);
    // Every node has been tried: what failed may have been that one connection, so the budget goes on.
    if (hop == nullptr && !tried.empty()) hop = services_.plan.pick(pick_, random, {}, usable, in_flight);
    return hop;
}

void ClientOpening::begin_try(Stream& stream, const ring::PlanHop& hop) {
    Opening& opening = *stream.opening;
    opening.tried[opening.tries++] = hop.node;
    const SharedSession& session = *services_.sessions.current_for_node(hop.node);
    stream.session_id = session.id;
    stream.path = 0;
    opening.node_answered = opening.announced = false;
    opening.asked_to_keep = pool_.keeps();
    opening.flight_size = 0;
    const bool whole = opening.chain.begin(services_.sessions, relays_of(hop), session.peer);
    QANAT_ASSERT(whole);  // or it would not have been picked
    table_.enter_node(stream, hop.node);
}

ClientOpening::Connect ClientOpening::connect(Stream& stream, const ring::PlanHop& hop) {
    stream.opening->connecting_ns = services_.now_ns;
    Connecting connecting = start_connect(endpoint_from_ring(hop.address));
    if (connecting.error == EMFILE || connecting.error == ENFILE || connecting.error == ENOMEM)
        return Connect::no_resources;
    if (connecting.error != 0) {
        hop_failed(stream, ring::HopStage::connect, connecting.error, 0);
        return Connect::failed;
    }
    stream.tunnel = std::move(connecting.fd);
    stream.phase = Phase::hop_connect;
    set_hop_deadline(stream);
    connecting.established ? connected(stream) : table_.arm_open(stream, stream.tunnel.get(), POLLOUT);
    return Connect::begun;
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
    if (stream.phase == Phase::hop_response) return on_tunnel_bytes(stream);
    if (const int error = connect_error(stream.tunnel.get()); error != 0) {
        hop_failed(stream, ring::HopStage::connect, error, 0);
        return try_next_hop(stream);
    }
    connected(stream);
}

void ClientOpening::connected(Stream& stream) {
    const Opening& opening = *stream.opening;
    if (opening.chain.size() == 0)
        services_.node_stats.note_rtt(stream.node, (services_.now_ns - opening.connecting_ns) / kNsPerUs);
    send_first_flight(stream);
}

void ClientOpening::send_first_flight(Stream& stream) {
    Opening& opening = *stream.opening;
    std::array<wire::Random, ring::kViaMax> randoms;
    for (wire::Random& random : std::span(randoms).first(opening.chain.size())) crypto::random_bytes(random);
    std::array<uint8_t, Chain::kFlightMax + wire::kRequestFlightMultiple> flight;
    SharedSession* session = services_.sessions.find(stream.session_id);
    if (session == nullptr) return start_over(stream);  // removed while we were connecting
    const auto for_relays = opening.chain.compose(services_.sessions, flight, randoms);
    if (!for_relays) return start_over(stream);
    const size_t size = *for_relays + seal_first_flight(services_, stream, *session, connect_request(stream),
                                                        MutableBytes(flight).subspan(*for_relays));

    const IoResult written = write_some(stream.tunnel.get(), Bytes(flight).first(size));
    if (written.status != IoStatus::ok || written.count != size) {
        hop_failed(stream, ring::HopStage::first_flight, written.error, 0);
        return try_next_hop(stream);
    }
    stream.phase = Phase::hop_response;
    table_.arm_open(stream, stream.tunnel.get(), POLLIN);
}

void ClientOpening::send_parked_request(Stream& stream) {
    std::array<uint8_t, wire::kRequestFlightMultiple> record;
    const size_t size = seal_later_request(services_, stream, connect_request(stream), record);
    const IoResult written = write_some(stream.tunnel.get(), Bytes(record).first(size));
    if (written.status != IoStatus::ok || written.count != size) return leave_stale(stream);
    stream.opening->hop_by_ns = std::min(services_.now_ns + kParkedAnswerNs, stream.opening->give_up_ns);
    arm_deadline(stream);
    stream.phase = Phase::hop_response;
    table_.arm_open(stream, stream.tunnel.get(), POLLIN);
}

void ClientOpening::leave_stale(Stream& stream) {
    pool_.note_stale();
    ++stream.opening->stale_parked;
    start_over(stream);
}

void ClientOpening::start_over(Stream& stream) {
    table_.abandon_tunnel(stream);
    --stream.opening->tries;
    try_next_hop(stream);
}

void ClientOpening::on_tunnel_bytes(Stream& stream) {
    Opening& opening = *stream.opening;
    const IoResult read = read_some(stream.tunnel.get(), MutableBytes(opening.flight).subspan(opening.flight_size));
    if (read.status == IoStatus::again) return table_.arm_open(stream, stream.tunnel.get(), POLLIN);
    if (read.status != IoStatus::ok) {
        if (opening.from_pool && opening.flight_size == 0 && !opening.announced) return leave_stale(stream);
        hop_failed(stream, ring::HopStage::response, read.error, 0);
        return try_next_hop(stream);
    }
    opening.flight_size += static_cast<uint32_t>(read.count);
    if (read_relays(stream)) read_response(stream);
}

bool ClientOpening::read_relays(Stream& stream) {
    Opening& opening = *stream.opening;
    if (opening.chain.open()) return true;
    const Chain::Step step = opening.chain.feed(MutableBytes(opening.flight).first(opening.flight_size));
    opening.flight_size -= static_cast<uint32_t>(step.consumed);
    std::memmove(opening.flight.data(), opening.flight.data() + step.consumed, opening.flight_size);
    switch (step.kind) {
        case Chain::Step::Kind::open:
            return true;
        case Chain::Step::Kind::need_more:
            table_.arm_open(stream, stream.tunnel.get(), POLLIN);
            return false;
        case Chain::Step::Kind::refused:
            // Whatever it said, it was about this path and not about the target.
            hop_failed(stream, ring::HopStage::response, 0, static_cast<uint8_t>(step.status));
            break;
        case Chain::Step::Kind::malformed:
            hop_failed(stream, ring::HopStage::response, EBADMSG, 0);
            break;
    }
    try_next_hop(stream);
    return false;
}

void ClientOpening::read_response(Stream& stream) {
    Opening& opening = *stream.opening;
    const auto failed = [&](int error) {
        hop_failed(stream, ring::HopStage::response, error, 0);
        try_next_hop(stream);
    };
    const auto wait = [&] { table_.arm_open(stream, stream.tunnel.get(), POLLIN); };
    const MutableBytes flight = MutableBytes(opening.flight).first(opening.flight_size);
    const size_t preamble_size = opening.from_pool ? 0 : wire::kNodePreambleSize;
    if (flight.size() < preamble_size) return wait();
    if (!opening.node_answered) {
        if (!opening.from_pool) {
            const auto preamble = wire::decode_node_preamble(flight.first<wire::kNodePreambleSize>());
            if (!preamble) return failed(EBADMSG);
            stream.open.key = opening.schedule->node_to_client(preamble->server_random);
            stream.open.key_tag = services_.next_key_tag++;
        }
        opening.node_answered = true;
        opening.give_up_ns = std::max(opening.give_up_ns, services_.now_ns + kAnsweredTimeoutNs);
        opening.hop_by_ns = opening.give_up_ns;
        arm_deadline(stream);
    }
    const MutableBytes records = flight.subspan(preamble_size);
    if (records.size() < wire::kRecordHeaderSize) return wait();
    const auto size = wire::record_size(records);
    if (!size || *size > kFlightMax - preamble_size) return failed(EBADMSG);
    if (records.size() < *size) return wait();
    const auto record = wire::open_record(services_.keys.context(stream.open.key, stream.open.key_tag), stream.open.key,
                                          records.first(*size));
    // It was being ended when we took it.
    if (record && record->type == wire::ContentType::alert && opening.from_pool && !opening.announced)
        return leave_stale(stream);
    if (record && record->type == wire::ContentType::data && record->content.empty() && opening.from_pool &&
        !std::exchange(opening.announced, true)) {
        opening.flight_size -= static_cast<uint32_t>(*size);
        std::memmove(opening.flight.data(), opening.flight.data() + *size, opening.flight_size);
        return read_response(stream);
    }
    if (!record || record->type != wire::ContentType::control) return failed(EBADMSG);
    const auto response = wire::decode_response(record->content);
    if (!response) return failed(EBADMSG);
    services_.node_stats.note_opened(stream.node);
    pool_.note_opened(stream.node);

    if (response->status == StreamStatus::ok) {
        std::array<uint8_t, kSocks5ReplySizeMax> reply;
        const size_t reply_size = encode_reply(reply, Socks5Reply::succeeded, response->bound);
        const IoResult written = write_some(stream.plain.get(), Bytes(reply).first(reply_size));
        if (written.status != IoStatus::ok || written.count != reply_size)
            return table_.finish(stream, ring::EndReason::application_reset, PlainEnd::reset);
        services_.count_open_latency(opening.asked_ns);
        stream.keep = opening.asked_to_keep && response->kept;
        return relaying_.start(stream, Bytes(opening.plain).first(opening.plain_size), records.subspan(*size));
    }
    if (wire::another_node_may_help(response->status)) {
        hop_failed(stream, ring::HopStage::response, 0, static_cast<uint8_t>(response->status));
        return try_next_hop(stream);
    }
    refuse(stream, response->status, ring::EndReason::exit_refused);
}

void ClientOpening::hop_failed(Stream& stream, ring::HopStage stage, int error, uint8_t status) {
    Opening& opening = *stream.opening;
    const bool node_itself = opening.chain.open();
    opening.waiting_may_help = status == 0 || status == static_cast<uint8_t>(StreamStatus::next_unknown) ||
                               status == static_cast<uint8_t>(StreamStatus::next_unreachable);
    ring::HopFailed event{};
    event.session_id = node_itself ? stream.session_id : opening.chain.session_id();
    event.node = stream.node;
    event.at = node_itself ? stream.node : opening.chain.at();
    event.error = error;
    event.stage = stage;
    event.status = status;
    services_.report(event);
    ring::add(services_.counters.hop_retries);
    services_.node_stats.note_failed(stream.node);
    table_.abandon_tunnel(stream);
}

void ClientOpening::refuse(Stream& stream, StreamStatus status, ring::EndReason reason) {
    table_.leave_node(stream);
    stream.status = static_cast<uint8_t>(status);
    std::array<uint8_t, kSocks5ReplySizeMax> reply;
    const size_t size = encode_reply(reply, reply_for(status), wire::Endpoint{});
    (void)write_some(stream.plain.get(), Bytes(reply).first(size));
    discarding_.linger_plain(stream, reason);
}

void ClientOpening::on_timer(Stream& stream) {
    if (stream.phase != Phase::socks && services_.now_ns < stream.opening->hop_by_ns) {
        table_.watch(stream, kSealLane);
        return arm_deadline(stream);
    }
    switch (stream.phase) {
        case Phase::socks:
            return table_.finish(stream, ring::EndReason::handshake_timeout, PlainEnd::close);
        case Phase::hop_wait:
            if (services_.now_ns < stream.opening->give_up_ns) return try_next_hop(stream);
            return refuse(stream, StreamStatus::general_failure, ring::EndReason::no_exit);
        case Phase::hop_connect:
            hop_failed(stream, ring::HopStage::connect, ETIMEDOUT, 0);
            return try_next_hop(stream);
        case Phase::hop_response:
            // A node that has answered was working on the target: trying another one now would keep the application
            // waiting even longer, for a target that most likely does not answer there either.
            if (stream.opening->node_answered)
                return refuse(stream, StreamStatus::timed_out, ring::EndReason::connect_timeout);
            if (stream.opening->from_pool) {
                stream.opening->stale_parked = kStaleMax;
                pool_.note_silent(stream);
                return leave_stale(stream);
            }
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

void ClientOpening::on_session_removed(uint64_t session_id, bool node_lost) {
    Stream* next = nullptr;
    for (Stream* stream = table_.opening.front(); stream != nullptr; stream = next) {
        next = decltype(table_.opening)::next(*stream);
        if (stream->phase != Phase::hop_connect && stream->phase != Phase::hop_response) continue;
        const Opening& opening = *stream->opening;
        if (stream->session_id != session_id && !opening.chain.uses(session_id)) continue;
        if (!opening.node_answered || node_lost) start_over(*stream);
    }
}

}  // namespace qanat::dataplane
