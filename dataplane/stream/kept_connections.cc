#include "dataplane/stream/kept_connections.h"

#include <poll.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "common/crypto/random.h"
#include "dataplane/engine/socket.h"
#include "dataplane/engine/timers.h"
#include "dataplane/stream/first_flight.h"
#include "dataplane/stream/ring_endpoint.h"

namespace qanat::dataplane {
namespace {

constexpr uint64_t kMakeTimeoutNs = 5'000 * kNsPerMs;
// A connection that is used soon does not need it.
constexpr uint64_t kKeepAliveAfterNs = 10'000 * kNsPerMs;
// Nodes keep a parked connection for 10 minutes; theirs must not end while we use it.
constexpr uint64_t kParkedMaxNs = 480'000 * kNsPerMs;
constexpr uint64_t kDescriptorsReserved = 64;  // rings, listeners, logs

}  // namespace

void KeptConnections::add_ready(KeptGroup& group, Stream& stream) {
    group.ready.push_back(stream);
    ++group.ready_count;
    if (group.kind == wire::RequestKind::offer) return ring::add(services_.counters.offers_parked);
    ring::add(services_.counters.pool_parked);
    if (group.punched) ring::add(services_.counters.punched_ready);
    services_.node_stats.park(group.node);
}

void KeptConnections::uncount_ready(const KeptGroup& group) {
    if (group.kind == wire::RequestKind::offer) return ring::subtract(services_.counters.offers_parked);
    ring::subtract(services_.counters.pool_parked);
    if (group.punched) ring::subtract(services_.counters.punched_ready);
    services_.node_stats.unpark(group.node);
}

bool KeptConnections::usable(const KeptGroup& group) const {
    return services_.sessions.current_for_node(group.node) != nullptr &&
           Chain::usable(services_.sessions, group.path());
}

uint32_t KeptConnections::limit() const {
    const uint64_t others = table_.active() - std::min(table_.active(), count_);
    const uint64_t used =
        2 * others + services_.counters.control_connections.load(std::memory_order_relaxed) + kDescriptorsReserved;
    const uint64_t free = descriptors_ > used ? descriptors_ - used : 0;
    return static_cast<uint32_t>(std::min<uint64_t>(StreamTable::kept_max(services_.limits), free / 2));
}

uint32_t KeptConnections::room() const {
    const uint32_t most = limit();
    return most > count_ ? most - count_ : 0;
}

bool KeptConnections::take_back(KeptGroup& group, Stream& ended, uint32_t wanted) {
    if (group.ready_count >= wanted) {
        group.size.on_returned();  // it came back; there are enough
        return false;
    }
    if (room() == 0) return false;
    Stream* stream = table_.acquire_waiting(StreamSide::client, Phase::pooled);
    if (stream == nullptr) return false;
    group.size.on_returned();
    stream->node = group.node;
    stream->kept_in = &group;
    stream->session_id = ended.session_id;
    stream->tunnel = std::move(ended.tunnel);
    stream->seal = ended.seal.pass_on();
    stream->open = ended.open.pass_on();
    ++count_;
    add_ready(group, *stream);
    table_.deadline(*stream, services_.now_ns + kKeepAliveAfterNs);
    return true;
}

void KeptConnections::watch(KeptGroup& group) {
    for (Stream* stream = group.ready.front(); stream != nullptr; stream = decltype(group.ready)::next(*stream))
        if (!stream->open_armed) table_.arm_open(*stream, stream->tunnel.get(), POLLIN);
}

Stream* KeptConnections::begin(KeptGroup& group) {
    if (room() == 0) return nullptr;
    const StreamSide side = group.kind == wire::RequestKind::park ? StreamSide::client : StreamSide::offer;
    Stream* stream = table_.acquire(side, Phase::pool_connect);
    if (stream == nullptr) return nullptr;
    stream->node = group.node;
    stream->kept_in = &group;
    group.making.push_back(*stream);
    ++group.making_count;
    ++count_;
    table_.deadline(*stream, services_.now_ns + kMakeTimeoutNs);
    return stream;
}

bool KeptConnections::adopt(KeptGroup& group, UniqueFd fd, uint64_t begun_ns) {
    Stream* stream = begin(group);
    if (stream == nullptr) return false;
    stream->accepted_ns = begun_ns;
    stream->tunnel = std::move(fd);
    send_first_flight(*stream);
    return true;
}

bool KeptConnections::make(KeptGroup& group) {
    Stream* stream = begin(group);
    if (stream == nullptr) return false;
    Connecting connecting = start_connect(endpoint_from_ring(group.address));
    if (connecting.error != 0) {
        fail(*stream, ring::HopStage::connect, connecting.error);
        return false;
    }
    stream->tunnel = std::move(connecting.fd);
    if (!connecting.established)
        table_.arm_open(*stream, stream->tunnel.get(), POLLOUT);
    else
        send_first_flight(*stream);
    return true;
}

void KeptConnections::on_tunnel_ready(Stream& stream) {
    switch (stream.phase) {
        case Phase::pool_connect:
            if (const int error = connect_error(stream.tunnel.get()); error != 0)
                return fail(stream, ring::HopStage::connect, error);
            return send_first_flight(stream);
        case Phase::pool_response:
            return read_answer(stream);
        default:
            return stream.kept_in->owner->on_readable(stream);
    }
}

void KeptConnections::send_first_flight(Stream& stream) {
    KeptGroup& group = *stream.kept_in;
    Opening& opening = *stream.opening;
    SharedSession* session = services_.sessions.current_for_node(group.node);
    // Removed while we were connecting: nobody's fault. Its owner tries again when there is another one.
    if (session == nullptr || !opening.chain.begin(services_.sessions, group.path(), session->peer))
        return leave(stream);
    stream.session_id = session->id;

    std::array<uint8_t, Chain::kFlightMax + wire::kRequestFlightMultiple> flight;
    std::array<wire::Random, ring::kViaMax> random;
    for (wire::Random& each : std::span(random).first(group.via_count)) crypto::random_bytes(each);
    const auto chain_size = opening.chain.compose(services_.sessions, flight, random);
    if (!chain_size) return leave(stream);
    const size_t size = *chain_size + seal_first_flight(services_, stream, *session, {.kind = group.kind},
                                                        MutableBytes(flight).subspan(*chain_size));
    const IoResult written = write_some(stream.tunnel.get(), Bytes(flight).first(size));
    if (written.status != IoStatus::ok || written.count != size)
        return fail(stream, ring::HopStage::first_flight, written.error);
    opening.asked_ns = services_.now_ns;
    stream.phase = Phase::pool_response;
    table_.arm_open(stream, stream.tunnel.get(), POLLIN);
}

void KeptConnections::read_answer(Stream& stream) {
    Opening& opening = *stream.opening;
    const auto wait = [&] { table_.arm_open(stream, stream.tunnel.get(), POLLIN); };
    const auto failed = [&](int error) { fail(stream, ring::HopStage::response, error); };
    const auto consume = [&](size_t size) {
        opening.flight_size -= static_cast<uint32_t>(size);
        std::memmove(opening.flight.data(), opening.flight.data() + size, opening.flight_size);
    };
    const IoResult read = read_some(stream.tunnel.get(), MutableBytes(opening.flight).subspan(opening.flight_size));
    if (read.status == IoStatus::again) return wait();
    if (read.status != IoStatus::ok) return failed(read.status == IoStatus::end ? ECONNRESET : read.error);
    opening.flight_size += static_cast<uint32_t>(read.count);

    if (!opening.chain.open()) {
        const Chain::Step step = opening.chain.feed(MutableBytes(opening.flight).first(opening.flight_size));
        if (step.kind == Chain::Step::Kind::malformed) return failed(EBADMSG);
        if (step.kind == Chain::Step::Kind::refused) return fail(stream, ring::HopStage::response, 0, step.status);
        consume(step.consumed);
        if (step.kind == Chain::Step::Kind::need_more) return wait();
    }
    const MutableBytes flight = MutableBytes(opening.flight).first(opening.flight_size);
    constexpr size_t kHeaderEnd = wire::kNodePreambleSize + wire::kRecordHeaderSize;
    if (flight.size() < kHeaderEnd) return wait();
    const auto size = wire::record_size(flight.subspan(wire::kNodePreambleSize));
    if (!size || *size > kFlightMax - wire::kNodePreambleSize) return failed(EBADMSG);
    const MutableBytes records = flight.subspan(wire::kNodePreambleSize);
    if (records.size() < *size) return wait();
    const auto preamble = wire::decode_node_preamble(flight.first<wire::kNodePreambleSize>());
    if (!preamble) return failed(EBADMSG);
    stream.open.key = opening.schedule->node_to_client(preamble->server_random);
    stream.open.key_tag = services_.next_key_tag++;
    const auto record = wire::open_record(services_.keys.context(stream.open.key, stream.open.key_tag), stream.open.key,
                                          records.first(*size));
    if (!record || record->type != wire::ContentType::control) return failed(EBADMSG);
    const auto response = wire::decode_response(record->content);
    // OK would mean that something was connected to, which nobody has asked for.
    if (!response || response->status == wire::StreamStatus::ok) return failed(EBADMSG);
    if (response->status != wire::StreamStatus::parked)
        return fail(stream, ring::HopStage::response, 0, response->status);
    consume(wire::kNodePreambleSize + *size);
    become_ready(stream);
}

void KeptConnections::become_ready(Stream& stream) {
    KeptGroup& group = *stream.kept_in;
    const uint64_t rtt_ns = services_.now_ns - stream.opening->asked_ns;
    const bool said_more = stream.opening->flight_size > 0;
    group.making.remove(stream);
    --group.making_count;
    add_ready(group, stream);
    group.size.on_made(services_.now_ns - stream.accepted_ns);
    group.back_off.succeed();
    stream.phase = Phase::pooled;
    table_.deadline(stream, services_.now_ns + kKeepAliveAfterNs);
    if (!said_more) table_.release_opening(stream);
    group.owner->on_ready(group, rtt_ns / 1000);
    if (stream.phase != Phase::pooled) return;
    said_more ? group.owner->on_readable(stream) : table_.arm_open(stream, stream.tunnel.get(), POLLIN);
}

bool KeptConnections::hand_over(Stream& ready, Stream& to) {
    if (!nothing_to_read(ready.tunnel.get())) {
        leave(ready);
        return false;
    }
    to.seal = ready.seal.pass_on();
    to.open = ready.open.pass_on();
    to.session_id = ready.session_id;
    to.opening->chain.wipe();  // its relays have answered long ago
    to.tunnel = take_socket(ready);
    return true;
}

UniqueFd KeptConnections::take_socket(Stream& ready) {
    UniqueFd socket = std::move(ready.tunnel);
    leave(ready);
    return socket;
}

void KeptConnections::close(Stream& stream) {
    if (stream.phase == Phase::pooled && !stream.seal.key.exhausted()) {
        std::array<uint8_t, wire::kRecordOverhead + wire::kCloseNotify.size()> close;
        const size_t size =
            wire::seal_record_copy(services_.keys.context(stream.seal.key, stream.seal.key_tag), stream.seal.key, close,
                                   wire::kCloseNotify, wire::ContentType::alert);
        (void)write_some(stream.tunnel.get(), Bytes(close).first(size));
    }
    leave(stream);
}

void KeptConnections::close_all(KeptGroup& group) {
    while (Stream* stream = group.making.front()) close(*stream);
    close_ready(group);
}

void KeptConnections::close_ready(KeptGroup& group) {
    while (Stream* stream = group.ready.front()) close(*stream);
}

void KeptConnections::close_session(KeptGroup& group, uint64_t session_id) {
    for (auto* list : {&group.making, &group.ready}) {
        Stream* next = nullptr;
        for (Stream* stream = list->front(); stream != nullptr; stream = next) {
            next = List<Stream, &Stream::phase_hook>::next(*stream);
            if (stream->session_id == session_id) close(*stream);
        }
    }
}

void KeptConnections::back_off(KeptGroup& group) {
    uint64_t random = 0;
    crypto::random_bytes(MutableBytes(reinterpret_cast<uint8_t*>(&random), sizeof random));
    group.back_off.fail(services_.now_ns, random);
}

void KeptConnections::on_timer(Stream& stream) {
    if (stream.phase == Phase::pool_connect) return fail(stream, ring::HopStage::connect, ETIMEDOUT);
    if (stream.phase == Phase::pool_response) return fail(stream, ring::HopStage::response, ETIMEDOUT);
    KeptGroup& group = *stream.kept_in;
    // An offered connection has no age: it is the relay that ends it, because only the relay knows that it is not just
    // being taken. Half a TAKEN, for which there is an opening, is not worth waiting for.
    const bool parked = group.kind == wire::RequestKind::park;
    if (parked ? services_.now_ns >= stream.accepted_ns + kParkedMaxNs : stream.opening != nullptr) {
        close(stream);
        return group.owner->on_lost(group);
    }
    keep_alive(stream.tunnel.get(), kKeptKeepAliveIdleS);
    if (parked) table_.deadline(stream, stream.accepted_ns + kParkedMaxNs);
}

void KeptConnections::fail(Stream& stream, ring::HopStage stage, int error, wire::StreamStatus status) {
    KeptGroup& group = *stream.kept_in;
    KeptFailure failure{
        .stage = stage, .error = error, .status = status, .at = group.node, .session_id = stream.session_id};
    if (!stream.opening->chain.open()) {
        failure.at = stream.opening->chain.at();
        failure.session_id = stream.opening->chain.session_id();
    } else if (group.via_count > 0 && stage == ring::HopStage::connect) {
        failure.at = group.via[0].node;
    }
    if (failure.session_id == 0)
        if (const SharedSession* session = services_.sessions.current_for_node(failure.at); session != nullptr)
            failure.session_id = session->id;
    leave(stream);
    group.owner->on_failed(group, failure);
}

void KeptConnections::leave(Stream& stream) {
    KeptGroup& group = *stream.kept_in;
    if (stream.phase == Phase::pooled) {
        group.ready.remove(stream);
        --group.ready_count;
        uncount_ready(group);
    } else {
        group.making.remove(stream);
        --group.making_count;
    }
    --count_;
    stream.kept_in = nullptr;
    table_.finish(stream, ring::EndReason::none, PlainEnd::close);
}

}  // namespace qanat::dataplane
