#include "common/wire/stream_messages.h"

#include <algorithm>

#include "common/base/assert.h"
#include "common/wire/record.h"

namespace qanat::wire {

namespace {

constexpr uint8_t kRequestByte = 0xf0;
constexpr uint8_t kResponseByte = 0xf1;
constexpr uint8_t kTakenByte = 0xf2;
constexpr size_t kPrefixSize = 4;  // first byte and u24 length
constexpr uint16_t kTlvEnd = 0;
constexpr uint16_t kTlvReason = 1;
constexpr uint16_t kTlvKept = 2;
constexpr uint16_t kTlvMustUnderstand = 0x8000;
constexpr uint8_t kFlagKeep = 1;

// Writes the length field when the body is done.
void finish_length(MutableBytes out, size_t size) {
    ByteWriter(out.subspan(1, kPrefixSize - 1)).u24(static_cast<uint32_t>(size - kPrefixSize));
}

// Checks the first byte and the length and gives what follows.
Result<Bytes, MessageError> message_body(Bytes content, uint8_t first_byte) {
    if (content.empty() || content[0] != first_byte) return fail_with(MessageError::wrong_message);
    ByteReader reader(content.subspan(1));
    const uint32_t length = reader.u24();
    if (!reader.ok() || length != reader.remaining()) return fail_with(MessageError::bad_length);
    return content.subspan(kPrefixSize);
}

MessageError to_message_error(AddressError error) {
    switch (error) {
        case AddressError::incomplete:
            return MessageError::bad_length;
        case AddressError::unknown_type:
            return MessageError::unknown_address_type;
        case AddressError::invalid:
            return MessageError::bad_address;
    }
    QANAT_ASSERT(false);
}

void encode_next(ByteWriter& writer, const NextNode& next) {
    writer.bytes(next.id);
    writer.u8(next.hint ? 1 : 0);
    if (next.hint) encode_endpoint(writer, *next.hint);
}

Result<NextNode, MessageError> decode_next(ByteReader& reader) {
    NextNode next;
    reader.copy_to(next.id);
    const uint8_t has_hint = reader.u8();
    if (!reader.ok()) return fail_with(MessageError::bad_length);
    if (has_hint > 1) return fail_with(MessageError::bad_address);
    if (has_hint == 0) return next;
    const auto hint = Target::decode(reader);
    if (!hint) return fail_with(to_message_error(hint.error()));
    if (hint->is_name()) return fail_with(MessageError::bad_address);
    next.hint = hint->endpoint();
    return next;
}

// Reads TLVs to their end and gives each to `take(type, value)`, which says whether it knew the type. False if one does
// not fit in or must be understood and is not. What follows the end marker is ignored.
template <class Take>
bool read_tlvs(ByteReader& in, Take take) {
    while (in.remaining() > 0) {
        const uint16_t type = in.u16();
        if (in.ok() && type == kTlvEnd) return true;
        const uint16_t size = in.u16();
        const Bytes value = in.bytes(size);
        if (!in.ok()) return false;
        if (!take(type, value) && (type & kTlvMustUnderstand) != 0) return false;
    }
    return in.ok();
}

}  // namespace

std::string_view stream_status_name(StreamStatus status) {
    switch (status) {
        case StreamStatus::ok:
            return "ok";
        case StreamStatus::general_failure:
            return "general_failure";
        case StreamStatus::denied:
            return "denied";
        case StreamStatus::network_unreachable:
            return "network_unreachable";
        case StreamStatus::host_unreachable:
            return "host_unreachable";
        case StreamStatus::connection_refused:
            return "connection_refused";
        case StreamStatus::timed_out:
            return "timed_out";
        case StreamStatus::kind_not_supported:
            return "kind_not_supported";
        case StreamStatus::address_type_not_supported:
            return "address_type_not_supported";
        case StreamStatus::name_not_found:
            return "name_not_found";
        case StreamStatus::name_unresolved:
            return "name_unresolved";
        case StreamStatus::at_capacity:
            return "at_capacity";
        case StreamStatus::draining:
            return "draining";
        case StreamStatus::next_unknown:
            return "next_unknown";
        case StreamStatus::next_unreachable:
            return "next_unreachable";
        case StreamStatus::relay_limit:
            return "relay_limit";
        case StreamStatus::parked:
            return "parked";
    }
    QANAT_ASSERT(false);
}

uint8_t socks5_reply(StreamStatus status) {
    switch (status) {
        case StreamStatus::ok:
        case StreamStatus::general_failure:
        case StreamStatus::denied:
        case StreamStatus::network_unreachable:
        case StreamStatus::host_unreachable:
        case StreamStatus::connection_refused:
        case StreamStatus::timed_out:
        case StreamStatus::kind_not_supported:
        case StreamStatus::address_type_not_supported:
            return static_cast<uint8_t>(status);
        case StreamStatus::name_not_found:
        case StreamStatus::name_unresolved:
            return static_cast<uint8_t>(StreamStatus::host_unreachable);
        case StreamStatus::at_capacity:
        case StreamStatus::draining:
        case StreamStatus::next_unknown:
        case StreamStatus::next_unreachable:
        case StreamStatus::relay_limit:
        case StreamStatus::parked:
            return static_cast<uint8_t>(StreamStatus::general_failure);
    }
    QANAT_ASSERT(false);
}

Reason::Reason(std::string_view text) {
    size_t size = std::min(text.size(), kReasonSizeMax);
    if (size < text.size()) {
        // Back to the beginning of the character that does not fit; bytes 10xxxxxx are inside one.
        while (size > 0 && (static_cast<uint8_t>(text[size]) & 0xc0) == 0x80) --size;
    }
    std::copy_n(text.begin(), size, text_.begin());
    size_ = static_cast<uint8_t>(size);
}

size_t encode_request(MutableBytes out, const Request& request) {
    QANAT_ASSERT(!request.keep || request.kind == RequestKind::connect);
    ByteWriter writer(out);
    writer.u8(kRequestByte);
    writer.u24(0);
    writer.u8(static_cast<uint8_t>(request.kind));
    writer.u8(request.keep ? kFlagKeep : 0);
    if (request.kind == RequestKind::connect) request.target.encode(writer);
    if (request.kind == RequestKind::forward) encode_next(writer, request.next);
    QANAT_ASSERT(writer.ok());
    finish_length(out, writer.size());
    return writer.size();
}

size_t encode_response(MutableBytes out, const Response& response) {
    ByteWriter writer(out);
    writer.u8(kResponseByte);
    writer.u24(0);
    writer.u8(static_cast<uint8_t>(response.status));
    encode_endpoint(writer, response.status == StreamStatus::ok ? response.bound : Endpoint{});
    if (!response.reason.empty()) {
        writer.u16(kTlvReason);
        writer.u16(static_cast<uint16_t>(response.reason.text().size()));
        writer.bytes(as_bytes(response.reason.text()));
    }
    if (response.kept) {
        writer.u16(kTlvKept);
        writer.u16(0);
    }
    QANAT_ASSERT(writer.ok());
    finish_length(out, writer.size());
    return writer.size();
}

Result<Request, MessageError> decode_request(Bytes content) {
    const auto body = message_body(content, kRequestByte);
    if (!body) return fail_with(body.error());
    ByteReader reader(*body);
    const uint8_t kind = reader.u8();
    const uint8_t flags = reader.u8();
    if (!reader.ok()) return fail_with(MessageError::bad_length);
    if (kind < 1 || kind > 6) return fail_with(MessageError::unknown_kind);
    // A flag nobody knows may change what is asked for; it must not be answered as if it were not there.
    const uint8_t known_flags = kind == static_cast<uint8_t>(RequestKind::connect) ? kFlagKeep : 0;
    if ((flags & ~known_flags) != 0) return fail_with(MessageError::unknown_flags);

    Request request;
    request.kind = static_cast<RequestKind>(kind);
    request.keep = (flags & kFlagKeep) != 0;
    if (request.kind == RequestKind::udp) return request;
    if (request.kind == RequestKind::connect) {
        const auto target = Target::decode(reader);
        if (!target) return fail_with(to_message_error(target.error()));
        request.target = *target;
    }
    if (request.kind == RequestKind::forward) {
        const auto next = decode_next(reader);
        if (!next) return fail_with(next.error());
        request.next = *next;
    }
    const auto none_known = [](uint16_t, Bytes) { return false; };
    if (!read_tlvs(reader, none_known)) return fail_with(MessageError::bad_tlv);
    return request;
}

Result<Response, MessageError> decode_response(Bytes content) {
    const auto body = message_body(content, kResponseByte);
    if (!body) return fail_with(body.error());
    ByteReader reader(*body);
    const uint8_t status = reader.u8();
    if (!reader.ok()) return fail_with(MessageError::bad_length);
    const auto address = Target::decode(reader);
    if (!address) return fail_with(to_message_error(address.error()));
    if (address->is_name()) return fail_with(MessageError::bad_address);

    Response response;
    const bool known = status <= static_cast<uint8_t>(StreamStatus::relay_limit) ||
                       status == static_cast<uint8_t>(StreamStatus::parked);
    response.status = known ? static_cast<StreamStatus>(status) : StreamStatus::general_failure;
    response.bound = address->endpoint();
    bool bad_size = false;
    const bool tlvs_ok = read_tlvs(reader, [&](uint16_t type, Bytes value) {
        switch (type) {
            case kTlvReason:
                bad_size |= value.size() > kReasonSizeMax;
                response.reason = Reason(as_text(value));
                return true;
            case kTlvKept:
                bad_size |= !value.empty();
                response.kept = true;
                return true;
            default:
                return false;
        }
    });
    if (!tlvs_ok || bad_size) return fail_with(MessageError::bad_tlv);
    return response;
}

size_t encode_taken(MutableBytes out, const Taken& taken) {
    ByteWriter writer(out);
    writer.u8(kTakenByte);
    writer.u24(0);
    writer.bytes(taken.source);
    writer.u16(taken.waiting);
    QANAT_ASSERT(writer.ok());
    finish_length(out, writer.size());
    return writer.size();
}

Result<Taken, MessageError> decode_taken(Bytes content) {
    const auto body = message_body(content, kTakenByte);
    if (!body) return fail_with(body.error());
    ByteReader reader(*body);
    Taken taken;
    reader.copy_to(taken.source);
    taken.waiting = reader.u16();
    if (!reader.ok()) return fail_with(MessageError::bad_length);
    const auto none_known = [](uint16_t, Bytes) { return false; };
    if (!read_tlvs(reader, none_known)) return fail_with(MessageError::bad_tlv);
    return taken;
}

size_t padding_for(size_t preamble_size, size_t content_size, size_t multiple) {
    QANAT_ASSERT(content_size <= kContentSizeMax);
    QANAT_ASSERT(multiple > 0);
    const size_t unpadded = preamble_size + kRecordOverhead + content_size;
    const size_t padding = (multiple - unpadded % multiple) % multiple;
    return std::min(padding, kContentSizeMax - content_size);
}

}  // namespace qanat::wire
