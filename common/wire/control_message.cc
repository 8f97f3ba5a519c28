#include "common/wire/control_message.h"

#include <array>

#include "common/base/assert.h"

namespace qanat::wire {

namespace {

using Kind = ControlMessage::Kind;

constexpr uint16_t kLoadMax = 10000;

// An address and no name: whoever is to be connected to has been seen there.
Result<Endpoint, ControlMessageError> decode_endpoint(ByteReader& reader) {
    if (!reader.ok()) return fail_with(ControlMessageError::bad_length);
    const auto target = Target::decode(reader);
    if (!target)
        return fail_with(target.error() == AddressError::incomplete ? ControlMessageError::bad_length
                                                                    : ControlMessageError::bad_field);
    if (target->is_name()) return fail_with(ControlMessageError::bad_field);
    return target->endpoint();
}

bool answers_policy(StreamStatus status) {
    return status == StreamStatus::ok || status == StreamStatus::denied || status == StreamStatus::name_not_found ||
           status == StreamStatus::name_unresolved;
}

}  // namespace

size_t encode_control_message(MutableBytes out, const ControlMessage& message) {
    ByteWriter writer(out);
    writer.u8(static_cast<uint8_t>(message.kind));
    if (message.kind != Kind::draining) writer.u64(message.token);
    switch (message.kind) {
        case Kind::ping:
        case Kind::draining:
            break;
        case Kind::pong:
            QANAT_ASSERT(message.load <= kLoadMax);
            writer.u16(message.load);
            break;
        case Kind::ask_policy:
            message.target.encode(writer);
            break;
        case Kind::policy_answer:
            QANAT_ASSERT(answers_policy(message.status));
            writer.u8(static_cast<uint8_t>(message.status));
            writer.u8(static_cast<uint8_t>(message.reason.text().size()));
            writer.bytes(as_bytes(message.reason.text()));
            break;
        case Kind::punch:
            QANAT_ASSERT(message.delay_ms <= kPunchDelayMaxMs);
            writer.u16(message.delay_ms);
            encode_endpoint(writer, message.address);
            break;
        case Kind::punch_answer:
            QANAT_ASSERT(message.punch == PunchStatus::ready || message.address == Endpoint{});
            writer.u8(static_cast<uint8_t>(message.punch));
            encode_endpoint(writer, message.address);
            break;
    }
    QANAT_ASSERT(writer.ok());
    return writer.size();
}

Result<ControlMessage, ControlMessageError> decode_control_message(Bytes content) {
    ByteReader reader(content);
    const uint8_t kind = reader.u8();
    if (!reader.ok()) return fail_with(ControlMessageError::bad_length);
    if (kind < 1 || kind > 7) return fail_with(ControlMessageError::unknown_message);
    ControlMessage message;
    message.kind = static_cast<Kind>(kind);
    if (message.kind != Kind::draining) message.token = reader.u64();
    switch (message.kind) {
        case Kind::ping:
        case Kind::draining:
            break;
        case Kind::pong:
            message.load = reader.u16();
            if (message.load > kLoadMax) return fail_with(ControlMessageError::bad_field);
            break;
        case Kind::ask_policy: {
            if (!reader.ok()) return fail_with(ControlMessageError::bad_length);
            const auto target = Target::decode(reader);
            if (!target)
                return fail_with(target.error() == AddressError::incomplete ? ControlMessageError::bad_length
                                                                            : ControlMessageError::bad_field);
            message.target = *target;
            break;
        }
        case Kind::policy_answer: {
            const auto status = static_cast<StreamStatus>(reader.u8());
            const uint8_t size = reader.u8();
            const Bytes reason = reader.bytes(size);
            if (!reader.ok()) return fail_with(ControlMessageError::bad_length);
            if (!answers_policy(status) || size > kReasonSizeMax) return fail_with(ControlMessageError::bad_field);
            message.status = status;
            message.reason = Reason(as_text(reason));
            break;
        }
        case Kind::punch: {
            message.delay_ms = reader.u16();
            const auto address = decode_endpoint(reader);
            if (!address) return fail_with(address.error());
            if (message.delay_ms > kPunchDelayMaxMs) return fail_with(ControlMessageError::bad_field);
            message.address = *address;
            break;
        }
        case Kind::punch_answer: {
            const uint8_t status = reader.u8();
            const auto address = decode_endpoint(reader);
            if (!address) return fail_with(address.error());
            if (status > static_cast<uint8_t>(PunchStatus::impossible))
                return fail_with(ControlMessageError::bad_field);
            message.punch = static_cast<PunchStatus>(status);
            if (message.punch != PunchStatus::ready && *address != Endpoint{})
                return fail_with(ControlMessageError::bad_field);
            message.address = *address;
            break;
        }
    }
    if (!reader.ok() || reader.remaining() != 0) return fail_with(ControlMessageError::bad_length);
    return message;
}

size_t seal_control_record(const crypto::Aead& aead, DirectionKey& key, MutableBytes out,
                           const ControlMessage& message) {
    std::array<uint8_t, kControlRecordSizeMax - kRecordOverhead> content;
    const size_t size = encode_control_message(content, message);
    return seal_record_copy(aead, key, out.first(message.record_size()), Bytes(content).first(size),
                            ContentType::control, message.record_size() - kRecordOverhead - size);
}

}  // namespace qanat::wire
