#include "controlplane/admin/status_table.h"

#include <gtest/gtest.h>
#include <json/json.h>

namespace qanat::controlplane {
namespace {

Json::Value parse(const std::string& text) {
    Json::Value value;
    std::string problem;
    const std::unique_ptr<Json::CharReader> reader(Json::CharReaderBuilder().newCharReader());
    EXPECT_TRUE(reader->parse(text.data(), text.data() + text.size(), &value, &problem)) << problem;
    return value;
}

TEST(StatusTable, Numbers) {
    EXPECT_EQ(format_bytes(0), "0 B");
    EXPECT_EQ(format_bytes(1023), "1023 B");
    EXPECT_EQ(format_bytes(1024), "1.0 KiB");
    EXPECT_EQ(format_bytes(1536), "1.5 KiB");
    EXPECT_EQ(format_bytes(uint64_t{2} << 30), "2.0 GiB");
    EXPECT_EQ(format_seconds(59), "59s");
    EXPECT_EQ(format_seconds(60), "1m 00s");
    EXPECT_EQ(format_seconds(3720), "1h 02m");
    EXPECT_EQ(format_seconds(3 * 86400 + 4 * 3600), "3d 04h");
}

TEST(StatusTable, RendersAClient) {
    const std::string text = render_status(parse(R"({
        "role": "client", "ready": true, "version": "0.1.0", "pid": 7, "uptime_seconds": 61, "id": "abc",
        "listen": ["127.0.0.1:1080"],
        "streams": {"active": 1, "max": 100, "total": 5, "ended": {"completed": 4, "no_exit": 0}},
        "bytes": {"up": 10, "down": 2048},
        "nodes": [{"id": "n1", "address": "192.0.2.1:4000", "state": "up", "latency_ms": 12.34, "since_seconds": 60},
                  {"id": "n2", "address": "192.0.2.2:4000", "state": "down", "last_error": "bad\u001b[31m\nthing"}]})"));
    EXPECT_EQ(text,
              "client   ready, 0.1.0, pid 7, up 1m 01s\n"
              "id       abc\n"
              "listen   127.0.0.1:1080\n"
              "streams  1 of 100 active, 5 in all\n"
              "ended    4 completed\n"
              "bytes    10 B up, 2.0 KiB down\n"
              "node     n1@192.0.2.1:4000: up, 12.3 ms, for 1m 00s\n"
              "node     n2@192.0.2.2:4000: down, last error: bad\\x1b[31m\\nthing\n");
}

TEST(StatusTable, SurvivesMissingAndStrangeFields) {
    EXPECT_NE(render_status(parse("{}")), "");
    EXPECT_NE(render_status(parse(R"({"role":[],"streams":{},"bytes":{"up":"x"},"nodes":[1,{}],"sessions":{}})")), "");
}

}  // namespace
}  // namespace qanat::controlplane
