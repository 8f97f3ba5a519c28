#include "common/crypto/random.h"

#include <gtest/gtest.h>

#include <set>
#include <vector>

namespace qanat::crypto {
namespace {

TEST(Random, FillsExactlyWhatItIsGiven) {
    for (const size_t size : {size_t{0}, size_t{1}, size_t{255}, size_t{256}, size_t{257}, size_t{5000}}) {
        std::vector<uint8_t> buffer(size + 2, 0xaa);
        random_bytes(MutableBytes(buffer).subspan(1, size));
        EXPECT_EQ(buffer.front(), 0xaa);
        EXPECT_EQ(buffer.back(), 0xaa);
        // 5000 bytes have every value with a probability of 1 − 256·(255/256)^5000 > 1 − 10⁻⁶.
        if (size == 5000) {
            EXPECT_EQ(std::set<uint8_t>(buffer.begin() + 1, buffer.end() - 1).size(), 256u);
        }
    }
}

TEST(Random, DoesNotRepeat) {
    std::set<std::vector<uint8_t>> seen;
    for (int i = 0; i < 1000; ++i) {
        std::vector<uint8_t> bytes(16);
        random_bytes(bytes);
        EXPECT_TRUE(seen.insert(bytes).second);
    }
}

}  // namespace
}  // namespace qanat::crypto
