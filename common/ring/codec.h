// Validation of ring messages: the trust boundary between the planes. Pure functions over bytes.
//
// A message that passes can be used without a further check of the fields named here. What it means (does this
// session exist, is this part the next one of its plan) remains for the receiver to decide.
#pragma once

#include <cstdint>
#include <string_view>

#include "common/base/bytes.h"
#include "common/ring/messages.h"

namespace qanat::ring {

// Replay window that a node may ask of its engine, in stream numbers: 512 KiB of bits.
inline constexpr uint32_t kSessionWindowMax = 1U << 22;

// errno values travel as they are, positive; the kernel has none above this.
inline constexpr int32_t kErrnoMax = 4095;

enum class CodecError : uint8_t {
    none = 0,
    unknown_type,
    bad_size,        // not exactly the size of the message's struct
    bad_enum,        // an enum or flag out of range
    bad_count,       // a count or size above its cap, or none where one must be
    bad_parts,       // first + count > total, or an empty part of something
    bad_endpoint,    // family other than 4 and 6
    bad_prefix,      // more prefix bits than the family has
    bad_session,     // session id 0, or a window that is none
    bad_connection,  // number in the range of the other plane
    bad_node,        // node number out of range
    bad_errno,       // negative or too large
    bad_padding,     // a byte that is not in use is not zero
};

// Checks a whole message: exact size, enums, flags, counts, parts, addresses, unused bytes. Any bytes, any alignment.
[[nodiscard]] CodecError validate(MessageType type, Bytes bytes);

// Size of the struct of a message, 0 for types that do not exist.
[[nodiscard]] uint32_t message_size(MessageType type);

// The message holds key material (InstallSession, NodeKeys, Users): copies of it are wiped after use.
[[nodiscard]] bool carries_secrets(MessageType type);

[[nodiscard]] std::string_view codec_error_name(CodecError error);

}  // namespace qanat::ring
