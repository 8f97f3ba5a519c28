// The public id of an identity, PROTOCOL section 2: base32(S ‖ SHA256("qanat1 id" ‖ S)[0..3)), lower case, no padding.
// It is what people copy into config files, so every mistake in one is told precisely.
#pragma once

#include <string>
#include <string_view>

#include "common/base/result.h"
#include "common/handshake/key_pair.h"

namespace qanat {

// 35 bytes are 280 bits are 56 characters: no padding bits, so each id has one spelling.
inline constexpr size_t kNodeIdLength = 56;

struct NodeIdError {
    enum class Kind { wrong_length, bad_character, bad_check_sum };
    Kind kind;
    size_t length = 0;    // wrong_length: what was given
    size_t position = 0;  // bad_character: counted from 0
    char character = 0;   // bad_character: which one

    // One line for a person, without the id itself: it may be a secret pasted into the wrong field.
    [[nodiscard]] std::string message() const;
};

[[nodiscard]] std::string encode_node_id(const PublicKey& public_key);
[[nodiscard]] Result<PublicKey, NodeIdError> decode_node_id(std::string_view id);

}  // namespace qanat
