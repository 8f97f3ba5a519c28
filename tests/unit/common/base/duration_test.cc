#include "common/base/duration.h"

#include <gtest/gtest.h>

namespace qanat {
namespace {

using namespace std::chrono_literals;

TEST(Duration, ParsesEveryUnitAndTheEdges) {
    struct Case {
        const char* text;
        Duration value;
    };
    const Case cases[] = {
        {"0s", 0ms},
        {"0ms", 0ms},
        {"1ms", 1ms},
        {"500ms", 500ms},
        {"10s", 10s},
        {"2m", 2min},
        {"1h", 1h},
        {"007s", 7s},
        {"8760h", kDurationMax},
        {"8759h", 8759h},
        {"525600m", 8760h},
        {"31536000s", 8760h},
        {"31536000000ms", 8760h},
    };
    for (const Case& c : cases) {
        const auto parsed = parse_duration(c.text);
        ASSERT_TRUE(parsed) << c.text << ": " << parsed.error().message;
        EXPECT_EQ(*parsed, c.value) << c.text;
    }
}

TEST(Duration, RefusesEverythingElseAndSaysWhatToWrite) {
    struct Case {
        const char* text;
        const char* message;
    };
    const Case cases[] = {
        {"", "\"\" is not a duration (it is empty): write it like 500ms, 10s, 2m or 1h"},
        {"10", "\"10\" is not a duration (the unit is missing): write it like 500ms, 10s, 2m or 1h"},
        {"s", "\"s\" is not a duration (it does not begin with a whole number): write it like 500ms, 10s, 2m or 1h"},
        {"-1s",
         "\"-1s\" is not a duration (it does not begin with a whole number): write it like 500ms, 10s, 2m or 1h"},
        {" 1s",
         "\" 1s\" is not a duration (it does not begin with a whole number): write it like 500ms, 10s, 2m or 1h"},
        {"1.5s",
         "\"1.5s\" is not a duration (the units are ms, s, m and h, after one whole number): write it like "
         "500ms, 10s, 2m or 1h"},
        {"8761h", "\"8761h\" is not a duration (at most 8760h): write it like 500ms, 10s, 2m or 1h"},
        {"31536000001ms", "\"31536000001ms\" is not a duration (at most 8760h): write it like 500ms, 10s, 2m or 1h"},
        {"1\ns",
         "\"1\\ns\" is not a duration (the units are ms, s, m and h, after one whole number): write it like "
         "500ms, 10s, 2m or 1h"},
    };
    for (const Case& c : cases) {
        const auto parsed = parse_duration(c.text);
        ASSERT_FALSE(parsed) << c.text;
        EXPECT_EQ(parsed.error().message, c.message);
    }
    for (const char* text : {"1 s", "1s ", "1S", "1d", "1us", "1sec", "1m30s", "+1s", "0x1s", "1e3s",
                             "99999999999999999999s", "9223372036854775807h", "18446744073709551617s", "1s\n"})
        EXPECT_FALSE(parse_duration(text)) << text;
    EXPECT_FALSE(parse_duration(std::string_view("1s\0", 3)));
}

TEST(Duration, FormatsShortestAndReadsBack) {
    struct Case {
        Duration value;
        const char* text;
    };
    const Case cases[] = {{0ms, "0s"},        {1ms, "1ms"},  {999ms, "999ms"}, {1s, "1s"},
                          {1001ms, "1001ms"}, {59s, "59s"},  {60s, "1m"},      {90s, "90s"},
                          {2min, "2m"},       {60min, "1h"}, {61min, "61m"},   {kDurationMax, "8760h"}};
    for (const Case& c : cases) {
        EXPECT_EQ(format_duration(c.value), c.text);
        EXPECT_EQ(parse_duration(c.text).value(), c.value);
    }
    EXPECT_EQ(format_duration(-1500ms), "-1500ms");
}

}  // namespace
}  // namespace qanat
