#include "dataplane/tunnel/chain.h"

#include "common/crypto/aead.h"
#include "common/wire/record.h"

namespace qanat::dataplane {
namespace {

std::optional<wire::Endpoint> hint_of(const ring::RingEndpoint& next) {
    if (next.family == 0) return std::nullopt;
    const wire::IpAddress ip = next.family == 4 ? wire::IpAddress::from_v4(std::span(next.ip).first<4>())
                                                : wire::IpAddress::from_v6(std::span(next.ip).first<16>());
    return wire::Endpoint{.ip = ip, .port = next.port};
}

// One preamble and REQUEST FORWARD. A key of a single record: expanded here, kept nowhere.
size_t seal_forward(MutableBytes out, SharedSession& session, uint64_t stream_no, const wire::Random& random,
                    const wire::StreamKeySchedule& schedule, const wire::NextNode& next) {
    wire::encode_client_preamble(out.first<wire::kClientPreambleSize>(), session.header_key.bytes(), random, session.id,
                                 stream_no);
    std::array<uint8_t, wire::kRequestSizeMax> request;
    const size_t request_size =
        wire::encode_request(request, {.kind = wire::RequestKind::forward, .target = {}, .next = next});
    const size_t padding = wire::padding_for(wire::kClientPreambleSize, request_size, wire::kRequestFlightMultiple);
    wire::DirectionKey key = schedule.client_to_node();
    crypto::Aead aead;
    aead.expand(key.suite, key.key_bytes());
    const size_t record_size =
        wire::seal_record_copy(aead, key, out.subspan(wire::kClientPreambleSize), Bytes(request).first(request_size),
                               wire::ContentType::control, padding);
    key.wipe();
    return wire::kClientPreambleSize + record_size;
}

}  // namespace

bool Chain::usable(const SessionTable& sessions, std::span<const ring::Via> via) {
    for (const ring::Via& relay : via)
        if (sessions.current_for_node(relay.node) == nullptr) return false;
    return true;
}

bool Chain::begin(const SessionTable& sessions, std::span<const ring::Via> via, const std::array<uint8_t, 32>& last) {
    wipe();
    count_ = via.size();
    for (size_t i = 0; i < count_; ++i) {
        hops_[i].node = via[i].node;
        hops_[i].next = {.id = last, .hint = hint_of(via[i].next)};
        const SharedSession* session = sessions.current_for_node(via[i].node);
        if (session == nullptr) {
            answered_ = i;  // at() is this one
            return false;
        }
        hops_[i].session_id = session->id;
        if (i > 0) hops_[i - 1].next.id = session->peer;
    }
    return true;
}

std::optional<size_t> Chain::compose(const SessionTable& sessions, MutableBytes out,
                                     std::span<const wire::Random, ring::kViaMax> random) {
    for (size_t i = 0; i < count_; ++i) {
        if (sessions.find(hops_[i].session_id) != nullptr) continue;
        answered_ = i;
        return std::nullopt;
    }
    size_t size = 0;
    for (size_t i = 0; i < count_; ++i) {
        Hop& hop = hops_[i];
        SharedSession& session = *sessions.find(hop.session_id);
        const uint64_t stream_no = session.next_stream.fetch_add(1, std::memory_order_relaxed);
        hop.schedule.emplace(session.suite, session.data_secret.bytes(), session.id, stream_no, random[i]);
        size += seal_forward(out.subspan(size), session, stream_no, random[i], *hop.schedule, hop.next);
    }
    return size;
}

Chain::Step Chain::feed(MutableBytes received) {
    size_t consumed = 0;
    while (!open()) {
        Step step = answer_of(*hops_[answered_].schedule, received.subspan(consumed));
        consumed += step.consumed;
        step.consumed = consumed;
        if (step.kind != Step::Kind::open) return step;
        hops_[answered_].schedule.reset();
        ++answered_;
    }
    return {.kind = Step::Kind::open, .consumed = consumed};
}

// `open` stands for this one relay.
Chain::Step Chain::answer_of(const wire::StreamKeySchedule& schedule, MutableBytes received) const {
    constexpr Step kNeedMore{.kind = Step::Kind::need_more, .consumed = 0};
    constexpr Step kMalformed{.kind = Step::Kind::malformed, .consumed = 0};
    // The preamble may come alone: the answer is looked at when it is whole.
    if (received.size() < wire::kNodePreambleSize) return kNeedMore;
    const auto preamble = wire::decode_node_preamble(received.first<wire::kNodePreambleSize>());
    if (!preamble) return kMalformed;
    const MutableBytes records = received.subspan(wire::kNodePreambleSize);
    if (records.size() < wire::kRecordHeaderSize) return kNeedMore;
    const auto size = wire::record_size(records);
    if (!size || *size > kAnswerMax - wire::kNodePreambleSize) return kMalformed;
    if (records.size() < *size) return kNeedMore;

    wire::DirectionKey key = schedule.node_to_client(preamble->server_random);
    crypto::Aead aead;
    aead.expand(key.suite, key.key_bytes());
    const auto record = wire::open_record(aead, key, records.first(*size));
    key.wipe();
    if (!record || record->type != wire::ContentType::control) return kMalformed;
    const auto response = wire::decode_response(record->content);
    if (!response || response->status == wire::StreamStatus::parked) return kMalformed;
    return {.kind = response->status == wire::StreamStatus::ok ? Step::Kind::open : Step::Kind::refused,
            .consumed = wire::kNodePreambleSize + *size,
            .status = response->status};
}

bool Chain::uses(uint64_t session_id) const {
    for (size_t i = 0; i < count_; ++i)
        if (hops_[i].session_id == session_id) return true;
    return false;
}

void Chain::wipe() {
    for (size_t i = 0; i < count_; ++i) hops_[i] = Hop{};
    count_ = answered_ = 0;
}

}  // namespace qanat::dataplane
