// Paths through relays, and what the control plane learns about nodes: whole engines against relays and nodes that the
// test plays.

#include <gtest/gtest.h>

#include <chrono>
#include <functional>
#include <map>
#include <numeric>
#include <thread>

#include "tests/support/engine_pair.h"
#include "tests/support/sockets.h"
#include "tests/support/streams.h"
#include "tests/support/test_relay.h"

namespace qanat::dataplane {
namespace {

using ::qanat::testing::TestListener;
using ::qanat::testing::TestSocket;
using testing::accept_request;
using testing::Asked;
using testing::client_session;
using testing::EnginePair;
using testing::eventually;
using testing::LoneEngine;
using testing::open_stream;
using testing::Opened;
using testing::socks_request;
using testing::TestRelay;
using wire::StreamStatus;
using namespace std::chrono_literals;

constexpr uint32_t kExitNode = 7;  // of EnginePair
constexpr uint32_t kRelayNode = 20;
const std::string kSucceeded("\x05\x00\x05\x00", 4);
const std::string kGeneralFailure("\x05\x00\x05\x01", 4);

ring::PlanHop hop(uint32_t node, uint16_t port, const std::vector<ring::Via>& via = {}) {
    ring::PlanHop result{};
    result.node = node;
    result.weight = 1;
    result.address = testing::loopback(port);
    result.state = ring::HopState::up;
    result.via_count = static_cast<uint8_t>(via.size());
    std::copy(via.begin(), via.end(), result.via.begin());
    return result;
}

ring::Via via(uint32_t node, uint16_t next_port = 0) {
    return {.node = node, .next = next_port == 0 ? ring::RingEndpoint{} : testing::loopback(next_port)};
}

void route(LoneEngine& client, const std::vector<ring::PlanHop>& hops, ring::PlanRule rule = ring::PlanRule::ordered,
           uint32_t timeout_ms = 4000, uint32_t tries_max = 2) {
    static uint32_t version = 100;
    ring::PlanPart plan{};
    plan.version = ++version;
    plan.total = static_cast<uint32_t>(hops.size());
    plan.count = static_cast<uint16_t>(hops.size());
    plan.rule = rule;
    plan.response_timeout_ms = timeout_ms;
    plan.tries_max = tries_max;
    std::copy(hops.begin(), hops.end(), plan.hops.begin());
    client.tell(plan);
}

TestSocket request(EnginePair& pair, uint16_t port) {
    TestSocket app = TestSocket::connect(pair.socks_port);
    app.send(socks_request(port));
    return app;
}

TEST(Path, AStreamGoesThroughRelays) {
    for (uint32_t count = 1; count <= ring::kViaMax; ++count) {
        EnginePair pair;
        std::vector<std::unique_ptr<TestRelay>> relays;
        for (uint32_t i = 0; i < count; ++i) {
            const auto session = client_session(50 + i, kRelayNode + i);
            pair.client.tell(session);
            // The last relay is told no address: the node offers it connections.
            relays.push_back(std::make_unique<TestRelay>(session, i + 1 == count ? pair.tunnel_port : uint16_t{0}));
        }
        std::vector<ring::Via> path;
        for (uint32_t i = 0; i < count; ++i)
            path.push_back(via(kRelayNode + i, i + 1 == count ? uint16_t{0} : relays[i + 1]->port()));
        route(pair.client, {hop(kExitNode, relays[0]->port(), path)});

        TestListener listener;
        Opened stream = open_stream(pair, listener);
        for (uint32_t i = 0; i < count; ++i) {
            ASSERT_EQ(relays[i]->carried(), 1);
            EXPECT_EQ(relays[i]->asked_for()[0], i + 1 == count ? 0 : kRelayNode + i + 1);
        }
        const std::string data(3 << 20, 'q');
        std::thread sender([&] {
            stream.app.send(data);
            stream.app.shut_down();
        });
        EXPECT_TRUE(stream.target.receive_all() == data);
        sender.join();
        stream.target.send("and back");
        stream.target.shut_down();
        EXPECT_EQ(stream.app.receive_all(), "and back");
        EXPECT_TRUE(eventually([&] { return testing::ended(pair.client, ring::EndReason::completed) == 1; }));
    }
}

TEST(Path, EverythingIsAskedInOneFlight) {
    EnginePair pair;
    for (uint32_t i = 0; i < 3; ++i) pair.client.tell(client_session(50 + i, kRelayNode + i));
    TestListener relay;
    route(pair.client,
          {hop(kExitNode, relay.port(), {via(kRelayNode, 4001), via(kRelayNode + 1, 4002), via(kRelayNode + 2)})});
    TestSocket app = request(pair, 80);
    TestSocket tunnel = relay.accept();
    EXPECT_EQ(tunnel.receive(4 * wire::kRequestFlightMultiple).size(), 4 * wire::kRequestFlightMultiple);
}

// A relay that answers with `bytes` (made by `answer`) and closes; the next hop is the exit itself.
ring::HopFailed failure_after(const std::function<void(Asked&)>& answer) {
    EnginePair pair;
    const auto session = client_session(50, kRelayNode);
    pair.client.tell(session);
    pair.client.tell(client_session(60, 8));
    TestListener relay, listener;
    route(pair.client, {hop(8, relay.port(), {via(kRelayNode)}), hop(kExitNode, pair.tunnel_port)});
    TestSocket app = request(pair, listener.port());
    {
        Asked asked = accept_request(relay, session);
        EXPECT_EQ(asked.request.kind, wire::RequestKind::forward);
        answer(asked);
        asked.socket.shut_down();
        TestSocket target = listener.accept();
        EXPECT_EQ(app.receive(4), kSucceeded);
    }
    return pair.client.expect<ring::HopFailed>();
}

TEST(Path, ARelayThatRefusesIsReplaced) {
    for (const StreamStatus status :
         {StreamStatus::kind_not_supported, StreamStatus::next_unknown, StreamStatus::next_unreachable,
          StreamStatus::relay_limit, StreamStatus::general_failure, StreamStatus::draining}) {
        const auto failed = failure_after([&](Asked& asked) { asked.send(asked.side.answer(status)); });
        EXPECT_EQ(failed.node, 8U);
        EXPECT_EQ(failed.at, kRelayNode);
        EXPECT_EQ(failed.session_id, 50U);
        EXPECT_EQ(failed.stage, ring::HopStage::response);
        EXPECT_EQ(failed.status, static_cast<uint8_t>(status));
        EXPECT_EQ(failed.error, 0);
    }
}

TEST(Path, ARelayThatDiesOrLiesIsReplaced) {
    const auto dies = failure_after([](Asked&) {});
    EXPECT_EQ(dies.at, kRelayNode);
    EXPECT_EQ(dies.status, 0);
    const auto lies =
        failure_after([](Asked& asked) { asked.socket.send("HTTP/1.1 400 Bad Request\r\n" + std::string(80, ' ')); });
    EXPECT_EQ(lies.at, kRelayNode);
    EXPECT_EQ(lies.error, EBADMSG);
    // Behind the relay's answer it is the node that is missing.
    const auto node = failure_after([](Asked& asked) { asked.send(asked.side.answer()); });
    EXPECT_EQ(node.at, 8U);
    EXPECT_EQ(node.session_id, 60U);
    const auto node_lies = failure_after([](Asked& asked) {
        asked.send(asked.side.answer());
        asked.socket.send(std::string(100, 'x'));
    });
    EXPECT_EQ(node_lies.at, 8U);
    EXPECT_EQ(node_lies.error, EBADMSG);
}

TEST(Path, NobodyListensAtTheRelay) {
    EnginePair pair;
    pair.client.tell(client_session(50, kRelayNode));
    TestListener nobody;
    const uint16_t port = nobody.port();
    nobody.close();
    route(pair.client, {hop(kExitNode, port, {via(kRelayNode)})});
    TestSocket app = request(pair, 80);
    EXPECT_EQ(app.receive(4), kGeneralFailure);
    const auto failed = pair.client.expect<ring::HopFailed>();
    EXPECT_EQ(failed.node, kExitNode);
    EXPECT_EQ(failed.at, kRelayNode);
    EXPECT_EQ(failed.session_id, 50U);
    EXPECT_EQ(failed.stage, ring::HopStage::connect);
    EXPECT_EQ(failed.error, ECONNREFUSED);
}

TEST(Path, ARelaysAnswerIsNotTheNodes) {
    // One second is the least that a try gets; a node that had answered would have twenty.
    EnginePair pair;
    const auto session = client_session(50, kRelayNode);
    pair.client.tell(session);
    pair.client.tell(client_session(60, 8));
    TestListener relay, listener;
    route(pair.client, {hop(8, relay.port(), {via(kRelayNode)}), hop(kExitNode, pair.tunnel_port)},
          ring::PlanRule::ordered, 2000);
    TestSocket app = request(pair, listener.port());
    Asked asked = accept_request(relay, session);
    asked.send(asked.side.answer());
    TestSocket target = listener.accept();
    EXPECT_EQ(app.receive(4), kSucceeded);
    const auto failed = pair.client.expect<ring::HopFailed>();
    EXPECT_EQ(failed.at, 8U);
    EXPECT_EQ(failed.error, ETIMEDOUT);
}

TEST(Path, WithoutASessionWithEachRelayItIsNotUsed) {
    EnginePair pair;
    pair.client.tell(client_session(50, kRelayNode));
    TestListener relay, listener;
    const std::vector<ring::Via> path{via(kRelayNode, 4001), via(kRelayNode + 1)};
    route(pair.client, {hop(kExitNode, relay.port(), path)});
    EXPECT_EQ(request(pair, listener.port()).receive(4), kGeneralFailure);
    route(pair.client, {hop(kExitNode, relay.port(), path), hop(kExitNode, pair.tunnel_port)});
    open_stream(pair, listener);
}

TEST(Path, StreamsLeaveARelayWhoseSessionIsRemoved) {
    EnginePair pair;
    const auto session = client_session(50, kRelayNode);
    pair.client.tell(session);
    TestListener relay, listener;
    route(pair.client, {hop(kExitNode, relay.port(), {via(kRelayNode)}), hop(kExitNode, pair.tunnel_port)});
    TestSocket app = request(pair, listener.port());
    Asked asked = accept_request(relay, session);
    asked.send(asked.side.answer());
    std::this_thread::sleep_for(50ms);  // the answer is in
    pair.client.tell(ring::RemoveSession{.session_id = 50, .node_lost = 0, .zero = {}});
    TestSocket target = listener.accept();
    EXPECT_EQ(app.receive(4), kSucceeded);
    EXPECT_EQ(pair.client.counters().hop_retries.load(), 0U);  // nobody's failure
}

TEST(Path, ALostNodesStreamsMoveAlsoWhenItHadAnswered) {
    EnginePair pair;
    const auto session = client_session(60, 8);
    pair.client.tell(session);
    TestListener node, listener;
    route(pair.client, {hop(8, node.port()), hop(kExitNode, pair.tunnel_port)});
    TestSocket app = request(pair, listener.port());
    Asked asked = accept_request(node, session);
    asked.send(asked.side.answer_preamble());
    std::this_thread::sleep_for(50ms);
    // Renewed: it goes on working on the target.
    auto renewed = session;
    renewed.session_id = 61;
    pair.client.tell(renewed);
    pair.client.tell(ring::RemoveSession{.session_id = 60, .node_lost = 0, .zero = {}});
    std::this_thread::sleep_for(100ms);
    asked.send(asked.side.response());
    EXPECT_EQ(app.receive(4), kSucceeded);

    TestSocket second = request(pair, listener.port());
    Asked again = accept_request(node, renewed);
    again.send(again.side.answer_preamble());
    std::this_thread::sleep_for(50ms);
    pair.client.tell(ring::RemoveSession{.session_id = 61, .node_lost = 1, .zero = {}});
    TestSocket target = listener.accept();
    EXPECT_EQ(second.receive(4), kSucceeded);
    EXPECT_EQ(pair.client.counters().hop_retries.load(), 0U);
}

// ----------------------------------------------------------------------------------------------------- statistics

TEST(NodeStatistics, LeastLoadedSpreadsStreamsThatAreBeingOpened) {
    EnginePair pair;
    TestListener nodes[2];
    std::vector<ring::PlanHop> hops;
    for (uint32_t i = 0; i < 2; ++i) {
        pair.client.tell(client_session(60 + i, 8 + i));
        hops.push_back(hop(8 + i, nodes[i].port()));
    }
    route(pair.client, hops, ring::PlanRule::least_loaded, 10'000, 1);
    std::vector<TestSocket> apps;
    for (int i = 0; i < 20; ++i) apps.push_back(request(pair, 80));
    std::map<uint32_t, uint32_t> in_flight;
    for (int reports = 0; reports < 5 && in_flight[8] + in_flight[9] < 20; ++reports) {
        const auto stats = pair.client.expect<ring::NodeStats>();
        for (uint32_t i = 0; i < stats.count; ++i) in_flight[stats.entries[i].node] = stats.entries[i].in_flight;
    }
    EXPECT_EQ(in_flight[8], 10U);
    EXPECT_EQ(in_flight[9], 10U);
    for (TestSocket& app : apps) app.close();
}

// A relay that died is replaced, a node that restarted is back: by then the plan is another one.
TEST(Patience, AWayThatIsFoundAMomentLaterIsTaken) {
    EnginePair pair;
    TestListener listener;
    TestListener nobody;
    const uint16_t dead = nobody.port();
    nobody.close();
    route(pair.client, {hop(kExitNode, dead)});
    TestSocket app = request(pair, listener.port());
    for (int i = 0; i < 2; ++i) EXPECT_EQ(pair.client.expect<ring::HopFailed>().at, kExitNode);
    route(pair.client, {hop(kExitNode, pair.tunnel_port)});
    TestSocket target = listener.accept();
    EXPECT_EQ(app.receive(12).substr(2, 4), kSucceeded.substr(2) + std::string("\x00\x01", 2));
    target.send("here");
    EXPECT_EQ(app.receive(4), "here");
}

// The session ends before the plan that no longer names its node comes.
TEST(Patience, AHopWithoutItsSessionIsAboutToLeaveThePlan) {
    EnginePair pair;
    TestListener listener;
    pair.client.tell(ring::RemoveSession{.session_id = 1001, .node_lost = 1, .zero = {}});
    TestSocket app = request(pair, listener.port());
    pair.install_session(1002);
    TestSocket target = listener.accept();
    target.send("here");
    EXPECT_EQ(app.receive(16).substr(12), "here");
}

TEST(NodeStatistics, ComeAboutOnceASecond) {
    EnginePair pair;
    TestListener listener;
    const auto await = [&](const std::function<bool(const ring::NodeStatsEntry&)>& condition) {
        for (int i = 0; i < 10; ++i) {
            const auto stats = pair.client.expect<ring::NodeStats>();
            EXPECT_EQ(stats.count, 1U);
            EXPECT_EQ(stats.entries[0].node, kExitNode);
            if (condition(stats.entries[0])) return stats.entries[0];
        }
        ADD_FAILURE();
        return ring::NodeStatsEntry{};
    };
    {
        Opened stream = open_stream(pair, listener);
        stream.app.send("12345");
        EXPECT_EQ(stream.target.receive(5), "12345");
        stream.target.send(std::string(70'000, 'x'));
        EXPECT_EQ(stream.app.receive(70'000).size(), 70'000U);
        const auto entry = await([](const auto& e) { return e.bytes_down == 70'000; });
        EXPECT_EQ(entry.in_flight, 1U);
        EXPECT_EQ(entry.opened, 1U);
        EXPECT_EQ(entry.failed, 0U);
        EXPECT_EQ(entry.bytes_up, 5U);
        EXPECT_GT(entry.rtt_us, 0U);
    }
    EXPECT_EQ(await([](const auto& e) { return e.in_flight == 0; }).opened, 1U);

    TestListener nobody;
    const uint16_t port = nobody.port();
    nobody.close();
    route(pair.client, {hop(kExitNode, port)});
    request(pair, 80).receive_end();
    // Two tries a round, and three pauses between four rounds.
    const auto failed = await([](const auto& e) { return e.failed == 8; });
    EXPECT_EQ(failed.opened, 1U);
    EXPECT_EQ(failed.in_flight, 0U);
}

TEST(NodeStatistics, OpeningTakesTime) {
    EnginePair pair;
    TestListener listener;
    Opened stream = open_stream(pair, listener);
    for (LoneEngine* engine : {&pair.client, &pair.exit}) {
        const auto& buckets = engine->counters().open_latency;
        EXPECT_TRUE(eventually([&] {
            return std::accumulate(buckets.begin(), buckets.end(), uint64_t{0},
                                   [](uint64_t sum, const auto& bucket) { return sum + bucket.load(); }) == 1;
        }));
    }
    // A refusal is no opening.
    TestListener closed;
    const uint16_t port = closed.port();
    closed.close();
    request(pair, port).receive_end();
    EXPECT_TRUE(eventually([&] { return testing::ended(pair.client, ring::EndReason::exit_refused) == 1; }));
    uint64_t opened = 0;
    for (const auto& bucket : pair.client.counters().open_latency) opened += bucket.load();
    EXPECT_EQ(opened, 1U);
}

// ------------------------------------------------------------------------------------------- control connections

constexpr uint64_t kConnection = ring::kOutgoingConnectionBit | 5;

ring::ControlConnect control_connect(uint16_t port, const std::vector<ring::Via>& path, uint32_t timeout_ms = 3000) {
    ring::ControlConnect command{};
    command.connection = kConnection;
    command.timeout_ms = timeout_ms;
    command.via_count = static_cast<uint8_t>(path.size());
    command.address = testing::loopback(port);
    command.id.fill(0x77);
    std::copy(path.begin(), path.end(), command.via.begin());
    return command;
}

class ControlPath : public ::testing::TestWithParam<ring::Role> {
protected:
    ControlPath() : engine(GetParam(), testing::small_limits(), 16) {
        if (GetParam() == ring::Role::node) {  // its engine runs once it has a listener
            ring::NodeKeys keys{};
            keys.header_key.fill(0x5a);
            engine.tell(keys);
            engine.listen(ring::ListenerKind::tunnel);
        }
        engine.tell(first);
        engine.tell(second);
    }

    ring::InstallSession first = client_session(50, kRelayNode);
    ring::InstallSession second = client_session(51, kRelayNode + 1);
    LoneEngine engine;
    TestListener relay;
};

TEST_P(ControlPath, OpensHopByHopAndThenCarriesBytes) {
    engine.tell(control_connect(relay.port(), {via(kRelayNode, 4001), via(kRelayNode + 1)}));
    Asked asked = accept_request(relay, first);
    EXPECT_EQ(asked.request.next.id[0], kRelayNode + 1);
    EXPECT_EQ(asked.request.next.hint->port, 4001);
    const std::string text = asked.socket.receive(wire::kRequestFlightMultiple);
    std::vector<uint8_t> flight(text.begin(), text.end());
    testing::NodeSide behind(second);
    const auto behind_request = behind.read_request(flight);
    ASSERT_TRUE(behind_request.has_value());
    EXPECT_EQ(behind_request->next.id[0], 0x77);

    std::string answers = testing::text_of(asked.side.answer()) + testing::text_of(behind.answer());
    // What the node says behind the last answer, in the same segment.
    answers += "hello";
    for (const char byte : answers.substr(0, answers.size() - 6)) asked.socket.send(std::string(1, byte));
    asked.socket.send(answers.substr(answers.size() - 6));
    const auto opened = engine.expect<ring::ControlOpened>();
    EXPECT_EQ(opened.connection, kConnection);
    EXPECT_EQ(opened.error, 0);
    EXPECT_EQ(opened.status, 0);
    EXPECT_EQ(opened.at, ring::kNoNode);
    const auto data = engine.expect<ring::ControlData>();
    EXPECT_EQ(std::string(data.bytes.begin(), data.bytes.begin() + data.size), "hello");

    ring::ControlSend message{};
    message.connection = kConnection;
    message.size = 4;
    std::copy_n("msg1", 4, message.bytes.begin());
    engine.tell(message);
    EXPECT_EQ(asked.socket.receive(4), "msg1");
    asked.socket.send("more");
    EXPECT_EQ(engine.expect<ring::ControlData>().size, 4);
    asked.socket.close();
    EXPECT_EQ(engine.expect<ring::ControlClosed>().connection, kConnection);
}

TEST_P(ControlPath, ARefusalSaysWhoAndWhy) {
    engine.tell(control_connect(relay.port(), {via(kRelayNode, 4001), via(kRelayNode + 1)}));
    Asked asked = accept_request(relay, first);
    const std::string text = asked.socket.receive(wire::kRequestFlightMultiple);
    std::vector<uint8_t> flight(text.begin(), text.end());
    testing::NodeSide behind(second);
    ASSERT_TRUE(behind.read_request(flight).has_value());
    asked.send(asked.side.answer());
    asked.send(behind.answer(StreamStatus::next_unreachable));
    const auto opened = engine.expect<ring::ControlOpened>();
    EXPECT_EQ(opened.error, 0);
    EXPECT_EQ(opened.status, static_cast<uint8_t>(StreamStatus::next_unreachable));
    EXPECT_EQ(opened.at, kRelayNode + 1);
    EXPECT_EQ(asked.socket.receive_end(), 0);
    EXPECT_TRUE(eventually([&] { return engine.counters().control_connections.load() == 0; }));
}

TEST_P(ControlPath, FailuresSayHowFarItCame) {
    const auto outcome = [&](const std::function<void(Asked&)>& answer, uint32_t timeout_ms = 3000) {
        engine.tell(control_connect(relay.port(), {via(kRelayNode)}, timeout_ms));
        Asked asked = accept_request(relay, first);
        answer(asked);
        return engine.expect<ring::ControlOpened>();
    };
    auto opened = outcome([](Asked& asked) { asked.socket.close(); });
    EXPECT_EQ(opened.error, ECONNRESET);
    EXPECT_EQ(opened.at, kRelayNode);
    opened = outcome([](Asked& asked) { asked.socket.send(std::string(100, 'x')); });
    EXPECT_EQ(opened.error, EBADMSG);
    EXPECT_EQ(opened.at, kRelayNode);
    opened = outcome([](Asked& asked) { asked.send(asked.side.answer_preamble()); }, 200);
    EXPECT_EQ(opened.error, ETIMEDOUT);
    EXPECT_EQ(opened.at, kRelayNode);

    EXPECT_TRUE(eventually([&] { return engine.counters().control_connections.load() == 0; }));
    engine.tell(control_connect(relay.port(), {via(kRelayNode, 4001), via(kRelayNode + 9)}));
    opened = engine.expect<ring::ControlOpened>();
    EXPECT_EQ(opened.error, ENOTCONN);
    EXPECT_EQ(opened.at, kRelayNode + 9);

    const uint16_t port = relay.port();
    relay.close();
    engine.tell(control_connect(port, {via(kRelayNode)}));
    opened = engine.expect<ring::ControlOpened>();
    EXPECT_EQ(opened.error, ECONNREFUSED);
    EXPECT_EQ(opened.at, ring::kNoNode);
    EXPECT_TRUE(eventually([&] { return engine.counters().control_connections.load() == 0; }));
}

TEST_P(ControlPath, WhatIsSentBeforeItIsOpenWaits) {
    engine.tell(control_connect(relay.port(), {via(kRelayNode)}));
    ring::ControlSend message{};
    message.connection = kConnection;
    message.size = 4;
    message.authenticated = 1;  // must not lift the limit of the path
    std::copy_n("msg1", 4, message.bytes.begin());
    engine.tell(message);
    Asked asked = accept_request(relay, first);
    engine.tell(message);
    asked.send(asked.side.answer());
    EXPECT_EQ(engine.expect<ring::ControlOpened>().error, 0);
    EXPECT_EQ(asked.socket.receive(8), "msg1msg1");
}

INSTANTIATE_TEST_SUITE_P(Roles, ControlPath, ::testing::Values(ring::Role::client, ring::Role::node),
                         [](const auto& role) { return role.param == ring::Role::client ? "client" : "node"; });

}  // namespace
}  // namespace qanat::dataplane
