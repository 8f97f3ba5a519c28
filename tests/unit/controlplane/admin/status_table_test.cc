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

TEST(StatusTable, ShowsWhatIsNotZero) {
    const std::string text = render_status(parse(R"({
        "role": "node", "draining": true, "drain": {"seconds_left": 61}, "streams": {"active": 3},
        "pool": {"parked": 0, "hits": 0}, "offers": {"parked": 2, "taken": 0},
        "relay": {"streams": 1, "total": 5, "bytes": 2048, "refused": 0},
        "open_latency": {"count": 9, "p50_ms": 0.4, "p90_ms": 12.3, "p99_ms": 1500}})"));
    EXPECT_NE(text.find("node       draining, 3 streams left, 1m 01s to the deadline, "), std::string::npos) << text;
    EXPECT_NE(text.find("offers     2 ready at relays\n"), std::string::npos) << text;
    EXPECT_NE(text.find("relay      1 streams, 5 streams in all\nrelayed    2.0 KiB\n"), std::string::npos) << text;
    EXPECT_NE(text.find("open time  half within 400 us, 90% 12.3 ms, 99% 1.50 s\n"), std::string::npos) << text;
    EXPECT_EQ(text.find("pool"), std::string::npos) << text;
}

TEST(StatusTable, SurvivesMissingAndStrangeFields) {
    EXPECT_NE(render_status(parse("{}")), "");
    EXPECT_NE(render_status(parse(R"({"role":[],"streams":{},"bytes":{"up":"x"},"nodes":[1,{}],"sessions":{}})")), "");
}

}  // namespace
}  // namespace qanat::controlplane
