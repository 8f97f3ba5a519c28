#include "common/wire/preamble.h"

#include <gtest/gtest.h>

#include "common/base/bytes.h"
#include "tests/vectors/vector_file.h"

namespace qanat::wire {
namespace {

constexpr std::array<uint8_t, 32> kKey{1, 2, 3};

std::array<uint8_t, kClientPreambleSize> client_preamble(const Random& random, uint64_t session_id,
                                                         uint64_t stream_no) {
    std::array<uint8_t, kClientPreambleSize> out;
    encode_client_preamble(out, kKey, random, session_id, stream_no);
    return out;
}

TEST(ClientPreamble, GoesThrough) {
    Random random;
    random.fill(0xf7);  // also the largest counter byte values
    for (const uint64_t number : {uint64_t{0}, uint64_t{1}, UINT64_MAX}) {
        const auto decoded = decode_client_preamble(client_preamble(random, number, ~number), kKey);
        ASSERT_TRUE(decoded);
        EXPECT_EQ(decoded->client_random, random);
        EXPECT_EQ(decoded->session_id, number);
        EXPECT_EQ(decoded->stream_no, ~number);
    }
}

TEST(ClientPreamble, OnlyTheHeaderIsChecked) {
    const auto preamble = client_preamble({5}, 6, 7);
    for (size_t bit = 0; bit < 8 * preamble.size(); ++bit) {
        auto changed = preamble;
        changed[bit / 8] ^= static_cast<uint8_t>(1 << bit % 8);
        const auto decoded = decode_client_preamble(changed, kKey);
        ASSERT_EQ(decoded.has_value(), bit >= 40) << bit;
        if (decoded) {
            // The mask depends on the first half of client_random; the second half counts in the key schedule only.
            const bool unmasked_right = decoded->session_id == 6 && decoded->stream_no == 7;
            EXPECT_EQ(unmasked_right, bit >= 8 * (5 + 16) && bit < 8 * (5 + 32)) << bit;
        }
    }
    const std::array<uint8_t, 32> other_key{9};
    const auto decoded = decode_client_preamble(preamble, other_key);
    ASSERT_TRUE(decoded);
    EXPECT_NE(decoded->session_id, 6u);
}

TEST(ClientPreamble, TheNumbersAreHidden) {
    const auto one = client_preamble({1}, 6, 7);
    const auto two = client_preamble({2}, 6, 7);
    EXPECT_FALSE(std::equal(one.begin() + 37, one.end(), two.begin() + 37));
}

TEST(NodePreamble, GoesThrough) {
    Random random;
    random.fill(0x5a);
    std::array<uint8_t, kNodePreambleSize> preamble;
    encode_node_preamble(preamble, random);
    EXPECT_TRUE(std::equal(preamble.begin(), preamble.begin() + 5, test::from_hex("1703030020").begin()));
    for (size_t bit = 0; bit < 40; ++bit) {
        auto changed = preamble;
        changed[bit / 8] ^= static_cast<uint8_t>(1 << bit % 8);
        EXPECT_FALSE(decode_node_preamble(changed)) << bit;
    }
    const auto decoded = decode_node_preamble(preamble);
    ASSERT_TRUE(decoded);
    EXPECT_EQ(decoded->server_random, random);
}

}  // namespace
}  // namespace qanat::wire
