#include "common/crypto/sha256.h"

#include <gtest/gtest.h>
#include <sodium.h>

#include <random>

#include "common/crypto/cpu.h"
#include "tests/vectors/vector_file.h"

namespace qanat::crypto {
namespace {

using test::from_hex;

std::vector<uint8_t> to_vector(Bytes bytes) {
    return {bytes.begin(), bytes.end()};
}

std::vector<uint8_t> random_vector(std::mt19937_64& random, size_t size) {
    std::vector<uint8_t> bytes;
    bytes.reserve(size + 1);  // never a null pointer, which libsodium declares not to take
    while (bytes.size() < size) bytes.push_back(static_cast<uint8_t>(random()));
    return bytes;
}

TEST(Sha256, Fips180Examples) {
    EXPECT_EQ(to_vector(sha256({})), from_hex("e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"));
    EXPECT_EQ(to_vector(sha256({as_bytes("abc")})),
              from_hex("ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"));
    EXPECT_EQ(to_vector(sha256({as_bytes("abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq")})),
              from_hex("248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1"));
    const std::string million(1'000'000, 'a');
    EXPECT_EQ(to_vector(sha256({as_bytes(million)})),
              from_hex("cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0"));
}

TEST(Sha256, AgreesWithLibsodiumAtEverySize) {
    std::mt19937_64 random(1);
    const auto data = random_vector(random, 400);
    for (size_t size = 0; size <= data.size(); ++size) {
        Sha256Digest expected;
        crypto_hash_sha256(expected.data(), data.data(), size);
        ASSERT_EQ(sha256({Bytes(data).first(size)}), expected) << size;
    }
}

TEST(Sha256, PiecesDoNotMatter) {
    std::mt19937_64 random(2);
    const auto data = random_vector(random, 200);
    const Sha256Digest expected = sha256({data});
    for (size_t first = 0; first <= data.size(); ++first) {
        for (const size_t second : {size_t{0}, size_t{1}, size_t{63}, size_t{64}, size_t{65}, size_t{128}}) {
            if (first + second > data.size()) continue;
            ASSERT_EQ(sha256({Bytes(data).first(first), Bytes(data).subspan(first, second),
                              Bytes(data).subspan(first + second)}),
                      expected);
        }
    }
}

TEST(Sha256, ACopyGoesOnFromTheSamePoint) {
    Sha256 a;
    a.update(as_bytes("stem "));
    Sha256 b = a;
    Sha256Digest left, right;
    a.update(as_bytes("left")).finish(left);
    b.update(as_bytes("right")).finish(right);
    EXPECT_EQ(left, sha256({as_bytes("stem left")}));
    EXPECT_EQ(right, sha256({as_bytes("stem right")}));
}

TEST(HmacSha256, Rfc4231) {
    const std::vector<uint8_t> key1(20, 0x0b);
    EXPECT_EQ(to_vector(hmac_sha256(key1, {as_bytes("Hi There")})),
              from_hex("b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7"));
    EXPECT_EQ(to_vector(hmac_sha256(as_bytes("Jefe"), {as_bytes("what do ya want "), as_bytes("for nothing?")})),
              from_hex("5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"));
    const std::vector<uint8_t> key6(131, 0xaa);
    EXPECT_EQ(to_vector(hmac_sha256(key6, {as_bytes("Test Using Larger Than Block-Size Key - Hash Key First")})),
              from_hex("60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54"));
}

TEST(HmacSha256, AgreesWithLibsodiumForEveryKeySize) {
    std::mt19937_64 random(3);
    for (size_t key_size = 0; key_size <= 130; ++key_size) {
        const auto key = random_vector(random, key_size);
        const auto data = random_vector(random, random() % 300);
        crypto_auth_hmacsha256_state state;
        Sha256Digest expected;
        crypto_auth_hmacsha256_init(&state, key.data(), key.size());
        crypto_auth_hmacsha256_update(&state, data.data(), data.size());
        crypto_auth_hmacsha256_final(&state, expected.data());
        ASSERT_EQ(hmac_sha256(key, {data}), expected) << key_size;
    }
}

TEST(HmacSha256, OneKeyServesAnyNumberOfTimes) {
    const HmacSha256 hmac(as_bytes("key"));
    for (const std::string_view text : {"one", "two", ""}) {
        Sha256Digest mac;
        hmac.mac(mac, {as_bytes(text)});
        EXPECT_EQ(mac, hmac_sha256(as_bytes("key"), {as_bytes(text)}));
    }
}

TEST(HmacSha256, TheResultMayOverlapTheKey) {
    Sha256Digest buffer = sha256({as_bytes("key")});
    const Sha256Digest expected = hmac_sha256(buffer, {buffer, as_bytes("x")});
    hmac_sha256(buffer, buffer, {buffer, as_bytes("x")});
    EXPECT_EQ(buffer, expected);
}

TEST(Mac16, IsTheBeginningOfHmac) {
    const Sha256Digest whole = hmac_sha256(as_bytes("key"), {as_bytes("data")});
    const Mac16 mac = mac16(as_bytes("key"), {as_bytes("da"), as_bytes("ta")});
    EXPECT_TRUE(equal_constant_time(mac, Bytes(whole).first(16)));
    EXPECT_FALSE(equal_constant_time(mac, whole));
    Mac16 other = mac;
    other[15] ^= 1;
    EXPECT_FALSE(equal_constant_time(mac, other));
    EXPECT_TRUE(equal_constant_time({}, {}));
}

}  // namespace
}  // namespace qanat::crypto
