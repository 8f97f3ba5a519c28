// One tunnel connection for several streams, one after the other (PROTOCOL.md section 4.4): real engines on both sides,
// or the test in the place of one of them.

#include <gtest/gtest.h>

#include <chrono>
#include <string>
#include <thread>
#include <vector>

#include "tests/support/engine_pair.h"
#include "tests/support/fake_node.h"
#include "tests/support/raw_stream.h"
#include "tests/support/sockets.h"
#include "tests/support/streams.h"

namespace qanat::dataplane {
namespace {

using ::qanat::testing::TestListener;
using ::qanat::testing::TestSocket;
using testing::EnginePair;
using testing::eventually;
using testing::FakeNode;
using testing::FakeTunnel;
using testing::LoneEngine;
using testing::open_stream;
using testing::Opened;
using testing::RawStream;
using testing::socks_request;
using testing::talk;
using wire::ContentType;
using wire::RequestKind;
using wire::StreamStatus;
using namespace std::chrono_literals;

const std::string kCloseNotify("\x01\x00", 2);
const std::string kCloseAndPark("\x01\x01", 2);
const std::string kAbort("\x02\x5a", 2);

// A pool that makes no connection of its own: what waits in it has come back.
void keep_returned_only(LoneEngine& client, uint32_t per_node) {
    client.tell(ring::Settings{
        .stream_events = 0, .zero = {}, .pool_max = per_node, .pool_min_rtt_us = UINT32_MAX, .zero2 = 0});
}

// As most requests with an answer end.
void end_by_app(Opened& stream) {
    stream.app.shut_down();
    EXPECT_EQ(stream.target.receive_end(), 0);
    stream.target.shut_down();
    EXPECT_EQ(stream.app.receive_end(), 0);
}

bool returned_becomes(EnginePair& pair, uint64_t count) {
    return eventually([&] { return pair.client.counters().pool_returned == count; });
}

TEST(Reuse, OneTunnelServesStreamsOneAfterTheOther) {
    EnginePair pair;
    TestListener listener;
    keep_returned_only(pair.client, 4);
    for (int i = 0; i < 50; ++i) {
        Opened stream = open_stream(pair, listener);
        talk(stream, i % 10 == 9 ? std::string(300'000, static_cast<char>('a' + i / 10)) : std::to_string(i));
        end_by_app(stream);
        ASSERT_TRUE(returned_becomes(pair, static_cast<uint64_t>(i) + 1));
    }
    EXPECT_EQ(pair.exit.counters().connections_accepted, 1u);
    EXPECT_EQ(pair.client.counters().pool_hits, 49u);
    EXPECT_EQ(pair.client.counters().pool_stale, 0u);
    EXPECT_EQ(pair.client.counters().hop_retries, 0u);
    EXPECT_EQ(testing::ended(pair.client, ring::EndReason::completed), 50u);
    EXPECT_TRUE(eventually([&] { return testing::ended(pair.exit, ring::EndReason::completed) == 50; }));
    EXPECT_EQ(pair.exit.counters().streams_total, 50u);
    EXPECT_EQ(pair.exit.counters().buffers_used, 0u);
}

TEST(Reuse, AtMostAsManyTunnelsAsStreamsAtATime) {
    EnginePair pair;
    TestListener listener;
    keep_returned_only(pair.client, 16);
    for (int round = 1; round <= 20; ++round) {
        std::vector<Opened> streams;
        for (int i = 0; i < 8; ++i) streams.push_back(open_stream(pair, listener));
        for (Opened& stream : streams) talk(stream, "round " + std::to_string(round));
        for (Opened& stream : streams) end_by_app(stream);
        ASSERT_TRUE(returned_becomes(pair, static_cast<uint64_t>(round) * 8));
    }
    EXPECT_EQ(pair.exit.counters().connections_accepted, 8u);
}

TEST(Reuse, EachDirectionStillEndsByItself) {
    EnginePair pair;
    TestListener listener;
    keep_returned_only(pair.client, 4);
    for (uint64_t i = 1; i <= 2; ++i) {
        Opened stream = open_stream(pair, listener);
        stream.app.send("question");
        stream.app.shut_down();
        EXPECT_EQ(stream.target.receive(100), "question");
        stream.target.send("answer, after the end of the question");
        stream.target.shut_down();
        EXPECT_EQ(stream.app.receive(100), "answer, after the end of the question");
        ASSERT_TRUE(returned_becomes(pair, i));
    }
    EXPECT_EQ(pair.exit.counters().connections_accepted, 1u);
}

// The exit cannot know how much there is to come, nor the client whether its target takes it.
TEST(Reuse, ATargetThatEndsFirstEndsTheTunnel) {
    EnginePair pair;
    TestListener listener;
    keep_returned_only(pair.client, 4);
    Opened stream = open_stream(pair, listener);
    stream.target.send("greeting");
    stream.target.shut_down();
    EXPECT_EQ(stream.app.receive(100), "greeting");
    const std::string text(2'000'000, 'l');
    stream.app.send(text);
    stream.app.shut_down();
    EXPECT_TRUE(eventually([&] { return testing::ended(pair.client, ring::EndReason::completed) == 1; }));
    // What the target has not read yet stands in nobody's way.
    Opened next = open_stream(pair, listener);
    talk(next, "next");
    EXPECT_TRUE(stream.target.receive_all() == text);
    EXPECT_EQ(pair.client.counters().pool_returned, 0u);
    EXPECT_EQ(pair.client.counters().pool_stale, 0u);
    EXPECT_EQ(pair.exit.counters().connections_accepted, 2u);
}

TEST(Reuse, AStreamThatIsResetTakesItsTunnelAlong) {
    EnginePair pair;
    TestListener listener;
    keep_returned_only(pair.client, 4);
    Opened by_app = open_stream(pair, listener);
    talk(by_app, "app");
    by_app.app.reset();
    EXPECT_EQ(by_app.target.receive_end(), ECONNRESET);
    Opened by_target = open_stream(pair, listener);
    talk(by_target, "target");
    by_target.target.reset();
    EXPECT_EQ(by_target.app.receive_end(), ECONNRESET);
    Opened last = open_stream(pair, listener);
    talk(last, "last");
    EXPECT_EQ(pair.client.counters().pool_returned, 0u);
    EXPECT_EQ(pair.exit.counters().connections_accepted, 3u);
}

TEST(Reuse, WithoutAPoolNothingIsKept) {
    EnginePair pair;
    TestListener listener;
    keep_returned_only(pair.client, 0);
    for (int i = 0; i < 3; ++i) {
        Opened stream = open_stream(pair, listener);
        end_by_app(stream);
    }
    EXPECT_TRUE(eventually([&] { return testing::ended(pair.exit, ring::EndReason::completed) == 3; }));
    EXPECT_EQ(testing::ended(pair.exit, ring::EndReason::parked_expired), 0u);
    EXPECT_EQ(pair.exit.counters().connections_accepted, 3u);
}

TEST(Reuse, ATunnelOfAnotherSessionOrPathIsNotTakenBack) {
    EnginePair pair;
    TestListener listener;
    keep_returned_only(pair.client, 4);
    Opened old_session = open_stream(pair, listener);
    pair.install_session(1002);
    end_by_app(old_session);
    EXPECT_TRUE(eventually([&] { return testing::ended(pair.client, ring::EndReason::completed) == 1; }));
    Opened old_path = open_stream(pair, listener);
    FakeNode elsewhere(testing::pair_session(1002));
    pair.route_to(elsewhere.port());
    end_by_app(old_path);
    EXPECT_TRUE(eventually([&] { return testing::ended(pair.client, ring::EndReason::completed) == 2; }));
    EXPECT_EQ(pair.client.counters().pool_returned, 0u);
    EXPECT_EQ(pair.client.counters().pool_parked, 0u);
}

TEST(Reuse, ANodeThatDrainsOrForgetsTheSessionEndsTheTunnelWithTheStream) {
    EnginePair pair;
    TestListener listener;
    keep_returned_only(pair.client, 4);
    Opened forgotten = open_stream(pair, listener);
    pair.exit.tell(ring::RemoveSession{.session_id = 1001, .node_lost = 0, .zero = {}});
    end_by_app(forgotten);
    EXPECT_TRUE(eventually([&] { return pair.client.counters().pool_parked == 0; }));
    pair.install_session(1002);
    Opened drained = open_stream(pair, listener);
    pair.exit.tell(ring::Drain{});
    end_by_app(drained);
    pair.exit.expect<ring::Drained>();
    EXPECT_TRUE(eventually([&] { return pair.client.counters().pool_parked == 0; }));
    EXPECT_EQ(pair.client.counters().hop_retries, 0u);
}

TEST(Reuse, AnExitThatDiesWhileATunnelWaitsCostsNoStream) {
    EnginePair pair;
    TestListener listener;
    keep_returned_only(pair.client, 4);
    Opened first = open_stream(pair, listener);
    end_by_app(first);
    ASSERT_TRUE(returned_becomes(pair, 1));
    pair.exit.stop();
    EnginePair next;
    next.install_session(1001);
    pair.route_to(next.tunnel_port);
    Opened second = open_stream(pair, listener);
    talk(second, "elsewhere");
}

// The client's side by hand.
class ReuseAtExit : public ::testing::Test {
protected:
    // Opens a stream over `raw`; the target's end of it.
    TestSocket open(RawStream& raw) {
        raw.socket().send(raw.request(RequestKind::connect, listener.port(), true));
        TestSocket target = listener.accept();
        const auto response = raw.whole_response();
        EXPECT_TRUE(response && response->status == StreamStatus::ok && response->kept);
        return target;
    }
    // Ends it as most requests with an answer do.
    void end(RawStream& raw, TestSocket& target, const std::string& up) {
        std::string last = up.empty() ? "" : raw.record(up);
        last += raw.record(kCloseNotify, ContentType::alert);
        raw.socket().send(last);
        EXPECT_EQ(target.receive(100), up);
        target.send("down");
        target.shut_down();
        EXPECT_EQ(raw.next_record(), "down");
        EXPECT_EQ(raw.next_record(), kCloseAndPark);
    }
    uint64_t protocol_errors() { return testing::ended(pair.exit, ring::EndReason::protocol_error); }

    EnginePair pair;
    TestListener listener;
};

TEST_F(ReuseAtExit, IsAgreedOnByFlagAndTlv) {
    RawStream raw(pair.tunnel_port, 1);
    raw.socket().send(raw.request(RequestKind::connect, listener.port(), false));
    TestSocket target = listener.accept();
    const auto response = raw.whole_response();
    ASSERT_TRUE(response);
    EXPECT_FALSE(response->kept);
    target.shut_down();
    EXPECT_EQ(raw.next_record(), kCloseNotify);
    EXPECT_EQ(raw.socket().receive(1), "") << "without the flag the direction ends as well";
}

TEST_F(ReuseAtExit, TheNextStreamGoesOnInTheSameRecords) {
    RawStream raw(pair.tunnel_port, 1);
    for (int i = 0; i < 5; ++i) {
        TestSocket target = open(raw);
        end(raw, target, "up");
        EXPECT_TRUE(eventually([&] { return pair.exit.counters().streams_active == 0; }));
    }
    EXPECT_EQ(pair.exit.counters().connections_accepted, 1u);
    raw.socket().close();
    EXPECT_TRUE(eventually([&] { return testing::ended(pair.exit, ring::EndReason::parked_expired) == 1; }));
}

TEST_F(ReuseAtExit, ATargetThatEndsFirstDoesNotPark) {
    RawStream raw(pair.tunnel_port, 1);
    TestSocket target = open(raw);
    target.shut_down();
    EXPECT_EQ(raw.next_record(), kCloseNotify);
    EXPECT_EQ(raw.socket().receive(1), "") << "the direction ends as well";
    raw.socket().send(raw.record("still there"));
    EXPECT_EQ(target.receive(11), "still there");
    raw.socket().send(raw.record(kCloseNotify, ContentType::alert));
    EXPECT_EQ(target.receive_end(), 0);
    EXPECT_TRUE(eventually([&] { return testing::ended(pair.exit, ring::EndReason::completed) == 1; }));
    EXPECT_EQ(testing::ended(pair.exit, ring::EndReason::parked_expired), 0u);
}

TEST_F(ReuseAtExit, ARequestBeforeTheTunnelIsFreeIsAnError) {
    RawStream raw(pair.tunnel_port, 1);
    TestSocket target = open(raw);
    std::string both = raw.record(kCloseNotify, ContentType::alert);
    both += raw.request(RequestKind::connect, listener.port(), true);
    raw.socket().send(both);
    EXPECT_EQ(target.receive_end(), ECONNRESET);
    EXPECT_EQ(raw.next_record(), kAbort);
    EXPECT_TRUE(eventually([&] { return protocol_errors() == 1; }));
}

TEST_F(ReuseAtExit, OnlyTheNodeParks) {
    RawStream raw(pair.tunnel_port, 1);
    TestSocket target = open(raw);
    raw.socket().send(raw.record(kCloseAndPark, ContentType::alert));
    EXPECT_EQ(target.receive_end(), ECONNRESET);
    EXPECT_TRUE(eventually([&] { return protocol_errors() == 1; }));
}

TEST_F(ReuseAtExit, ADataRecordInPlaceOfTheNextRequestIsAnError) {
    RawStream raw(pair.tunnel_port, 1);
    TestSocket target = open(raw);
    end(raw, target, "");
    raw.socket().send(raw.record("no request"));
    EXPECT_TRUE(eventually([&] { return protocol_errors() == 1; }));
    EXPECT_EQ(raw.next_record(), std::nullopt);
}

TEST_F(ReuseAtExit, AForgedNextRequestIsAnError) {
    RawStream raw(pair.tunnel_port, 1);
    TestSocket target = open(raw);
    end(raw, target, "");
    std::string forged = raw.request(RequestKind::connect, listener.port(), true);
    forged[40] = static_cast<char>(forged[40] ^ 1);
    raw.socket().send(forged);
    EXPECT_TRUE(eventually([&] { return protocol_errors() == 1; }));
    EXPECT_EQ(raw.next_record(), std::nullopt);
}

TEST_F(ReuseAtExit, ASlowTargetIsAnnouncedByAnEmptyRecord) {
    RawStream raw(pair.tunnel_port, 1);
    raw.socket().send(raw.request(RequestKind::park));
    EXPECT_EQ(raw.response(), StreamStatus::parked);
    wire::Request request{.kind = RequestKind::connect, .keep = true, .target = *wire::Target::parse("slow.test:80")};
    raw.socket().send(raw.request(request));
    const auto question = pair.exit.expect<ring::Resolve>();
    EXPECT_EQ(raw.next_record(), "");
    pair.exit.tell(ring::ResolveResult{
        .query = question.query, .status = ring::ResolveStatus::not_found, .count = 0, .zero = {}, .addresses = {}});
    EXPECT_EQ(raw.response(), StreamStatus::name_not_found);
}

// The node's side by hand.
class ReuseAtClient : public ::testing::Test {
protected:
    ReuseAtClient() {
        pair.client.tell(
            ring::Settings{.stream_events = 0, .zero = {}, .pool_max = 1, .pool_min_rtt_us = 0, .zero2 = 0});
        pair.route_to(node.port());
    }
    TestSocket ask() {
        TestSocket app = TestSocket::connect(pair.socks_port);
        app.send(socks_request(80));
        return app;
    }
    // A connection that the client has parked here, and whose REQUEST has come.
    FakeTunnel parked_request(TestSocket& app) {
        TestSocket first = ask();
        FakeTunnel own = node.accept();
        own.answer(StreamStatus::ok);
        EXPECT_EQ(first.receive(12).substr(0, 4), std::string("\x05\x00\x05\x00", 4));
        FakeTunnel parked = node.accept();
        EXPECT_EQ(parked.request.kind, RequestKind::park);
        parked.answer(StreamStatus::parked);
        EXPECT_TRUE(eventually([&] { return pair.client.counters().pool_parked == 1; }));
        app = ask();
        EXPECT_TRUE(parked.next_request().keep);
        return parked;
    }
    static std::vector<uint8_t> empty_record(FakeTunnel& tunnel) { return tunnel.side.seal({}, ContentType::data); }

    EnginePair pair;
    FakeNode node{testing::pair_session(1001)};
};

TEST_F(ReuseAtClient, AnAnnouncedAnswerIsWaitedFor) {
    TestSocket app;
    FakeTunnel parked = parked_request(app);
    parked.send(empty_record(parked));
    std::this_thread::sleep_for(1700ms);  // longer than an unannounced one is waited for
    parked.send(parked.side.response(StreamStatus::ok));
    EXPECT_EQ(app.receive(12).substr(0, 4), std::string("\x05\x00\x05\x00", 4));
    EXPECT_EQ(pair.client.counters().pool_stale, 0u);
}

TEST_F(ReuseAtClient, OneAnnouncementIsEnough) {
    TestSocket app;
    FakeTunnel parked = parked_request(app);
    parked.send(empty_record(parked));
    parked.send(empty_record(parked));
    const auto failed = pair.client.expect<ring::HopFailed>();
    EXPECT_EQ(failed.error, EBADMSG);
}

TEST_F(ReuseAtClient, AnEndBehindTheAnnouncementIsTheNodesFailure) {
    TestSocket app;
    FakeTunnel parked = parked_request(app);
    parked.send(empty_record(parked));
    std::this_thread::sleep_for(50ms);
    parked.socket.close();
    EXPECT_EQ(pair.client.expect<ring::HopFailed>().stage, ring::HopStage::response);
    EXPECT_EQ(pair.client.counters().pool_stale, 0u);
}

TEST_F(ReuseAtClient, ANodeThatDoesNotKeepEndsAsBefore) {
    TestSocket app = ask();
    FakeTunnel tunnel = node.accept();
    EXPECT_TRUE(tunnel.request.keep);
    tunnel.answer(StreamStatus::ok);  // says nothing of keeping
    EXPECT_EQ(app.receive(12).substr(0, 4), std::string("\x05\x00\x05\x00", 4));
    app.shut_down();
    EXPECT_EQ(tunnel.socket.receive_end(), 0) << "close_notify, and the end of the direction";
}

TEST_F(ReuseAtClient, ATunnelCannotBeFreeWhileTheApplicationStillSends) {
    TestSocket app = ask();
    FakeTunnel tunnel = node.accept();
    tunnel.send(tunnel.side.answer(StreamStatus::ok, true));
    EXPECT_EQ(app.receive(12).substr(0, 4), std::string("\x05\x00\x05\x00", 4));
    tunnel.send(tunnel.side.seal(std::array<uint8_t, 2>{0x01, 0x01}, ContentType::alert));
    EXPECT_EQ(app.receive_end(), ECONNRESET);
    EXPECT_EQ(testing::ended(pair.client, ring::EndReason::protocol_error), 1u);
}

TEST_F(ReuseAtClient, AnEndThatDoesNotParkBringsNothingBack) {
    TestSocket app = ask();
    FakeTunnel tunnel = node.accept();
    tunnel.send(tunnel.side.answer(StreamStatus::ok, true));
    EXPECT_EQ(app.receive(12).substr(0, 4), std::string("\x05\x00\x05\x00", 4));
    app.shut_down();
    tunnel.send(tunnel.side.seal(wire::kCloseNotify, ContentType::alert));
    EXPECT_EQ(app.receive_end(), 0);
    EXPECT_EQ(tunnel.socket.receive_end(), 0);
    EXPECT_EQ(pair.client.counters().pool_returned, 0u);
}

}  // namespace
}  // namespace qanat::dataplane
