#include "common/handshake/node_id.h"

#include <gtest/gtest.h>

#include <utility>

#include "tests/unit/common/handshake/vector_file.h"

namespace qanat {
namespace {

using Kind = NodeIdError::Kind;

PublicKey some_key(uint8_t seed) {
    PublicKey key;
    for (size_t i = 0; i < key.size(); ++i) key[i] = static_cast<uint8_t>(seed * 31 + i * 7);
    return key;
}

TEST(NodeId, known_answers) {
    for (const auto& vector : testing::read_vectors(QANAT_NOISE_VECTORS "/session.txt")) {
        const KeyPair node = make_key_pair(vector.secret("node_static"));
        EXPECT_EQ(encode_node_id(node.public_key), vector.text("node_id"));
        EXPECT_EQ(decode_node_id(vector.text("node_id")), node.public_key);
    }
}

TEST(NodeId, round_trip) {
    for (unsigned seed = 0; seed < 256; ++seed) {
        const std::string id = encode_node_id(some_key(static_cast<uint8_t>(seed)));
        ASSERT_EQ(id.size(), kNodeIdLength);
        EXPECT_EQ(id.find_first_not_of("abcdefghijklmnopqrstuvwxyz234567"), std::string::npos);
        EXPECT_EQ(decode_node_id(id), some_key(static_cast<uint8_t>(seed)));
    }
}

TEST(NodeId, wrong_length) {
    const std::string id = encode_node_id(some_key(1));
    for (size_t length : {0u, 1u, 55u, 57u, 1000u}) {
        std::string text = id;
        text.resize(length, 'a');
        const auto decoded = decode_node_id(text);
        ASSERT_FALSE(decoded);
        EXPECT_EQ(decoded.error().kind, Kind::wrong_length);
        EXPECT_EQ(decoded.error().length, length);
    }
    EXPECT_EQ(decode_node_id(id + "=").error().message(), "a node id has 56 characters, this has 57");
}

TEST(NodeId, bad_character) {
    const std::string id = encode_node_id(some_key(1));
    for (size_t i = 0; i < id.size(); ++i) {
        for (const char c : {'A', '0', '1', '8', '9', '=', ' ', '\n', '\0', '\x7f', '\xff', '{', '`'}) {
            std::string text = id;
            text[i] = c;
            const auto decoded = decode_node_id(text);
            ASSERT_FALSE(decoded);
            EXPECT_EQ(decoded.error().kind, Kind::bad_character);
            EXPECT_EQ(decoded.error().position, i);
            EXPECT_EQ(decoded.error().character, c);
        }
    }
    std::string text = id;
    text[3] = '1';
    EXPECT_EQ(decode_node_id(text).error().message(),
              "'1' at position 4 cannot be in a node id, which has only a-z and 2-7");
    text[3] = '\n';
    EXPECT_EQ(decode_node_id(text).error().message(),
              "a character at position 4 cannot be in a node id, which has only a-z and 2-7");
}

TEST(NodeId, one_wrong_letter_is_noticed) {
    const std::string id = encode_node_id(some_key(1));
    for (size_t i = 0; i < id.size(); ++i) {
        std::string text = id;
        text[i] = text[i] == 'a' ? 'b' : 'a';
        const auto decoded = decode_node_id(text);
        ASSERT_FALSE(decoded) << i;
        EXPECT_EQ(decoded.error().kind, Kind::bad_check_sum);
    }
    std::string swapped = id;
    for (size_t i = 0; i + 1 < id.size(); ++i) {
        if (id[i] == id[i + 1]) continue;
        swapped = id;
        std::swap(swapped[i], swapped[i + 1]);
        EXPECT_FALSE(decode_node_id(swapped)) << i;
    }
    EXPECT_EQ(decode_node_id(swapped).error().message(), "the node id has a typing error: its check sum does not fit");
}

}  // namespace
}  // namespace qanat
