#include "common/crypto/psk.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "tests/vectors/vector_file.h"

namespace qanat::crypto {
namespace {

TEST(Psk, KnownAnswer) {
    for (const auto& c : test::read_vectors("key_schedule.txt")) {
        if (c.text("case") != "psk") continue;
        const auto psk = c.bytes("psk");
        const NetworkKeys keys = derive_network_keys(Secret<32>(std::span<const uint8_t, 32>(psk)));
        EXPECT_TRUE(std::ranges::equal(keys.gate.bytes(), c.bytes("gate")));
        EXPECT_TRUE(std::ranges::equal(keys.noise.bytes(), c.bytes("noise")));
        EXPECT_TRUE(std::ranges::equal(keys.discovery.bytes(), c.bytes("discovery")));
        EXPECT_TRUE(std::ranges::equal(keys.fingerprint, c.bytes("fingerprint")));
        return;
    }
    FAIL() << "no psk case";
}

}  // namespace
}  // namespace qanat::crypto
