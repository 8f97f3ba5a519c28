#include "common/handshake/seen_ephemerals.h"

#include <gtest/gtest.h>

#include <cstring>

namespace qanat::handshake {
namespace {

PublicKey ephemeral_of(uint64_t number) {
    PublicKey ephemeral{};
    std::memcpy(ephemeral.data(), &number, sizeof(number));
    return ephemeral;
}

Secret<16> some_key() {
    return Secret<16>(std::array<uint8_t, 16>{1, 2, 3});
}

TEST(SeenEphemerals, remembers_once) {
    SeenEphemerals seen(some_key());
    EXPECT_FALSE(seen.contains(ephemeral_of(1)));
    EXPECT_TRUE(seen.insert(ephemeral_of(1)));
    EXPECT_TRUE(seen.contains(ephemeral_of(1)));
    EXPECT_FALSE(seen.insert(ephemeral_of(1)));
    EXPECT_FALSE(seen.contains(ephemeral_of(2)));
}

TEST(SeenEphemerals, the_last_generation_is_always_known) {
    constexpr uint64_t kCapacity = SeenEphemerals::kGenerationCapacity;
    SeenEphemerals seen(some_key());
    auto insert_to = [&, next = uint64_t{0}](uint64_t end) mutable {
        for (; next < end; ++next) ASSERT_TRUE(seen.insert(ephemeral_of(next))) << next;
    };
    insert_to(2 * kCapacity);
    EXPECT_TRUE(seen.contains(ephemeral_of(0)));
    EXPECT_TRUE(seen.contains(ephemeral_of(kCapacity - 1)));

    // The next one pushes the oldest generation out, and only that.
    insert_to(2 * kCapacity + 1);
    for (uint64_t number = 0; number < kCapacity; ++number) ASSERT_FALSE(seen.contains(ephemeral_of(number)));
    for (uint64_t number = kCapacity; number <= 2 * kCapacity; ++number)
        ASSERT_TRUE(seen.contains(ephemeral_of(number)));

    insert_to(5 * kCapacity);
    for (uint64_t number = 4 * kCapacity; number < 5 * kCapacity; ++number)
        ASSERT_TRUE(seen.contains(ephemeral_of(number)));
    EXPECT_FALSE(seen.contains(ephemeral_of(5 * kCapacity)));
}

}  // namespace
}  // namespace qanat::handshake
