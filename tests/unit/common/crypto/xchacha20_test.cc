#include "common/crypto/xchacha20.h"

#include <gtest/gtest.h>

#include <array>
#include <string_view>
#include <vector>

namespace qanat::crypto {
namespace {

std::vector<uint8_t> from_hex(std::string_view hex) {
    const auto digit = [](char c) { return static_cast<unsigned>(c <= '9' ? c - '0' : c - 'a' + 10); };
    std::vector<uint8_t> bytes;
    for (size_t i = 0; i + 1 < hex.size(); i += 2)
        bytes.push_back(static_cast<uint8_t>(digit(hex[i]) << 4 | digit(hex[i + 1])));
    return bytes;
}

// draft-irtf-cfrg-xchacha-03, appendix A.3.1.
struct Vector {
    std::vector<uint8_t> key = from_hex("808182838485868788898a8b8c8d8e8f909192939495969798999a9b9c9d9e9f");
    std::vector<uint8_t> nonce = from_hex("404142434445464748494a4b4c4d4e4f5051525354555657");
    std::vector<uint8_t> aad = from_hex("50515253c0c1c2c3c4c5c6c7");
    std::string_view plain =
        "Ladies and Gentlemen of the class of '99: If I could offer you only one tip for the future, sunscreen would "
        "be it.";
    std::vector<uint8_t> sealed = from_hex(
        "bd6d179d3e83d43b9576579493c0e939572a1700252bfaccbed2902c21396cbb731c7f1b0b4aa6440bf3a82f4eda7e39"
        "ae64c6708c54c216cb96b72e1213b4522f8c9ba40db5d945b11b69b982c1bb9e3f3fac2bc369488f76b2383565d3fff9"
        "21f9664c97637da9768812f615c68b13b52ec0875924c1c7987947deafd8780acf49");

    [[nodiscard]] std::span<const uint8_t, 32> key_bytes() const { return std::span(key).first<32>(); }
    [[nodiscard]] std::span<const uint8_t, 24> nonce_bytes() const { return std::span(nonce).first<24>(); }
};

TEST(XChaCha20, KnownAnswer) {
    const Vector v;
    std::vector<uint8_t> sealed(v.plain.size() + kXChaChaTagSize);
    xchacha20_seal(v.key_bytes(), v.nonce_bytes(), v.aad, as_bytes(v.plain), sealed);
    EXPECT_EQ(sealed, v.sealed);
    std::vector<uint8_t> plain(v.plain.size());
    ASSERT_TRUE(xchacha20_open(v.key_bytes(), v.nonce_bytes(), v.aad, v.sealed, plain));
    EXPECT_EQ(as_text(plain), v.plain);
}

TEST(XChaCha20, EveryBitCounts) {
    const Vector v;
    std::vector<uint8_t> plain(v.plain.size(), 1);
    for (size_t i = 0; i < v.sealed.size() * 8; ++i) {
        std::vector<uint8_t> damaged = v.sealed;
        damaged[i / 8] = static_cast<uint8_t>(damaged[i / 8] ^ 1U << i % 8);
        ASSERT_FALSE(xchacha20_open(v.key_bytes(), v.nonce_bytes(), v.aad, damaged, plain)) << i;
    }
    EXPECT_EQ(plain, std::vector<uint8_t>(plain.size()));
    std::vector<uint8_t> aad = v.aad;
    aad.back() ^= 1;
    EXPECT_FALSE(xchacha20_open(v.key_bytes(), v.nonce_bytes(), aad, v.sealed, plain));
}

TEST(XChaCha20, Edges) {
    const Vector v;
    std::array<uint8_t, kXChaChaTagSize> empty{};
    xchacha20_seal(v.key_bytes(), v.nonce_bytes(), {}, {}, empty);
    EXPECT_TRUE(xchacha20_open(v.key_bytes(), v.nonce_bytes(), {}, empty, {}));
    EXPECT_FALSE(xchacha20_open(v.key_bytes(), v.nonce_bytes(), {}, Bytes(empty).first(kXChaChaTagSize - 1), {}));
    EXPECT_FALSE(xchacha20_open(v.key_bytes(), v.nonce_bytes(), {}, {}, {}));
}

}  // namespace
}  // namespace qanat::crypto
