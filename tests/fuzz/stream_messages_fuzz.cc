// REQUEST, RESPONSE, control messages and preambles: what decodes encodes to something that decodes to the same. Byte
// 0: which one.
#include <algorithm>

#include "common/wire/control_message.h"
#include "common/wire/preamble.h"
#include "common/wire/stream_messages.h"
#include "tests/fuzz/fuzz_input.h"

namespace {

using namespace qanat;

void check_request(Bytes input) {
    const auto request = wire::decode_request(input);
    if (!request || request->kind == wire::RequestKind::udp) return;  // reserved: it is not encoded
    std::array<uint8_t, wire::kRequestSizeMax> bytes;
    const size_t size = wire::encode_request(bytes, *request);
    const auto again = wire::decode_request(Bytes(bytes).first(size));
    FUZZ_CHECK(again.has_value() && again->kind == request->kind && again->keep == request->keep);
    FUZZ_CHECK(again->target == request->target);
    FUZZ_CHECK(again->next.id == request->next.id && again->next.hint == request->next.hint);
}

void check_response(Bytes input) {
    const auto response = wire::decode_response(input);
    if (!response) return;
    std::array<uint8_t, wire::kResponseSizeMax> bytes;
    const size_t size = wire::encode_response(bytes, *response);
    const auto again = wire::decode_response(Bytes(bytes).first(size));
    FUZZ_CHECK(again.has_value() && again->status == response->status && again->kept == response->kept);
    FUZZ_CHECK(again->reason.text() == response->reason.text());
    if (response->status == wire::StreamStatus::ok) FUZZ_CHECK(again->bound == response->bound);  // else it is not sent
    FUZZ_CHECK(!wire::stream_status_name(response->status).empty());
}

void check_control_message(Bytes input) {
    const auto message = wire::decode_control_message(input);
    if (!message) return;
    std::array<uint8_t, wire::kControlRecordSizeMax> bytes;
    const size_t size = wire::encode_control_message(bytes, *message);
    FUZZ_CHECK(wire::decode_control_message(Bytes(bytes).first(size)) == *message);
}

void check_taken(Bytes input) {
    const auto taken = wire::decode_taken(input);
    if (!taken) return;
    std::array<uint8_t, wire::kTakenSize> bytes;
    const size_t size = wire::encode_taken(bytes, *taken);
    const auto again = wire::decode_taken(Bytes(bytes).first(size));
    FUZZ_CHECK(again.has_value() && again->source == taken->source && again->waiting == taken->waiting);
}

void check_preamble(Bytes input) {
    if (input.size() < wire::kClientPreambleSize) return;
    const auto in = input.first<wire::kClientPreambleSize>();
    const std::array<uint8_t, 32> k_hdr{1, 2, 3};
    const auto preamble = wire::decode_client_preamble(in, k_hdr);
    if (!preamble) return;
    std::array<uint8_t, wire::kClientPreambleSize> out;
    wire::encode_client_preamble(out, k_hdr, preamble->client_random, preamble->session_id, preamble->stream_no);
    FUZZ_CHECK(std::ranges::equal(out, in));
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
    Bytes input(data, size);
    switch (fuzz::take_byte(input) % 5) {
        case 0:
            check_request(input);
            break;
        case 1:
            check_response(input);
            break;
        case 2:
            check_control_message(input);
            break;
        case 3:
            check_taken(input);
            break;
        default:
            check_preamble(input);
            break;
    }
    return 0;
}
