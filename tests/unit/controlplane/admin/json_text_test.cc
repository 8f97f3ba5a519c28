#include "controlplane/admin/json_text.h"

#include <gtest/gtest.h>

#include <limits>

namespace qanat::controlplane {
namespace {

TEST(JsonText, BytesAndTimes) {
    EXPECT_EQ(format_bytes(0), "0 B");
    EXPECT_EQ(format_bytes(1023), "1023 B");
    EXPECT_EQ(format_bytes(1024), "1.0 KiB");
    EXPECT_EQ(format_bytes(1536), "1.5 KiB");
    EXPECT_EQ(format_bytes(uint64_t{2} << 30), "2.0 GiB");
    EXPECT_EQ(format_seconds(59), "59s");
    EXPECT_EQ(format_seconds(60), "1m 00s");
    EXPECT_EQ(format_seconds(3720), "1h 02m");
    EXPECT_EQ(format_seconds(3 * 86400 + 4 * 3600), "3d 04h");
    EXPECT_EQ(format_milliseconds(0.25), "250 us");
    EXPECT_EQ(format_milliseconds(1), "1.0 ms");
    EXPECT_EQ(format_milliseconds(999), "999.0 ms");
    EXPECT_EQ(format_milliseconds(1200), "1.20 s");
}

TEST(JsonText, ValuesOfEveryKind) {
    EXPECT_EQ(text_of({}), "-");
    EXPECT_EQ(text_of(""), "-");
    EXPECT_EQ(text_of("a\x1b[2J\n"), "a\\x1b[2J\\n");
    EXPECT_EQ(text_of(true), "yes");
    EXPECT_EQ(text_of(Json::UInt64{std::numeric_limits<uint64_t>::max()}), "18446744073709551615");
    EXPECT_EQ(text_of(-5), "-5");
    EXPECT_EQ(text_of(1.25), "1.2");
    EXPECT_EQ(text_of(1e308).size(), 311U);
    EXPECT_EQ(text_of(Json::Value(Json::arrayValue)), "-");
    EXPECT_EQ(number_of(7), 7U);
    EXPECT_EQ(number_of(-7), 0U);
    EXPECT_EQ(number_of("7"), 0U);
    EXPECT_TRUE(member("no object", "x").isNull());
    EXPECT_EQ(short_id("abcdefghijklmnop"), "abcdefghij");
    EXPECT_EQ(short_id({}), "-");
}

TEST(JsonText, ListsAndCounts) {
    Json::Value list(Json::arrayValue);
    EXPECT_EQ(list_of(list), "-");
    list.append("a");
    list.append(2);
    EXPECT_EQ(list_of(list), "a, 2");
    EXPECT_EQ(list_of("a"), "-");
    Json::Value counts;
    counts["none"] = 0;
    EXPECT_EQ(counts_of(counts), "-");
    counts["no\nexit"] = 3;
    counts["completed"] = 1;
    EXPECT_EQ(counts_of(counts), "1 completed, 3 no\\nexit");
}

}  // namespace
}  // namespace qanat::controlplane
