// Control messages: PING, PONG and DRAINING in records of 128 bytes on the control connection (docs/PROTOCOL.md,
// section 3.2).
#pragma once

#include <cstddef>
#include <cstdint>

#include "common/base/bytes.h"
#include "common/base/result.h"
#include "common/crypto/aead.h"
#include "common/wire/record.h"

namespace qanat::wire {

inline constexpr size_t kControlRecordSize = 128;
inline constexpr size_t kControlContentSizeMax = kControlRecordSize - kRecordOverhead;

struct ControlMessage {
    enum class Kind : uint8_t { ping = 1, pong = 2, draining = 3 };

    Kind kind = Kind::ping;
    uint64_t token = 0;  // of ping and pong; a pong carries its ping's

    friend bool operator==(const ControlMessage&, const ControlMessage&) = default;
};

enum class ControlMessageError : uint8_t {
    unknown_message,
    bad_length,  // too short or too long for its kind
};

// Writes the content (message ‖ body) and returns its size, at most kControlContentSizeMax.
[[nodiscard]] size_t encode_control_message(MutableBytes out, const ControlMessage& message);
[[nodiscard]] Result<ControlMessage, ControlMessageError> decode_control_message(Bytes content);

// Encodes and seals a message into a record of exactly kControlRecordSize bytes and returns that size, or 0 if the key
// is exhausted.
[[nodiscard]] size_t seal_control_record(const crypto::Aead& aead, DirectionKey& key,
                                         std::span<uint8_t, kControlRecordSize> out, const ControlMessage& message);

}  // namespace qanat::wire
