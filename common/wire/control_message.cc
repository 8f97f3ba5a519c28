#include "common/wire/control_message.h"

#include <array>

#include "common/base/assert.h"

namespace qanat::wire {

namespace {
constexpr size_t kTokenSize = 8;
}  // namespace

size_t encode_control_message(MutableBytes out, const ControlMessage& message) {
    ByteWriter writer(out);
    writer.u8(static_cast<uint8_t>(message.kind));
    if (message.kind != ControlMessage::Kind::draining) writer.u64(message.token);
    QANAT_ASSERT(writer.ok());
    return writer.size();
}

Result<ControlMessage, ControlMessageError> decode_control_message(Bytes content) {
    ByteReader reader(content);
    const uint8_t kind = reader.u8();
    if (!reader.ok()) return fail_with(ControlMessageError::bad_length);
    if (kind < 1 || kind > 3) return fail_with(ControlMessageError::unknown_message);
    ControlMessage message{static_cast<ControlMessage::Kind>(kind), 0};
    const size_t body_size = message.kind == ControlMessage::Kind::draining ? 0 : kTokenSize;
    if (reader.remaining() != body_size) return fail_with(ControlMessageError::bad_length);
    if (body_size > 0) message.token = reader.u64();
    return message;
}

size_t seal_control_record(const crypto::Aead& aead, DirectionKey& key, std::span<uint8_t, kControlRecordSize> out,
                           const ControlMessage& message) {
    std::array<uint8_t, 1 + kTokenSize> content;
    const size_t size = encode_control_message(content, message);
    return seal_record_copy(aead, key, out, Bytes(content).first(size), ContentType::control,
                            kControlContentSizeMax - size);
}

}  // namespace qanat::wire
