#include "common/base/text_distance.h"

#include <gtest/gtest.h>

#include <array>

namespace qanat {
namespace {

TEST(TextDistance, CountsEdits) {
    struct Case {
        const char* a;
        const char* b;
        size_t distance;
    };
    const Case cases[] = {{"", "", 0},
                          {"", "abc", 3},
                          {"abc", "abc", 0},
                          {"abc", "abd", 1},
                          {"abc", "ab", 1},
                          {"abc", "xabc", 1},
                          {"abc", "acb", 1},
                          {"listen", "lisetn", 1},
                          {"listen", "LISTEN", 0},
                          {"kitten", "sitting", 3},
                          {"identity", "identiy", 1},
                          {"ab", "ba", 1}};
    for (const Case& c : cases) {
        EXPECT_EQ(text_distance(c.a, c.b), c.distance) << c.a << " " << c.b;
        EXPECT_EQ(text_distance(c.b, c.a), c.distance) << c.b << " " << c.a;
    }
}

TEST(TextDistance, LongWordsAreNeverClose) {
    const std::string longest(64, 'a');
    const std::string longer(65, 'a');
    EXPECT_EQ(text_distance(longest, longest), 0U);
    EXPECT_EQ(text_distance(longer, longest), 65U);
    EXPECT_EQ(text_distance(longer, longer), 65U);
}

TEST(TextDistance, FindsTheLikelyTypoOnly) {
    constexpr std::array<std::string_view, 5> words{"key", "identity", "server", "routing", "nodes"};
    EXPECT_EQ(closest_word("node", words), "nodes");
    EXPECT_EQ(closest_word("kye", words), "key");
    EXPECT_EQ(closest_word("Server", words), "server");
    EXPECT_EQ(closest_word("idnetity", words), "identity");
    EXPECT_EQ(closest_word("rounting", words), "routing");
    EXPECT_EQ(closest_word("", words), std::nullopt);
    EXPECT_EQ(closest_word("banana", words), std::nullopt);
    EXPECT_EQ(closest_word("key", {}), std::nullopt);
    EXPECT_EQ(did_you_mean("idnetity", words), ", did you mean \"identity\"?");
    EXPECT_EQ(did_you_mean("banana", words), "");
}

}  // namespace
}  // namespace qanat
