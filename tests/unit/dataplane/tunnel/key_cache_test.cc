#include "dataplane/tunnel/key_cache.h"

#include <gtest/gtest.h>

#include <map>
#include <random>

namespace qanat::dataplane {
namespace {

wire::DirectionKey key_number(uint64_t number, crypto::Suite suite = crypto::Suite::chacha20_poly1305) {
    wire::DirectionKey key;
    key.suite = suite;
    for (size_t i = 0; i < 8; ++i) key.key[i] = static_cast<uint8_t>(number >> 8 * i);
    return key;
}

// What a record sealed under this context looks like: tells keys apart.
std::array<uint8_t, 24> fingerprint(const crypto::Aead& aead) {
    const std::array<uint8_t, crypto::kNonceSize> nonce{};
    std::array<uint8_t, 24> sealed{};
    aead.seal(nonce, {}, sealed.data(), 8, sealed.data() + 8);
    return sealed;
}

std::array<uint8_t, 24> fingerprint_of_key(const wire::DirectionKey& key) {
    crypto::Aead aead;
    aead.expand(key.suite, key.key_bytes());
    return fingerprint(aead);
}

TEST(KeyCache, sizes) {
    EXPECT_EQ(KeyCache().entries(), KeyCache::kEntries);
    EXPECT_EQ(KeyCache(0).entries(), 4U);
    EXPECT_EQ(KeyCache(1).entries(), 4U);
    EXPECT_EQ(KeyCache(4).entries(), 4U);
    EXPECT_EQ(KeyCache(5).entries(), 8U);
    EXPECT_EQ(KeyCache(100).entries(), 128U);
}

TEST(KeyCache, hit_and_miss) {
    KeyCache cache(16);
    const auto key = key_number(1);
    const crypto::Aead* const first = &cache.context(key, 0);  // 0 is a tag like any other
    EXPECT_EQ(cache.misses(), 1U);
    EXPECT_EQ(fingerprint(*first), fingerprint_of_key(key));
    EXPECT_EQ(&cache.context(key, 0), first);
    EXPECT_EQ(cache.hits(), 1U);
    EXPECT_EQ(fingerprint(cache.context(key_number(2), 1)), fingerprint_of_key(key_number(2)));
    EXPECT_EQ(cache.misses(), 2U);
}

TEST(KeyCache, forget_and_wipe) {
    KeyCache cache(16);
    const crypto::Aead* const entry = &cache.context(key_number(1), 7);
    (void)cache.context(key_number(2), 8);
    cache.forget(7);
    EXPECT_FALSE(entry->ready());
    cache.forget(7);
    cache.forget(1234);
    EXPECT_EQ(fingerprint(cache.context(key_number(3), 7)), fingerprint_of_key(key_number(3)));
    (void)cache.context(key_number(2), 8);
    EXPECT_EQ(cache.hits(), 1U);
    cache.wipe();
    EXPECT_EQ(fingerprint(cache.context(key_number(4), 8)), fingerprint_of_key(key_number(4)));
}

TEST(KeyCache, one_set_holds_four_and_lets_the_first_go) {
    KeyCache cache(4);
    for (uint64_t tag = 0; tag < 4; ++tag) (void)cache.context(key_number(tag), tag);
    for (uint64_t tag = 0; tag < 4; ++tag) (void)cache.context(key_number(tag), tag);
    EXPECT_EQ(cache.hits(), 4U);
    (void)cache.context(key_number(4), 4);
    for (uint64_t tag = 1; tag < 5; ++tag) (void)cache.context(key_number(tag), tag);
    EXPECT_EQ(cache.hits(), 8U);
    EXPECT_EQ(cache.misses(), 5U);
    (void)cache.context(key_number(0), 0);
    EXPECT_EQ(cache.misses(), 6U);
}

TEST(KeyCache, a_free_entry_is_filled_before_one_is_driven_out) {
    KeyCache cache(4);
    for (uint64_t tag = 0; tag < 4; ++tag) (void)cache.context(key_number(tag), tag);
    cache.forget(2);
    (void)cache.context(key_number(9), 9);
    for (const uint64_t tag : {0U, 1U, 3U, 9U}) (void)cache.context(key_number(tag), tag);
    EXPECT_EQ(cache.hits(), 4U);
}

TEST(KeyCache, every_suite) {
    KeyCache cache(8);
    for (const crypto::Suite suite :
         {crypto::Suite::aes_128_gcm, crypto::Suite::aes_256_gcm, crypto::Suite::chacha20_poly1305}) {
        if (!crypto::Aead::supports(suite)) continue;
        const auto key = key_number(99, suite);
        EXPECT_EQ(fingerprint(cache.context(key, static_cast<uint64_t>(suite))), fingerprint_of_key(key));
    }
}

// Tags that differ in any one bit are different keys, wherever they land.
TEST(KeyCache, never_a_wrong_key) {
    KeyCache cache(16);
    std::mt19937_64 random(11);
    std::map<uint64_t, std::array<uint8_t, 24>> expected;
    std::vector<uint64_t> tags{0};
    for (unsigned bit = 0; bit < 64; ++bit) tags.push_back(uint64_t{1} << bit);
    for (const uint64_t tag : tags) expected[tag] = fingerprint_of_key(key_number(tag));
    for (int step = 0; step < 20000; ++step) {
        const uint64_t tag = tags[random() % (step % 2 == 0 ? tags.size() : 8)];
        if (random() % 16 == 0) cache.forget(tag);
        ASSERT_EQ(fingerprint(cache.context(key_number(tag), tag)), expected[tag]) << tag;
    }
    EXPECT_GT(cache.hits(), 1000U);
    EXPECT_GT(cache.misses(), 1000U);
}

// Two directions of a few hundred busy streams live side by side.
TEST(KeyCache, a_working_set_of_half_the_entries_hardly_misses) {
    KeyCache cache;
    constexpr uint64_t kKeys = KeyCache::kEntries / 2;
    for (int round = 0; round < 10; ++round)
        for (uint64_t tag = 0; tag < kKeys; ++tag) (void)cache.context(key_number(tag), tag << 20);
    EXPECT_LT(cache.misses(), kKeys * 2);
}

}  // namespace
}  // namespace qanat::dataplane
