#include "common/crypto/chacha20.h"

#include <gtest/gtest.h>

#include "tests/vectors/vector_file.h"

namespace qanat::crypto {
namespace {

using test::from_hex;

std::vector<uint8_t> keystream(const std::vector<uint8_t>& key, uint32_t counter, const std::vector<uint8_t>& nonce) {
    std::vector<uint8_t> data(16);
    chacha20_xor16(std::span<uint8_t, 16>(data), std::span<const uint8_t, 32>(key), counter,
                   std::span<const uint8_t, 12>(nonce));
    return data;
}

TEST(ChaCha20, Rfc8439) {
    // Section 2.3.2 and appendix A.1, vectors 1, 2 and 5.
    std::vector<uint8_t> counting;
    for (uint8_t i = 0; i < 32; ++i) counting.push_back(i);
    EXPECT_EQ(keystream(counting, 1, from_hex("000000090000004a00000000")),
              from_hex("10f1e7e4d13b5915500fdd1fa32071c4"));
    const std::vector<uint8_t> zero_key(32), zero_nonce(12);
    EXPECT_EQ(keystream(zero_key, 0, zero_nonce), from_hex("76b8e0ada0f13d90405d6ae55386bd28"));
    EXPECT_EQ(keystream(zero_key, 1, zero_nonce), from_hex("9f07e7be5551387a98ba977c732d080d"));
    EXPECT_EQ(keystream(zero_key, 0, from_hex("000000000000000000000002")),
              from_hex("c2c64d378cd536374ae204b9ef933fcd"));
}

TEST(ChaCha20, IsItsOwnInverse) {
    const std::vector<uint8_t> key(32, 7), nonce(12, 9);
    std::vector<uint8_t> data = from_hex("000102030405060708090a0b0c0d0e0f");
    for (int i = 0; i < 2; ++i) {
        chacha20_xor16(std::span<uint8_t, 16>(data), std::span<const uint8_t, 32>(key), 0xffffffff,
                       std::span<const uint8_t, 12>(nonce));
    }
    EXPECT_EQ(data, from_hex("000102030405060708090a0b0c0d0e0f"));
}

}  // namespace
}  // namespace qanat::crypto
