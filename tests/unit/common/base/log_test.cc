#include "common/base/log.h"

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <limits>
#include <thread>
#include <vector>

namespace qanat {
namespace {

using namespace std::chrono_literals;

std::string text_line(std::string_view message, LogFields fields) {
    return format_log_line(LogFormat::text,
                           {std::nullopt, LogLevel::info, "data", message, {fields.begin(), fields.size()}});
}

std::string json_line(std::string_view message, LogFields fields) {
    return format_log_line(LogFormat::json,
                           {std::nullopt, LogLevel::warn, "control", message, {fields.begin(), fields.size()}});
}

TEST(LogLine, TextHasTimeLevelComponentMessageAndTypedFields) {
    const std::string address = "0.0.0.0:4000";
    const LogField fields[] = {{"address", address},   {"engines", 4},
                               {"delta", int64_t{-7}}, {"bytes", std::numeric_limits<uint64_t>::max()},
                               {"busy", true},         {"load", 0.5}};
    const std::chrono::system_clock::time_point time{1'763'632'800'123ms};
    EXPECT_EQ(format_log_line(LogFormat::text, {time, LogLevel::info, "data", "tunnel listening", fields}),
              "2025-11-20T10:00:00.123Z info data: tunnel listening address=0.0.0.0:4000 engines=4 delta=-7 "
              "bytes=18446744073709551615 busy=true load=0.5");
}

TEST(LogLine, JsonIsOneObjectWithTypedFields) {
    const LogField fields[] = {{"address", "0.0.0.0:4000"}, {"engines", 4U}, {"busy", false}, {"load", 0.25}};
    const std::chrono::system_clock::time_point time{1'763'632'800'007ms};
    EXPECT_EQ(format_log_line(LogFormat::json, {time, LogLevel::error, "control", "it \"broke\"", fields}),
              R"({"time":"2025-11-20T10:00:00.007Z","level":"error","component":"control","message":"it \"broke\"",)"
              R"("address":"0.0.0.0:4000","engines":4,"busy":false,"load":0.25})");
    EXPECT_EQ(json_line("m", {{"ratio", std::numeric_limits<double>::quiet_NaN()}}),
              R"({"time":null,"level":"warn","component":"control","message":"m","ratio":null})");
}

TEST(LogLine, TextValuesCannotForgeFieldsOrLines) {
    EXPECT_EQ(text_line("m", {{"host", "a b"}}), "info data: m host=\"a b\"");
    EXPECT_EQ(text_line("m", {{"host", "a level=error"}}), "info data: m host=\"a level=error\"");
    EXPECT_EQ(text_line("m", {{"host", "x\" y=\"z"}}), R"(info data: m host="x\" y=\"z")");
    EXPECT_EQ(text_line("m", {{"host", ""}}), "info data: m host=\"\"");
    EXPECT_EQ(text_line("m", {{"host", "\""}}), R"(info data: m host="\"")");
    EXPECT_EQ(text_line("m", {{"host", "a\\"}}), R"(info data: m host="a\\")");
    EXPECT_EQ(text_line("m", {{"host", "a\nb\r\t\x1b[2J\x7f\x80\xc2\x9b"}}),
              R"(info data: m host="a\nb\r\t\x1b[2J\x7f\x80\xc2\x9b")");
    EXPECT_EQ(text_line("two\nlines", {}), "info data: two\\nlines");
    EXPECT_EQ(text_line("m", {{"host", std::string_view("a\0b", 3)}}), R"(info data: m host="a\x00b")");
}

TEST(LogLine, JsonIsAsciiWhateverComes) {
    EXPECT_EQ(json_line("m", {{"v", "a\nb\x1b\x7f\\\""}}),
              R"({"time":null,"level":"warn","component":"control","message":"m","v":"a\u000ab\u001b\u007f\\\""})");
    struct Case {
        std::string_view bytes;
        const char* json;
    };
    const Case cases[] = {
        {"\xc3\xa9", R"(\u00e9)"},                            // é
        {"\xe2\x80\xae", R"(\u202e)"},                        // right-to-left override
        {"\xf0\x9f\x98\x80", R"(\ud83d\ude00)"},              // beyond the first plane
        {"\xf4\x8f\xbf\xbf", R"(\udbff\udfff)"},              // U+10FFFF, the last one
        {"\xf4\x90\x80\x80", R"(\ufffd\ufffd\ufffd\ufffd)"},  // one beyond
        {"\xed\xa0\x80", R"(\ufffd\ufffd\ufffd)"},            // a surrogate
        {"\xc0\xaf", R"(\ufffd\ufffd)"},                      // overlong
        {"\xe0\x80\xaf", R"(\ufffd\ufffd\ufffd)"},            // overlong
        {"\xf0\x80\x80\xaf", R"(\ufffd\ufffd\ufffd\ufffd)"},
        {"\xe2\x80", R"(\ufffd\ufffd)"},  // cut short
        {"\xc3", R"(\ufffd)"},
        {"\x80x", R"(\ufffdx)"},
        {"\xff", R"(\ufffd)"},
    };
    for (const Case& c : cases)
        EXPECT_EQ(
            json_line("m", {{"v", c.bytes}}),
            std::string(R"({"time":null,"level":"warn","component":"control","message":"m","v":")") + c.json + "\"}");
}

TEST(LogLine, EveryByteAloneStaysOneLineOfPrintableAscii) {
    for (int byte = 0; byte < 256; ++byte) {
        const std::string value(1, static_cast<char>(byte));
        for (const std::string& line : {text_line(value, {{"v", value}}), json_line(value, {{"v", value}})})
            for (const char c : line) EXPECT_TRUE(c >= 0x20 && c < 0x7f) << byte;
    }
}

TEST(LogNames, RoundTrip) {
    for (const auto level : {LogLevel::debug, LogLevel::info, LogLevel::warn, LogLevel::error})
        EXPECT_EQ(parse_log_level(name_of(level)), level);
    for (const auto format : {LogFormat::text, LogFormat::json}) EXPECT_EQ(parse_log_format(name_of(format)), format);
    EXPECT_EQ(parse_log_level("trace"), std::nullopt);
    EXPECT_EQ(parse_log_level(""), std::nullopt);
    EXPECT_EQ(parse_log_format("xml"), std::nullopt);
}

// What really reaches stderr, through spdlog.
TEST(Log, WritesOneLinePerCallAtOrAboveItsLevel) {
    ::testing::internal::CaptureStderr();
    start_log({"data", LogLevel::warn, LogFormat::json});
    log_info("hidden");
    log_debug("hidden");
    log_warn("braces {} {0}", {{"n", 1}});
    set_log_level(LogLevel::debug);
    log_debug("shown");
    const std::string output = ::testing::internal::GetCapturedStderr();
    start_log({});
    EXPECT_EQ(output.find("hidden"), std::string::npos);
    EXPECT_NE(output.find(R"("level":"warn","component":"data","message":"braces {} {0}","n":1})"
                          "\n"),
              std::string::npos)
        << output;
    EXPECT_NE(output.find(R"("level":"debug","component":"data","message":"shown"})"
                          "\n"),
              std::string::npos)
        << output;
    EXPECT_EQ(std::count(output.begin(), output.end(), '\n'), 2);
}

TEST(Log, ThreadsDoNotMixTheirLines) {
    ::testing::internal::CaptureStderr();
    start_log({"data", LogLevel::info, LogFormat::text});
    std::vector<std::thread> threads;
    for (int t = 0; t < 4; ++t)
        threads.emplace_back([] {
            for (int i = 0; i < 100; ++i) log_info("tick", {{"value", "aaaaaaaaaaaaaaaaaaaaaaaa"}});
        });
    for (std::thread& thread : threads) thread.join();
    const std::string output = ::testing::internal::GetCapturedStderr();
    start_log({});
    size_t lines = 0;
    for (size_t start = 0; start < output.size(); ++lines) {
        const size_t end = output.find('\n', start);
        ASSERT_NE(end, std::string::npos);
        EXPECT_TRUE(output.substr(start, end - start).ends_with("info data: tick value=aaaaaaaaaaaaaaaaaaaaaaaa"));
        start = end + 1;
    }
    EXPECT_EQ(lines, 400U);
}

TEST(LogRateLimit, LetsABurstThroughPerIntervalAndCountsTheRest) {
    const LogRateLimit::Instant start{};
    LogRateLimit limit(1s, 2);
    EXPECT_EQ(limit.admit(start), 0U);
    EXPECT_EQ(limit.admit(start + 1ms), 0U);
    EXPECT_EQ(limit.admit(start + 2ms), std::nullopt);
    EXPECT_EQ(limit.admit(start + 999ms), std::nullopt);
    EXPECT_EQ(limit.admit(start + 1000ms), 2U);
    EXPECT_EQ(limit.admit(start + 1001ms), 0U);
    EXPECT_EQ(limit.admit(start + 1002ms), std::nullopt);
    EXPECT_EQ(limit.admit(start + 5s), 1U);
}

TEST(LogRateLimit, ABurstOfZeroLetsNothingThrough) {
    LogRateLimit limit(1s, 0);
    EXPECT_EQ(limit.admit(LogRateLimit::Instant{}), std::nullopt);
    EXPECT_EQ(limit.admit(LogRateLimit::Instant{} + 10s), std::nullopt);
}

}  // namespace
}  // namespace qanat
