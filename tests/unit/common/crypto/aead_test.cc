#include "common/crypto/aead.h"

#include <gtest/gtest.h>
#include <sodium.h>

#include <random>
#include <thread>

#include "tests/vectors/vector_file.h"

namespace qanat::crypto {
namespace {

using test::VectorCase;

constexpr Suite kSuites[] = {Suite::aes_128_gcm, Suite::aes_256_gcm, Suite::chacha20_poly1305};

std::vector<uint8_t> random_vector(std::mt19937_64& random, size_t size) {
    std::vector<uint8_t> bytes;
    bytes.reserve(size + 1);  // never a null pointer, which libsodium declares not to take
    while (bytes.size() < size) bytes.push_back(static_cast<uint8_t>(random()));
    return bytes;
}

Aead::Nonce as_nonce(const std::vector<uint8_t>& bytes) {
    return Aead::Nonce(bytes);
}

void check_published(const VectorCase& c, Suite suite) {
    SCOPED_TRACE("key " + c.text("k") + " nonce " + c.text("n"));
    const auto nonce = c.bytes("n");
    const auto aad = c.bytes("a");
    const auto sealed = c.bytes("c");
    const auto tag = c.bytes("t");
    Aead aead;
    aead.expand(suite, c.bytes("k"));
    std::vector<uint8_t> data = sealed;
    const bool opened = aead.open(as_nonce(nonce), aad, data.data(), data.size(), tag.data());
    ASSERT_EQ(opened, !c.has("bad"));
    if (!opened) return;
    EXPECT_EQ(data, c.bytes("p"));
    std::vector<uint8_t> sealed_tag(kAeadTagSize);
    aead.seal(as_nonce(nonce), aad, data.data(), data.size(), sealed_tag.data());
    EXPECT_EQ(data, sealed);
    EXPECT_EQ(sealed_tag, tag);
}

TEST(Aead, PublishedAesGcm) {
    if (!Aead::supports(Suite::aes_128_gcm)) GTEST_SKIP() << "no AES on this machine";
    const auto cases = test::read_vectors("aes_gcm.txt");
    EXPECT_EQ(cases.size(), 400u);
    for (const auto& c : cases) check_published(c, c.text("k").size() == 32 ? Suite::aes_128_gcm : Suite::aes_256_gcm);
}

TEST(Aead, PublishedChaCha20Poly1305) {
    const auto cases = test::read_vectors("chacha20_poly1305.txt");
    EXPECT_EQ(cases.size(), 71u);
    for (const auto& c : cases) check_published(c, Suite::chacha20_poly1305);
}

TEST(Aead, WycheproofAesGcm) {
    if (!Aead::supports(Suite::aes_128_gcm)) GTEST_SKIP() << "no AES on this machine";
    const auto cases = test::read_vectors("wycheproof_aes_gcm.txt");
    EXPECT_EQ(cases.size(), 133u);
    for (const auto& c : cases) check_published(c, c.text("k").size() == 32 ? Suite::aes_128_gcm : Suite::aes_256_gcm);
}

TEST(Aead, WycheproofChaCha20Poly1305) {
    const auto cases = test::read_vectors("wycheproof_chacha20_poly1305.txt");
    EXPECT_EQ(cases.size(), 316u);
    for (const auto& c : cases) check_published(c, Suite::chacha20_poly1305);
}

// libsodium is another implementation of the two suites with 256-bit keys.
class Oracle {
public:
    static bool available(Suite suite) {
        if (sodium_init() < 0) return false;
        if (suite == Suite::aes_256_gcm) return crypto_aead_aes256gcm_is_available() == 1;
        return suite == Suite::chacha20_poly1305;
    }
    static std::vector<uint8_t> seal(Suite suite, const std::vector<uint8_t>& key, const std::vector<uint8_t>& nonce,
                                     const std::vector<uint8_t>& aad, const std::vector<uint8_t>& plain) {
        std::vector<uint8_t> out(plain.size() + kAeadTagSize);
        const auto encrypt =
            suite == Suite::aes_256_gcm ? crypto_aead_aes256gcm_encrypt : crypto_aead_chacha20poly1305_ietf_encrypt;
        encrypt(out.data(), nullptr, plain.data(), plain.size(), aad.data(), aad.size(), nullptr, nonce.data(),
                key.data());
        return out;
    }
};

TEST(Aead, AgreesWithLibsodium) {
    std::mt19937_64 random(4);
    std::vector<size_t> sizes;
    for (size_t size = 0; size <= 300; ++size) sizes.push_back(size);
    for (size_t size = 511; size <= 16384; size = size * 2 + 1) {
        for (const size_t near : {size - 1, size, size + 1, size + 2}) sizes.push_back(near);
    }
    for (int i = 0; i < 100; ++i) sizes.push_back(random() % 16402);
    for (const Suite suite : {Suite::aes_256_gcm, Suite::chacha20_poly1305}) {
        if (!Aead::supports(suite) || !Oracle::available(suite)) continue;
        for (const size_t size : sizes) {
            SCOPED_TRACE(std::string(suite_name(suite)) + " " + std::to_string(size));
            const auto key = random_vector(random, 32);
            const auto nonce = random_vector(random, kNonceSize);
            const auto aad = random_vector(random, random() % 40);
            const auto plain = random_vector(random, size);
            // The offset makes unaligned data the usual case, as in a record.
            const size_t offset = random() % 16;
            std::vector<uint8_t> buffer(offset + size + kAeadTagSize);
            std::copy(plain.begin(), plain.end(), buffer.begin() + static_cast<ptrdiff_t>(offset));
            uint8_t* const data = buffer.data() + offset;
            Aead aead;
            aead.expand(suite, key);
            aead.seal(as_nonce(nonce), aad, data, size, data + size);
            ASSERT_EQ(std::vector<uint8_t>(data, data + size + kAeadTagSize),
                      Oracle::seal(suite, key, nonce, aad, plain));
            ASSERT_TRUE(aead.open(as_nonce(nonce), aad, data, size, data + size));
            ASSERT_EQ(std::vector<uint8_t>(data, data + size), plain);
        }
    }
}

TEST(Aead, EveryChangedBitIsNoticed) {
    std::mt19937_64 random(5);
    for (const Suite suite : kSuites) {
        if (!Aead::supports(suite)) continue;
        const auto key = random_vector(random, key_size(suite));
        const auto nonce = random_vector(random, kNonceSize);
        const auto aad = random_vector(random, 5);
        std::vector<uint8_t> sealed = random_vector(random, 50 + kAeadTagSize);
        Aead aead;
        aead.expand(suite, key);
        aead.seal(as_nonce(nonce), aad, sealed.data(), 50, sealed.data() + 50);
        const auto opens = [&](std::vector<uint8_t> data, const std::vector<uint8_t>& n,
                               const std::vector<uint8_t>& a) {
            return aead.open(as_nonce(n), a, data.data(), 50, data.data() + 50);
        };
        ASSERT_TRUE(opens(sealed, nonce, aad));
        const auto flipped = [](std::vector<uint8_t> bytes, size_t bit) {
            bytes[bit / 8] ^= static_cast<uint8_t>(1 << bit % 8);
            return bytes;
        };
        for (size_t bit = 0; bit < 8 * sealed.size(); ++bit) ASSERT_FALSE(opens(flipped(sealed, bit), nonce, aad));
        for (size_t bit = 0; bit < 8 * nonce.size(); ++bit) ASSERT_FALSE(opens(sealed, flipped(nonce, bit), aad));
        for (size_t bit = 0; bit < 8 * aad.size(); ++bit) ASSERT_FALSE(opens(sealed, nonce, flipped(aad, bit)));
        for (size_t bit = 0; bit < 8 * key.size(); ++bit) {
            Aead other;
            other.expand(suite, flipped(key, bit));
            std::vector<uint8_t> data = sealed;
            ASSERT_FALSE(other.open(as_nonce(nonce), aad, data.data(), 50, data.data() + 50));
        }
    }
}

TEST(Aead, NothingIsReleasedWhenTheTagIsWrong) {
    std::mt19937_64 random(6);
    for (const Suite suite : kSuites) {
        if (!Aead::supports(suite)) continue;
        const std::vector<uint8_t> nonce(kNonceSize), plain(100, 0x55);
        std::vector<uint8_t> data = plain, tag(kAeadTagSize);
        Aead aead;
        aead.expand(suite, random_vector(random, key_size(suite)));
        aead.seal(as_nonce(nonce), {}, data.data(), data.size(), tag.data());
        tag[0] ^= 1;
        ASSERT_FALSE(aead.open(as_nonce(nonce), {}, data.data(), data.size(), tag.data()));
        EXPECT_NE(data, plain);
    }
}

TEST(Aead, CanBeExpandedAgainForAnotherSuite) {
    const std::vector<uint8_t> nonce(kNonceSize);
    Aead aead;
    EXPECT_FALSE(aead.ready());
    for (int round = 0; round < 2; ++round) {
        for (const Suite suite : kSuites) {
            if (!Aead::supports(suite)) continue;
            const std::vector<uint8_t> key(key_size(suite), 3);
            Aead fresh;
            fresh.expand(suite, key);
            aead.expand(suite, key);
            EXPECT_TRUE(aead.ready());
            std::vector<uint8_t> a(40), b(40);
            aead.seal(as_nonce(nonce), {}, a.data(), 24, a.data() + 24);
            fresh.seal(as_nonce(nonce), {}, b.data(), 24, b.data() + 24);
            EXPECT_EQ(a, b);
        }
    }
    aead.wipe();
    EXPECT_FALSE(aead.ready());
}

TEST(Aead, ThreadsShareOneExpandedKey) {
    for (const Suite suite : kSuites) {
        if (!Aead::supports(suite)) continue;
        Aead aead;
        aead.expand(suite, std::vector<uint8_t>(key_size(suite), 1));
        const auto work = [&aead](uint8_t id, bool& all_opened) {
            std::vector<uint8_t> nonce(kNonceSize, id), data(1000 + kAeadTagSize, id);
            all_opened = true;
            for (int i = 0; i < 500; ++i) {
                aead.seal(as_nonce(nonce), {}, data.data(), 1000, data.data() + 1000);
                all_opened = all_opened && aead.open(as_nonce(nonce), {}, data.data(), 1000, data.data() + 1000);
            }
        };
        bool first = false, second = false;
        std::thread other(work, uint8_t{1}, std::ref(first));
        work(2, second);
        other.join();
        EXPECT_TRUE(first && second);
    }
}

TEST(Aead, NamesItsProvider) {
    const std::string name = Aead::provider_name();
    EXPECT_TRUE(name.starts_with("ipsec-mb ") || name.starts_with("libsodium ")) << name;
}

}  // namespace
}  // namespace qanat::crypto
