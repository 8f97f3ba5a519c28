#include "controlplane/admin/peers_table.h"

#include <gtest/gtest.h>
#include <json/json.h>

#include "controlplane/admin/operator_commands.h"
#include "controlplane/admin/text_table.h"

namespace qanat::controlplane {
namespace {

Json::Value parse(const std::string& text) {
    Json::Value value;
    std::string problem;
    const std::unique_ptr<Json::CharReader> reader(Json::CharReaderBuilder().newCharReader());
    EXPECT_TRUE(reader->parse(text.data(), text.data() + text.size(), &value, &problem)) << problem;
    return value;
}

TEST(TextTable, AlignsAndLeavesOutEmptyColumns) {
    using Align = TextTable::Align;
    TextTable table({{"NAME", Align::left}, {"N", Align::right}, {"EMPTY", Align::left}, {"LAST", Align::left}});
    EXPECT_EQ(table.text(), "\n");
    table.add({"a", "1", "-", "x"});
    table.add({"longer", "234", "", ""});
    EXPECT_EQ(table.text(),
              "NAME      N  LAST\n"
              "a         1  x\n"
              "longer  234\n");
}

TEST(PeersTable, ShowsWhatThereIs) {
    EXPECT_EQ(render_peers(parse(R"({"peers": []})")), "no peers\n");
    const std::string text = render_peers(parse(R"({"peers": [
        {"id": "aaaaaaaaaaaaaaaaaaaa", "role": "exit", "source": "config", "path": "direct",
         "address": "192.0.2.1:4000", "state": "up", "since_seconds": 61, "latency_ms": 12.34, "probes_lost": 1,
         "probes_sent": 20, "streams": 3, "parked": 2, "opened": 100, "failed": 4, "bytes_up": 2048,
         "bytes_down": 3221225472, "load": 7, "last_error": ""},
        {"id": "bbbbbbbbbbbbbbbbbbbb", "role": "exit", "source": "discovery", "path": ["cccccccccccccccc"],
         "address": "\u001b[31mx", "state": "down", "since_seconds": 5, "streams": 0, "opened": 0, "failed": 0, "parked": 0, "load": 0,
         "last_error": "no\nanswer"}]})"));
    EXPECT_EQ(text,
              "ID          ROLE  STATE     FOR  LATENCY  LOST  STREAMS  READY  OPENED  FAILED       UP     DOWN  LOAD  "
              "SOURCE     PATH            ADDRESS         LAST ERROR\n"
              "aaaaaaaaaa  exit  up     1m 01s  12.3 ms  1/20        3      2     100       4  2.0 KiB  3.0 GiB     7  "
              "config     direct          192.0.2.1:4000  -\n"
              "bbbbbbbbbb  exit  down       5s        -     -        0      -       0       -        -        -     -  "
              "discovery  via cccccccccc  \\x1b[31mx       no\\nanswer\n");
}

TEST(PeersTable, SurvivesMissingAndStrangeFields) {
    EXPECT_EQ(render_peers(parse("{}")), "no peers\n");
    EXPECT_NE(render_peers(parse(R"({"peers": [1, {}, {"id": [], "path": {}, "latency_ms": "x", "streams": -1}]})")),
              "");
    EXPECT_NE(render_explanation(parse("{}")), "");
    EXPECT_NE(render_explanation(parse(R"({"candidates": [1, {}, {"exit_policy": 5, "eligible": "x"}]})")), "");
}

TEST(ExplanationTable, CandidatesAndDecision) {
    EXPECT_EQ(
        render_explanation(parse(R"({"target": "example.org:443", "strategy": "fastest", "rule": "ordered",
        "candidates": [
            {"id": "aaaaaaaaaaaaaaaaaaaa", "path": [], "address": "192.0.2.1:4000", "state": "up", "eligible": true,
             "latency_ms": 2.5, "streams": 1, "weight": 2500, "share": 1.0,
             "exit_policy": {"verdict": "allowed", "rule": "default"}},
            {"id": "bbbbbbbbbbbbbbbbbbbb", "path": "direct", "address": "192.0.2.2:4000", "state": "down",
             "eligible": false, "reason": "down", "share": 0}],
        "decision": "aaaaaaaaaa"})")),
        "target    example.org:443\n"
        "strategy  fastest\n"
        "rule      ordered\n"
        "\n"
        "ID          STATE  LATENCY  STREAMS  WEIGHT  SHARE  PATH    ADDRESS         EXIT POLICY        ELIGIBLE\n"
        "aaaaaaaaaa  up      2.5 ms        1    2500   100%  direct  192.0.2.1:4000  allowed (default)  yes\n"
        "bbbbbbbbbb  down         -        -       -     0%  direct  192.0.2.2:4000  -                  no: down\n"
        "\n"
        "decision  aaaaaaaaaa\n");
}

TEST(DescribeReload, SaysWhatWasDone) {
    EXPECT_EQ(describe_reload(parse(R"({"applied": [], "needs_restart": []})")), "reloaded: nothing has changed");
    EXPECT_EQ(describe_reload(parse(R"({"applied": ["a", "b"], "needs_restart": []})")), "reloaded: a, b");
    EXPECT_EQ(describe_reload(parse(R"({"applied": ["a"], "needs_restart": ["c"]})")),
              "reloaded: a; these need a restart: c");
    EXPECT_EQ(describe_reload(parse(R"({"applied": [], "needs_restart": ["c"]})")),
              "reloaded: nothing to apply; these need a restart: c");
    EXPECT_EQ(describe_reload({}), "reloaded: nothing has changed");
}

}  // namespace
}  // namespace qanat::controlplane
