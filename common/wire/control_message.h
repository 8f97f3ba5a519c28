// Control messages: what client and node tell each other on the control connection, in records of 128 bytes, or of
// 512 for the two that carry text (docs/PROTOCOL.md, section 3.2).
#pragma once

#include <cstddef>
#include <cstdint>

#include "common/base/bytes.h"
#include "common/base/result.h"
#include "common/crypto/aead.h"
#include "common/wire/address.h"
#include "common/wire/record.h"
#include "common/wire/stream_messages.h"

namespace qanat::wire {

inline constexpr size_t kControlRecordSize = 128;
inline constexpr size_t kControlRecordSizeMax = 512;

// What a node says to a PUNCH (section 6.3).
enum class PunchStatus : uint8_t {
    ready = 0,       // it will connect to the client in a moment, from the address that it names
    busy = 1,        // not now: try again later
    impossible = 2,  // it does not punch, or not towards that address
};
inline constexpr uint16_t kPunchDelayMaxMs = 1000;

struct ControlMessage {
    enum class Kind : uint8_t {
        ping = 1,
        pong = 2,
        draining = 3,
        ask_policy = 4,
        policy_answer = 5,
        punch = 6,
        punch_answer = 7,
    };

    Kind kind = Kind::ping;
    uint64_t token = 0;                      // of all but draining; an answer carries its question's
    uint16_t load = 0;                       // of pong: share of the node's streams in use, in 1/10000
    Target target{};                         // of ask_policy: would the exit connect to this?
    StreamStatus status = StreamStatus::ok;  // of policy_answer: ok, denied, name_not_found or name_unresolved
    Reason reason{};                         // of policy_answer: the rule, for people
    // Of punch: the address that the client connects from, as a relay sees it. Of punch_answer: the node's, when it is
    // ready; else 0.0.0.0:0.
    Endpoint address{};
    uint16_t delay_ms = 0;                   // of punch: between the node's answer and its first packet to the client
    PunchStatus punch = PunchStatus::ready;  // of punch_answer

    friend bool operator==(const ControlMessage&, const ControlMessage&) = default;

    [[nodiscard]] size_t record_size() const {
        return kind == Kind::ask_policy || kind == Kind::policy_answer ? kControlRecordSizeMax : kControlRecordSize;
    }
};

enum class ControlMessageError : uint8_t {
    unknown_message,
    bad_length,  // too short or too long for its kind
    bad_field,   // an address or a status that this version does not know, a load or a delay out of range
};

// Writes the content (message ‖ body) and returns its size.
[[nodiscard]] size_t encode_control_message(MutableBytes out, const ControlMessage& message);
[[nodiscard]] Result<ControlMessage, ControlMessageError> decode_control_message(Bytes content);

// Encodes and seals a message into a record of exactly message.record_size() bytes and returns that size, or 0 if the
// key is exhausted. `out` has room for it.
[[nodiscard]] size_t seal_control_record(const crypto::Aead& aead, DirectionKey& key, MutableBytes out,
                                         const ControlMessage& message);

}  // namespace qanat::wire
