#include "common/crypto/suite.h"

#include <gtest/gtest.h>

#include "common/crypto/aead.h"
#include "common/crypto/cpu.h"

namespace qanat::crypto {
namespace {

TEST(Suite, IdsAndNamesGoBothWays) {
    for (int id = 0; id < 256; ++id) {
        const auto suite = suite_from_id(static_cast<uint8_t>(id));
        ASSERT_EQ(suite.has_value(), id >= 1 && id <= 3) << id;
        if (!suite) continue;
        EXPECT_EQ(static_cast<int>(*suite), id);
        EXPECT_EQ(suite_from_name(suite_name(*suite)), suite);
    }
    EXPECT_EQ(suite_name(Suite::aes_128_gcm), "aes-128-gcm");
    EXPECT_EQ(suite_name(Suite::aes_256_gcm), "aes-256-gcm");
    EXPECT_EQ(suite_name(Suite::chacha20_poly1305), "chacha20-poly1305");
    EXPECT_FALSE(suite_from_name(""));
    EXPECT_FALSE(suite_from_name("AES-128-GCM"));
}

TEST(Suite, KeySizes) {
    EXPECT_EQ(key_size(Suite::aes_128_gcm), 16u);
    EXPECT_EQ(key_size(Suite::aes_256_gcm), 32u);
    EXPECT_EQ(key_size(Suite::chacha20_poly1305), 32u);
}

TEST(Suite, AesNeedsHardware) {
    EXPECT_TRUE(Aead::supports(Suite::chacha20_poly1305));
    if (!has_aes_hardware()) {
        EXPECT_FALSE(Aead::supports(Suite::aes_128_gcm));
    }
    EXPECT_EQ(Aead::supports(Suite::aes_128_gcm), Aead::supports(Suite::aes_256_gcm));
}

}  // namespace
}  // namespace qanat::crypto
