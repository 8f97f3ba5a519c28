#include "controlplane/app/explanation.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "common/handshake/node_id.h"
#include "controlplane/app/client_report.h"

namespace qanat::controlplane {
namespace {

using std::chrono::microseconds;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::Not;
using wire::ControlMessage;
using wire::StreamStatus;

const Instant kNow{std::chrono::seconds(1000)};

ClientDriver::NodeStatus up(uint8_t number, int latency_us) {
    ClientDriver::NodeStatus node;
    node.id[0] = number;
    node.path = "direct";
    node.address = "192.0.2." + std::to_string(number) + ":4000";
    node.state = NodeSession::State::up;
    node.latency = microseconds(latency_us);
    return node;
}

class ExplanationTest : public testing::Test {
protected:
    Explanation make(Strategy strategy, const char* target = "example.org:443") {
        std::vector<RoutableNode> routable;
        for (const auto& [number, node] : nodes_) {
            if (node.ejection == Ejection::State::ejected && !node.last_resort) continue;
            if (!node.routable || node.state == NodeSession::State::down) continue;
            RoutableNode made;
            made.node = number;
            made.address.family = 4;
            made.state = node.state == NodeSession::State::up ? ring::HopState::up : ring::HopState::connecting;
            made.latency = node.latency;
            routable.push_back(made);
        }
        return {strategy, make_plan(strategy, std::chrono::seconds(10), routable), nodes_, *wire::Target::parse(target),
                kNow};
    }
    static ControlMessage answer(StreamStatus status, std::string_view rule) {
        return {.kind = ControlMessage::Kind::policy_answer, .status = status, .reason = wire::Reason(rule)};
    }

    std::map<uint32_t, ClientDriver::NodeStatus> nodes_;
};

TEST_F(ExplanationTest, WhoAndWhyAndWithWhatChance) {
    nodes_ = {{0, up(0, 50'000)}, {1, up(1, 10'000)}, {2, up(2, 10'500)}, {3, up(3, 1)}, {4, up(4, 1)}, {5, up(5, 1)}};
    nodes_[3].state = NodeSession::State::down;
    nodes_[3].last_error = "cannot connect to 192.0.2.3:4000: Connection refused";
    nodes_[4].ejection = Ejection::State::ejected;
    nodes_[4].ejected_until = kNow + std::chrono::milliseconds(2500);
    nodes_[5].routable = false;
    Explanation explanation = make(Strategy::fastest);
    EXPECT_THAT(explanation.to_ask(), ElementsAre(1, 2, 0));
    explanation.on_answer(1, answer(StreamStatus::ok, "no rule: allowed"));
    explanation.on_answer(2, answer(StreamStatus::denied, "deny 10.0.0.0/8"));
    explanation.on_answer(0, std::nullopt);
    const Json::Value result = explanation.result();
    EXPECT_EQ(result["target"].asString(), "example.org:443");
    EXPECT_EQ(result["strategy"].asString(), "fastest");
    EXPECT_EQ(result["rule"].asString(), "weighted");
    const Json::Value& list = result["candidates"];
    ASSERT_EQ(list.size(), 5u) << "relays are no candidates";
    EXPECT_EQ(list[0]["id"].asString(), encode_node_id(nodes_[1].id));
    EXPECT_NEAR(list[0]["share"].asDouble(), 0.5, 0.001);
    EXPECT_TRUE(list[0]["eligible"].asBool());
    EXPECT_EQ(list[0]["exit_policy"]["verdict"].asString(), "allow");
    EXPECT_EQ(list[1]["exit_policy"]["verdict"].asString(), "deny");
    EXPECT_EQ(list[1]["exit_policy"]["rule"].asString(), "deny 10.0.0.0/8");
    EXPECT_THAT(list[2]["reason"].asString(), HasSubstr("slower"));
    EXPECT_EQ(list[2]["exit_policy"]["verdict"].asString(), "no answer");
    for (const Json::ArrayIndex i : {3U, 4U}) {
        EXPECT_FALSE(list[i]["eligible"].asBool());
        EXPECT_EQ(list[i]["share"].asDouble(), 0);
        EXPECT_FALSE(list[i].isMember("exit_policy"));
    }
    EXPECT_THAT(list[3]["reason"].asString(), HasSubstr("Connection refused"));
    EXPECT_EQ(list[4]["state"].asString(), "ejected");
    EXPECT_THAT(list[4]["reason"].asString(), HasSubstr("left out for 3 s more"));
    EXPECT_THAT(result["decision"].asString(), HasSubstr("one of 3 nodes"));
    EXPECT_THAT(result["decision"].asString(), HasSubstr("1 of the 3 exits asked would refuse"));
}

TEST_F(ExplanationTest, OneNode) {
    nodes_ = {{7, up(7, 900)}};
    const struct {
        StreamStatus status;
        const char* verdict;
        const char* decision;
    } kTable[] = {{StreamStatus::ok, "allow", "its policy allows"},
                  {StreamStatus::denied, "deny", "it would refuse"},
                  {StreamStatus::name_not_found, "unresolvable", "it cannot resolve"},
                  {StreamStatus::name_unresolved, "unresolvable", "it cannot resolve"}};
    for (const auto& row : kTable) {
        Explanation explanation = make(Strategy::random);
        explanation.on_answer(7, answer(row.status, ""));
        const Json::Value result = explanation.result();
        EXPECT_EQ(result["candidates"][0]["share"].asDouble(), 1);
        EXPECT_EQ(result["candidates"][0]["exit_policy"]["verdict"].asString(), row.verdict);
        EXPECT_THAT(result["decision"].asString(), HasSubstr(encode_node_id(nodes_[7].id) + ", direct"));
        EXPECT_THAT(result["decision"].asString(), HasSubstr(row.decision));
    }
}

TEST_F(ExplanationTest, NobodyThere) {
    EXPECT_EQ(make(Strategy::random).result()["decision"].asString(), "no node is up: streams are refused");
    nodes_ = {{0, up(0, 1)}};
    nodes_[0].state = NodeSession::State::connecting;
    Explanation explanation = make(Strategy::random);
    EXPECT_TRUE(explanation.to_ask().empty());
    EXPECT_THAT(explanation.result()["decision"].asString(), HasSubstr("waits for the handshakes"));
    EXPECT_EQ(explanation.result()["candidates"][0]["reason"].asString(), "no session yet");
}

TEST_F(ExplanationTest, AtMostEightAreAsked) {
    for (const uint8_t count : std::initializer_list<uint8_t>{7, 8, 9, 64}) {
        nodes_.clear();
        for (uint8_t i = 0; i < count; ++i) nodes_[i] = up(i, 1000);
        EXPECT_EQ(make(Strategy::least_loaded).to_ask().size(), std::min<size_t>(count, Explanation::kAskedMax));
    }
}

TEST_F(ExplanationTest, TheLastNodeIsNamedAsSuch) {
    nodes_ = {{0, up(0, 1000)}};
    nodes_[0].ejection = Ejection::State::ejected;
    nodes_[0].last_resort = true;
    const Json::Value result = make(Strategy::round_robin).result();
    EXPECT_EQ(result["candidates"][0]["reason"].asString(), "kept although failing: it is the last node");
    EXPECT_TRUE(result["candidates"][0]["eligible"].asBool());
    EXPECT_EQ(describe_peer(nodes_[0], kNow)["last_error"].asString(), "kept although failing: it is the last node");
}

TEST(ClientReport, PeersAndMetrics) {
    ClientDriver::NodeStatus node = up(3, 2500);
    node.traffic = {.in_flight = 2, .parked = 4, .opened = 10, .failed = 1, .bytes_up = 100, .bytes_down = 5000};
    node.load = 2500;
    node.region = "eu-west";
    node.since = kNow - std::chrono::seconds(61);
    const Json::Value peer = describe_peer(node, kNow);
    EXPECT_EQ(peer["role"].asString(), "exit");
    EXPECT_EQ(peer["source"].asString(), "config");
    EXPECT_EQ(peer["since_seconds"].asUInt64(), 61u);
    EXPECT_DOUBLE_EQ(peer["latency_ms"].asDouble(), 2.5);
    EXPECT_DOUBLE_EQ(peer["load"].asDouble(), 0.25);
    EXPECT_FALSE(peer.isMember("ejected_until_seconds"));
    node.ejection = Ejection::State::ejected;
    node.ejected_until = kNow + std::chrono::seconds(5);
    EXPECT_EQ(describe_peer(node, kNow)["ejected_until_seconds"].asUInt64(), 5u);

    ring::PlanHop hop{};
    hop.state = ring::HopState::up;
    MetricsPage page;
    add_client_metrics(
        page, {.nodes = {node}, .handshakes_ok = 5, .handshakes_failed = 2, .plan_version = 9, .hops = {hop, hop}});
    const std::string label = "node=\"" + encode_node_id(node.id).substr(0, 12) + "\"";
    for (const std::string& line :
         {std::string("client_handshakes_total{result=\"failed\"} 2"), std::string("plan_version 9"),
          std::string("plan_hops{state=\"up\"} 2"), std::string("plan_picks_total 11"),
          "node_latency_seconds{" + label + "} 0.0025", "node_streams_opened_total{" + label + "} 10",
          "node_stream_bytes_total{" + label + ",direction=\"down\"} 5000", "node_ejected{" + label + "} 1"})
        EXPECT_THAT(page.text(), HasSubstr(line));
    EXPECT_THAT(page.text(), Not(HasSubstr(encode_node_id(node.id)))) << "the first characters are enough";
}

}  // namespace
}  // namespace qanat::controlplane
