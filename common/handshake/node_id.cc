#include "common/handshake/node_id.h"

#include <algorithm>
#include <array>
#include <cstring>

#include "common/base/assert.h"
#include "common/crypto/sha256.h"

namespace qanat {
namespace {

constexpr std::string_view kAlphabet = "abcdefghijklmnopqrstuvwxyz234567";  // RFC 4648, section 6, in lower case
constexpr size_t kCheckSumSize = 3;
constexpr size_t kIdSize = 32 + kCheckSumSize;
static_assert(kIdSize * 8 == kNodeIdLength * 5);

using IdBytes = std::array<uint8_t, kIdSize>;

IdBytes with_check_sum(const PublicKey& public_key) {
    const crypto::Sha256Digest digest = crypto::sha256({as_bytes("qanat1 id"), public_key});
    IdBytes bytes;
    std::memcpy(bytes.data(), public_key.data(), public_key.size());
    std::memcpy(bytes.data() + public_key.size(), digest.data(), kCheckSumSize);
    return bytes;
}

}  // namespace

std::string NodeIdError::message() const {
    switch (kind) {
        case Kind::wrong_length:
            return "a node id has " + std::to_string(kNodeIdLength) + " characters, this has " + std::to_string(length);
        case Kind::bad_character: {
            const bool printable = character > ' ' && character <= '~';
            const std::string shown = printable ? std::string("'") + character + "'" : "a character";
            return shown + " at position " + std::to_string(position + 1) +
                   " cannot be in a node id, which has only a-z and 2-7";
        }
        case Kind::bad_check_sum:
            return "the node id has a typing error: its check sum does not fit";
    }
    QANAT_ASSERT(false);
}

std::string encode_node_id(const PublicKey& public_key) {
    std::string id;
    id.reserve(kNodeIdLength);
    uint32_t buffer = 0;
    unsigned bits = 0;
    for (const uint8_t byte : with_check_sum(public_key)) {
        buffer = buffer << 8 | byte;
        for (bits += 8; bits >= 5; bits -= 5) id.push_back(kAlphabet[buffer >> (bits - 5) & 31]);
    }
    return id;
}

Result<PublicKey, NodeIdError> decode_node_id(std::string_view id) {
    using Kind = NodeIdError::Kind;
    if (id.size() != kNodeIdLength) return fail_with(NodeIdError{.kind = Kind::wrong_length, .length = id.size()});
    IdBytes bytes{};
    size_t size = 0;
    uint32_t buffer = 0;
    unsigned bits = 0;
    for (size_t i = 0; i < id.size(); ++i) {
        const size_t value = kAlphabet.find(id[i]);
        if (value == std::string_view::npos)
            return fail_with(NodeIdError{.kind = Kind::bad_character, .position = i, .character = id[i]});
        buffer = buffer << 5 | static_cast<uint32_t>(value);
        bits += 5;
        if (bits >= 8) {
            bits -= 8;
            bytes[size++] = static_cast<uint8_t>(buffer >> bits);
        }
    }
    PublicKey public_key;
    std::copy_n(bytes.begin(), public_key.size(), public_key.begin());
    if (bytes != with_check_sum(public_key)) return fail_with(NodeIdError{.kind = Kind::bad_check_sum});
    return public_key;
}

}  // namespace qanat
