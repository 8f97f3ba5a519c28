#include "dataplane/tunnel/observation.h"

#include <array>

#include "common/base/assert.h"
#include "common/crypto/aead.h"
#include "common/wire/record.h"

namespace qanat::dataplane {

void Observation::compose(std::span<uint8_t, kFlightSize> out, SharedSession& session, const wire::Random& random) {
    const uint64_t stream_no = session.next_stream.fetch_add(1, std::memory_order_relaxed);
    schedule_.emplace(session.suite, session.data_secret.bytes(), session.id, stream_no, random);
    wire::encode_client_preamble(out.first<wire::kClientPreambleSize>(), session.header_key.bytes(), random, session.id,
                                 stream_no);
    std::array<uint8_t, wire::kRequestSizeMax> request;
    const size_t size = wire::encode_request(request, {.kind = wire::RequestKind::observe});
    const size_t padding = wire::padding_for(wire::kClientPreambleSize, size, wire::kRequestFlightMultiple);
    wire::DirectionKey key = schedule_->client_to_node();
    crypto::Aead aead;
    aead.expand(key.suite, key.key_bytes());
    const size_t sealed = wire::seal_record_copy(aead, key, out.subspan<wire::kClientPreambleSize>(),
                                                 Bytes(request).first(size), wire::ContentType::control, padding);
    key.wipe();
    QANAT_ASSERT(sealed == kFlightSize - wire::kClientPreambleSize);
}

Observation::Step Observation::feed(MutableBytes received) {
    QANAT_ASSERT(schedule_.has_value());
    constexpr Step kNeedMore{.kind = Step::Kind::need_more};
    constexpr Step kMalformed{.kind = Step::Kind::malformed};
    if (received.size() < wire::kNodePreambleSize + wire::kRecordHeaderSize) return kNeedMore;
    const auto preamble = wire::decode_node_preamble(received.first<wire::kNodePreambleSize>());
    if (!preamble) return kMalformed;
    const MutableBytes records = received.subspan(wire::kNodePreambleSize);
    const auto size = wire::record_size(records);
    if (!size || *size > kAnswerMax - wire::kNodePreambleSize) return kMalformed;
    if (records.size() < *size) return kNeedMore;

    wire::DirectionKey key = schedule_->node_to_client(preamble->server_random);
    crypto::Aead aead;
    aead.expand(key.suite, key.key_bytes());
    const auto record = wire::open_record(aead, key, records.first(*size));
    key.wipe();
    if (!record || record->type != wire::ContentType::control) return kMalformed;
    const auto response = wire::decode_response(record->content);
    if (!response || response->status == wire::StreamStatus::parked) return kMalformed;
    if (response->status != wire::StreamStatus::ok) return {.kind = Step::Kind::refused, .status = response->status};
    return {.kind = Step::Kind::observed, .address = response->bound};
}

}  // namespace qanat::dataplane
