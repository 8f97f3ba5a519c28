#include "controlplane/discovery/redis_protocol.h"

#include <gtest/gtest.h>

namespace qanat::controlplane {
namespace {

using Kind = RedisReply::Kind;

Result<std::optional<RedisReply>> parse(std::string_view bytes) {
    RedisParser parser;
    if (auto fed = parser.feed(as_bytes(bytes)); !fed) return tl::unexpected(fed.error());
    return parser.next();
}

std::string repeated(std::string_view text, size_t count) {
    std::string all;
    for (size_t i = 0; i < count; ++i) all += text;
    return all;
}

TEST(RedisCommand, IsFormatted) {
    const std::string binary("a\r\n\0b", 5);
    const std::vector<std::string> command{"SET", "k", binary, ""};
    EXPECT_EQ(format_redis_command(command), "*4\r\n$3\r\nSET\r\n$1\r\nk\r\n$5\r\n" + binary + "\r\n$0\r\n\r\n");
}

TEST(RedisParser, EveryKind) {
    EXPECT_TRUE(parse("+OK\r\n").value()->is_status("OK"));
    EXPECT_EQ(parse("-ERR no\r\n").value()->text, "ERR no");
    EXPECT_TRUE(parse("-ERR no\r\n").value()->is_error());
    EXPECT_EQ(parse(":-12\r\n").value()->number, -12);
    EXPECT_EQ(parse("$-1\r\n").value()->kind, Kind::nil);
    EXPECT_EQ(parse("*-1\r\n").value()->kind, Kind::nil);
    EXPECT_TRUE(parse("$0\r\n\r\n").value()->is_text(""));
    EXPECT_TRUE(parse("$4\r\na\r\nb\r\n").value()->is_text("a\r\nb"));
    EXPECT_EQ(parse("*0\r\n").value()->kind, Kind::array);
    const RedisReply nested = *parse("*3\r\n$1\r\n0\r\n*2\r\n+a\r\n$-1\r\n:7\r\n").value();
    ASSERT_EQ(nested.elements.size(), 3U);
    ASSERT_EQ(nested.elements[1].elements.size(), 2U);
    EXPECT_TRUE(nested.elements[1].elements[0].is_status("a"));
    EXPECT_EQ(nested.elements[2].number, 7);
}

TEST(RedisParser, SplitEverywhere) {
    const std::string_view bytes = "*2\r\n$5\r\nhello\r\n*1\r\n:42\r\n+OK\r\n-ERR\r\n";
    for (size_t split = 0; split <= bytes.size(); ++split) {
        RedisParser parser;
        std::vector<RedisReply> replies;
        for (const std::string_view part : {bytes.substr(0, split), bytes.substr(split)}) {
            ASSERT_TRUE(parser.feed(as_bytes(part)));
            for (;;) {
                auto reply = parser.next();
                ASSERT_TRUE(reply) << reply.error().message;
                if (!*reply) break;
                replies.push_back(**reply);
            }
        }
        ASSERT_EQ(replies.size(), 3U) << split;
        EXPECT_TRUE(replies[0].elements[0].is_text("hello"));
        EXPECT_EQ(replies[0].elements[1].elements[0].number, 42);
        EXPECT_TRUE(replies[2].is_error());
    }
}

TEST(RedisParser, ElementsAreBounded) {
    const auto array = [](size_t count) { return "*" + std::to_string(count) + "\r\n" + repeated(":1\r\n", count); };
    for (const size_t count : {RedisParser::kElementsMax - 1, RedisParser::kElementsMax})
        EXPECT_EQ(parse(array(count)).value()->elements.size(), count);
    EXPECT_FALSE(parse(array(RedisParser::kElementsMax + 1)));
    // All depths together, and before anything of the size has come.
    const std::string half = "*" + std::to_string(RedisParser::kElementsMax / 2) + "\r\n";
    EXPECT_FALSE(parse("*2\r\n" + half + repeated(":1\r\n", RedisParser::kElementsMax / 2) + half));
    EXPECT_FALSE(parse("*2147483647\r\n"));
    EXPECT_FALSE(parse("*2\r\n*2147483647\r\n"));
    // Each reply has the whole of it.
    RedisParser parser;
    for (int i = 0; i < 3; ++i) {
        ASSERT_TRUE(parser.feed(as_bytes(array(RedisParser::kElementsMax))));
        ASSERT_TRUE(parser.next().value());
    }
}

TEST(RedisParser, SizesAreBounded) {
    // One text that never ends.
    RedisParser parser;
    ASSERT_TRUE(parser.feed(as_bytes("$500000000\r\n")));
    const std::string chunk(65536, 'x');
    size_t taken = 0;
    while (parser.feed(as_bytes(chunk))) {
        taken += chunk.size();
        ASSERT_LE(taken, RedisParser::kReplySizeMax);
        ASSERT_FALSE(parser.next().value());
    }
    // Many texts in one reply, each of them small.
    RedisParser many;
    const size_t count = RedisParser::kReplySizeMax / chunk.size() + 1;
    ASSERT_TRUE(many.feed(as_bytes("*" + std::to_string(count) + "\r\n")));
    bool ended = false;
    for (size_t i = 0; i < count && !ended; ++i) {
        ASSERT_TRUE(many.feed(as_bytes("$65536\r\n" + chunk + "\r\n")));
        const auto next = many.next();
        ended = !next;
        EXPECT_TRUE(ended || !*next);
    }
    EXPECT_TRUE(ended);
    // A line without an end.
    RedisParser line;
    ASSERT_TRUE(line.feed(as_bytes("+")));
    taken = 0;
    while (line.feed(as_bytes(chunk)) && line.next()) ASSERT_LE(taken += chunk.size(), RedisParser::kReplySizeMax);
}

TEST(RedisParser, NonsenseIsAnError) {
    for (const char* bytes : {"hello\r\n", "$x\r\n", "$-2\r\n", "*-2\r\n", ":1x\r\n", "$99999999999999999999\r\n",
                              "*99999999999999999999\r\n", "\r\n", "%1\r\n", ">2\r\n", "_\r\n"})
        EXPECT_FALSE(parse(bytes)) << bytes;
    EXPECT_FALSE(parse(repeated("*1\r\n", 100)));  // deeper than any reply
    EXPECT_FALSE(parse("$9223372036854775807\r\nx").value());
    EXPECT_FALSE(parse("").value());
}

TEST(RedisParser, DamagedRepliesNeverCrash) {
    const std::string good = "*3\r\n$7\r\nmessage\r\n$2\r\nch\r\n$5\r\nhello\r\n:5\r\n*1\r\n$-1\r\n+OK\r\n";
    for (size_t i = 0; i < good.size() * 8; ++i) {
        std::string damaged = good;
        damaged[i / 8] = static_cast<char>(static_cast<uint8_t>(damaged[i / 8]) ^ 1U << i % 8);
        RedisParser parser;
        if (!parser.feed(as_bytes(damaged))) continue;
        for (auto reply = parser.next(); reply && *reply; reply = parser.next()) {
        }
    }
}

}  // namespace
}  // namespace qanat::controlplane
