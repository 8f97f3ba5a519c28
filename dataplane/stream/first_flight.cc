#include "dataplane/stream/first_flight.h"

#include "common/crypto/random.h"

namespace qanat::dataplane {
namespace {

size_t seal_request(EngineServices& services, Stream& stream, const wire::Request& request, size_t preamble_size,
                    MutableBytes out) {
    std::array<uint8_t, wire::kRequestSizeMax> content;
    const size_t size = wire::encode_request(content, request);
    const size_t padding = wire::padding_for(preamble_size, size, wire::kRequestFlightMultiple);
    return wire::seal_record_copy(services.keys.context(stream.seal.key, stream.seal.key_tag), stream.seal.key, out,
                                  Bytes(content).first(size), wire::ContentType::control, padding);
}

}  // namespace

size_t seal_first_flight(EngineServices& services, Stream& stream, SharedSession& session, const wire::Request& request,
                         MutableBytes out) {
    wire::Random client_random;
    crypto::random_bytes(client_random);
    const uint64_t stream_no = session.next_stream.fetch_add(1, std::memory_order_relaxed);
    auto& schedule = stream.opening->schedule.emplace(session.suite, session.data_secret.bytes(), session.id, stream_no,
                                                      client_random);
    stream.seal.key = schedule.client_to_node();
    stream.seal.key_tag = services.next_key_tag++;
    wire::encode_client_preamble(out.first<wire::kClientPreambleSize>(), session.header_key.bytes(), client_random,
                                 session.id, stream_no);
    return wire::kClientPreambleSize +
           seal_request(services, stream, request, wire::kClientPreambleSize, out.subspan(wire::kClientPreambleSize));
}

size_t seal_later_request(EngineServices& services, Stream& stream, const wire::Request& request, MutableBytes out) {
    return seal_request(services, stream, request, 0, out);
}

}  // namespace qanat::dataplane
