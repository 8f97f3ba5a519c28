#include "dataplane/stream/responding.h"

#include <poll.h>

#include <array>

#include "common/crypto/random.h"
#include "dataplane/engine/socket.h"

namespace qanat::dataplane {
namespace {

// A RESPONSE that takes longer than this is announced by its preamble, so that the client knows that the node lives
// and that the target is what it waits for.
constexpr uint64_t kPreambleAfterNs = 250'000'000;

}  // namespace

void Responding::begin(Stream& stream) {
    stream.opening->asked_ns = services_.now_ns;
    stream.opening->preamble_due_ns = services_.now_ns + kPreambleAfterNs;
}

uint64_t Responding::announce_by_ns(const Stream& stream) const {
    return stream.opening->preamble_due_ns;
}

void Responding::announce_if_due(Stream& stream) {
    if (services_.now_ns < announce_by_ns(stream)) return;
    stream.opening->preamble_due_ns = TimerWheel::kNever;
    const bool to_target = stream.phase == Phase::resolving || stream.phase == Phase::dialing;
    stream.opening->was_parked&& to_target ? announce_again(stream) : announce(stream);
    table_.watch(stream, kOpenLane);
}

void Responding::announce(Stream& stream) {
    if (stream.opening->preamble_sent) return;
    std::array<uint8_t, wire::kNodePreambleSize> preamble;
    make_preamble(stream, preamble);
    // 37 bytes into an empty send buffer; if the connection is gone, the RESPONSE will tell.
    (void)write_some(stream.tunnel.get(), preamble);
}

void Responding::announce_again(Stream& stream) {
    std::array<uint8_t, wire::kRecordOverhead> record;
    const size_t size = wire::seal_record_copy(services_.keys.context(stream.seal.key, stream.seal.key_tag),
                                               stream.seal.key, record, {}, wire::ContentType::data);
    (void)write_some(stream.tunnel.get(), Bytes(record).first(size));
}

bool Responding::client_left(const Stream& stream, int32_t result) const {
    if (result < 0 || (result & POLLERR) != 0) return true;
    // What came before the FIN, behind the request, is a request that was sent whole; without any, the client has left.
    return (result & (POLLRDHUP | POLLHUP)) != 0 && stream.opening->flight_size == 0 &&
           ended_and_empty(stream.tunnel.get());
}

void Responding::make_preamble(Stream& stream, std::span<uint8_t, wire::kNodePreambleSize> out) {
    wire::Random server_random;
    crypto::random_bytes(server_random);
    wire::encode_node_preamble(out, server_random);
    stream.seal.key = stream.opening->schedule->node_to_client(server_random);
    stream.seal.key_tag = services_.next_key_tag++;
    stream.opening->preamble_sent = true;
}

bool Responding::respond(Stream& stream, const wire::Response& response) {
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

void Responding::refuse(Stream& stream, wire::StreamStatus status, ring::EndReason reason, wire::Reason why) {
    conclude(stream, {.status = status, .bound = {}, .reason = why}, reason);
}

void Responding::conclude(Stream& stream, const wire::Response& response, ring::EndReason reason) {
    stream.status = static_cast<uint8_t>(response.status);
    if (respond(stream, response)) {
        std::array<uint8_t, wire::kRecordOverhead + 2> close;
        const size_t size =
            wire::seal_record_copy(services_.keys.context(stream.seal.key, stream.seal.key_tag), stream.seal.key, close,
                                   wire::kCloseNotify, wire::ContentType::alert);
        (void)write_some(stream.tunnel.get(), Bytes(close).first(size));
    }
    discarding_.linger_tunnel(stream, reason);
}

}  // namespace qanat::dataplane
