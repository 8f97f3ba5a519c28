// Peers that stall, vanish, lie or ask too much, against whole engines.

#include <gtest/gtest.h>

#include <chrono>
#include <thread>

#include "tests/support/engine_pair.h"
#include "tests/support/raw_stream.h"
#include "tests/support/sockets.h"
#include "tests/support/streams.h"

namespace qanat::dataplane {
namespace {

using ::qanat::testing::TestListener;
using ::qanat::testing::TestSocket;
using testing::ended;
using testing::EnginePair;
using testing::eventually;
using testing::LoneEngine;
using testing::open_stream;
using testing::Opened;
using testing::RawStream;
using testing::socks_request;
using namespace std::chrono_literals;

// Sends until nothing was taken for 300 ms; returns how much was.
size_t send_until_blocked(TestSocket& socket) {
    const timeval soon{.tv_sec = 0, .tv_usec = 300'000};
    ::setsockopt(socket.fd(), SOL_SOCKET, SO_SNDTIMEO, &soon, sizeof soon);
    const std::string block(1 << 20, 'x');
    size_t sent = 0;
    while (true) {
        const ssize_t count = ::send(socket.fd(), block.data(), block.size(), MSG_NOSIGNAL);
        if (count < 0) return sent;
        sent += static_cast<size_t>(count);
    }
}

// Turns in half a second.
uint64_t restlessness(LoneEngine& engine) {
    const uint64_t before = engine.counters().loops.load();
    std::this_thread::sleep_for(500ms);
    return engine.counters().loops.load() - before;
}
constexpr uint64_t kRestful = 150;

TEST(Hostile, AHalfClosedPeerThatDoesNotReadLeavesTheEngineAtRest) {
    EnginePair pair;
    TestListener listener;
    Opened down = open_stream(pair, listener);
    down.app.shut_down();
    EXPECT_EQ(down.target.receive_all(), "");
    const size_t sent = send_until_blocked(down.target);
    EXPECT_LE(restlessness(pair.client), kRestful);
    EXPECT_LE(restlessness(pair.exit), kRestful);
    down.target.shut_down();
    EXPECT_EQ(down.app.receive_all().size(), sent);

    Opened up = open_stream(pair, listener);
    up.target.shut_down();
    EXPECT_EQ(up.app.receive_all(), "");
    const size_t sent_up = send_until_blocked(up.app);
    EXPECT_LE(restlessness(pair.client), kRestful);
    EXPECT_LE(restlessness(pair.exit), kRestful);
    up.app.shut_down();
    EXPECT_EQ(up.target.receive_all().size(), sent_up);
    EXPECT_TRUE(eventually([&] { return ended(pair.client, ring::EndReason::completed) == 2; }));
    EXPECT_TRUE(eventually([&] { return ended(pair.exit, ring::EndReason::completed) == 2; }));
}

// The FIN is behind bytes that nobody reads, in both directions at once.
TEST(Hostile, BothSidesFullAndHalfClosedLeaveTheEngineAtRest) {
    EnginePair pair;
    TestListener listener;
    Opened stream = open_stream(pair, listener);
    const size_t up = send_until_blocked(stream.app);
    const size_t down = send_until_blocked(stream.target);
    stream.app.shut_down();
    stream.target.shut_down();
    EXPECT_LE(restlessness(pair.client), kRestful);
    EXPECT_LE(restlessness(pair.exit), kRestful);
    size_t got_down = 0;
    std::thread reader([&] { got_down = stream.app.receive_all().size(); });
    EXPECT_EQ(stream.target.receive_all().size(), up);
    reader.join();
    EXPECT_EQ(got_down, down);
    EXPECT_TRUE(eventually([&] { return ended(pair.client, ring::EndReason::completed) == 1; }));
}

TEST(Hostile, AResetIsNoticedWhileTheOtherSideDoesNotRead) {
    EnginePair pair;
    TestListener listener;
    Opened up = open_stream(pair, listener);
    send_until_blocked(up.app);
    up.app.reset();
    EXPECT_TRUE(eventually([&] { return ended(pair.client, ring::EndReason::application_reset) == 1; }));
    EXPECT_TRUE(eventually([&] { return ended(pair.exit, ring::EndReason::tunnel_reset) == 1; }));
    Opened down = open_stream(pair, listener);
    send_until_blocked(down.target);
    down.target.reset();
    EXPECT_TRUE(eventually([&] { return ended(pair.exit, ring::EndReason::application_reset) == 1; }));
    EXPECT_TRUE(eventually([&] {
        return ended(pair.client, ring::EndReason::tunnel_reset) + ended(pair.client, ring::EndReason::peer_abort) == 1;
    }));
    EXPECT_TRUE(eventually([&] { return pair.exit.counters().buffers_used.load() == 0; }));
    EXPECT_TRUE(eventually([&] { return pair.client.counters().buffers_used.load() == 0; }));
}

TEST(Hostile, ATinyPoolStillMovesBytes) {
    EnginePair pair(crypto::Suite::aes_128_gcm, testing::small_limits(), 5);
    TestListener listener;
    std::vector<Opened> streams;
    for (int i = 0; i < 6; ++i) streams.push_back(open_stream(pair, listener));
    const std::string data(1 << 20, 'd');
    std::vector<std::thread> threads;
    std::atomic<int> whole{0};
    for (Opened& stream : streams) {
        threads.emplace_back([&] {
            stream.app.send(data);
            stream.app.shut_down();
        });
        threads.emplace_back([&] { whole += stream.target.receive_all().size() == data.size(); });
    }
    for (std::thread& thread : threads) thread.join();
    EXPECT_EQ(whole, 6);
}

// Lanes that hold half a record each must not wait for each other's memory.
TEST(Hostile, HalfRecordsThatFillThePoolCanBeFinished) {
    constexpr size_t kStreams = 24;
    EnginePair pair(crypto::Suite::aes_128_gcm, testing::small_limits(), kStreams);
    TestListener listener;
    std::vector<std::unique_ptr<RawStream>> streams;
    std::vector<TestSocket> targets;
    std::vector<std::string> records;
    for (size_t i = 0; i < kStreams; ++i) {
        streams.push_back(std::make_unique<RawStream>(pair.tunnel_port, 5000 + i));
        streams[i]->socket().send(streams[i]->request(wire::RequestKind::connect, listener.port()));
        targets.push_back(listener.accept());
        ASSERT_EQ(streams[i]->response(), wire::StreamStatus::ok);
        records.push_back(streams[i]->record(std::string(16000, 'r')));
        streams[i]->socket().send(records[i].substr(0, i % 3 == 0 ? 3 : 9000));
    }
    std::this_thread::sleep_for(200ms);
    EXPECT_GE(pair.exit.counters().buffers_used.load(), kStreams - 4);
    for (size_t i = 0; i < kStreams; ++i) streams[i]->socket().send(records[i].substr(i % 3 == 0 ? 3 : 9000));
    for (TestSocket& target : targets) EXPECT_EQ(target.receive(16000).size(), 16000u);
    EXPECT_TRUE(eventually([&] { return pair.exit.counters().buffers_used.load() == 0; }));
}

TEST(Hostile, ARequestBehindAParkIsAnswered) {
    EnginePair pair;
    TestListener listener;
    RawStream stream(pair.tunnel_port, 5000);
    const std::string park = stream.request(wire::RequestKind::park);
    const std::string connect = stream.request(wire::RequestKind::connect, listener.port());
    const std::string data = stream.record("early");
    stream.socket().send(park + connect + data);
    EXPECT_EQ(stream.response(), wire::StreamStatus::parked);
    EXPECT_EQ(stream.response(), wire::StreamStatus::ok);
    EXPECT_EQ(listener.accept().receive(5), "early");
}

TEST(Hostile, ParkedStreamsDoNotHoldUpADrain) {
    EnginePair pair;
    RawStream parked(pair.tunnel_port, 5000);
    parked.socket().send(parked.request(wire::RequestKind::park));
    EXPECT_EQ(parked.response(), wire::StreamStatus::parked);
    pair.exit.tell(ring::Drain{});
    pair.exit.expect<ring::Drained>();
}

TEST(Hostile, OutsidersTakeNoSlotsFromMembers) {
    auto limits = testing::small_limits();
    limits.streams = 4;
    limits.unauthenticated = 8;
    EnginePair pair(crypto::Suite::aes_128_gcm, limits);
    std::vector<TestSocket> outsiders;
    for (int i = 0; i < 7; ++i) {
        outsiders.push_back(TestSocket::connect(pair.tunnel_port));
        outsiders.back().send("x");
    }
    EXPECT_TRUE(eventually([&] { return pair.exit.counters().connections_accepted.load() >= 7; }));
    TestListener listener;
    std::vector<Opened> streams;
    for (int i = 0; i < 4; ++i) streams.push_back(open_stream(pair, listener));
    EXPECT_EQ(pair.exit.counters().streams_active.load(), 4u);
}

TEST(Hostile, FalseHandshakesDoNotKeepOthersOut) {
    auto limits = testing::small_limits();
    limits.unauthenticated = 4;
    limits.sessions = 2;
    EnginePair pair(crypto::Suite::aes_128_gcm, limits);
    std::string msg1(512, 'm');
    msg1[0] = 1;
    std::vector<TestSocket> peers;
    for (int i = 0; i < 200; ++i) {
        peers.push_back(TestSocket::connect(pair.tunnel_port));
        peers.back().send(msg1);
        const auto accepted = pair.exit.expect<ring::ControlAccepted>();
        pair.exit.tell(
            ring::ControlClose{.connection = accepted.connection, .how = ring::CloseHow::silent, .zero = {}});
    }
    EXPECT_EQ(peers.back().receive(1), "");  // at its deadline
    EXPECT_TRUE(eventually([&] { return pair.exit.counters().control_connections.load() == 0; }));
}

TEST(Hostile, TerminatedWithoutControlPlaneItResetsWhatIsOpen) {
    EnginePair pair;
    TestListener listener;
    Opened stream = open_stream(pair, listener);
    stream.target.send("half of it");
    EXPECT_EQ(stream.app.receive(10), "half of it");
    pair.client.cut_lifeline();
    pair.client.terminate();
    EXPECT_EQ(stream.app.receive_end(), ECONNRESET);
    EXPECT_EQ(stream.target.receive_end(), ECONNRESET);
}

TEST(Hostile, AfterABrokenContractStreamsGoOnAndTheEngineRests) {
    EnginePair pair;
    TestListener listener;
    Opened stream = open_stream(pair, listener);
    for (int i = 0; i < 3; ++i) pair.exit.tell(ring::NodeKeys{});  // not permitted any more
    EXPECT_LE(restlessness(pair.exit), kRestful);
    stream.app.send("still");
    EXPECT_EQ(stream.target.receive(5), "still");
    stream.app.shut_down();
    stream.target.shut_down();
    EXPECT_EQ(stream.target.receive_end(), 0);
}

TEST(Hostile, StopEndsAlsoWhenNobodyReadsEvents) {
    LoneEngine engine(ring::Role::client, testing::small_limits(), 64);
    TestListener listener;
    TestListener nobody;
    const uint16_t closed_port = nobody.port();
    nobody.close();
    ring::ControlConnect connect{};
    connect.connection = ring::kOutgoingConnectionBit | 1;
    connect.timeout_ms = 5000;
    connect.address = testing::loopback(listener.port());
    engine.tell(connect);
    TestSocket peer = listener.accept();
    connect.address = testing::loopback(closed_port);
    for (uint64_t i = 2; i < 1200; ++i) {  // each answered by an event
        connect.connection = ring::kOutgoingConnectionBit | i;
        engine.tell(connect);
    }
    EXPECT_TRUE(eventually([&] { return engine.counters().events_dropped.load() > 0; }));
    engine.stop();
    EXPECT_EQ(peer.receive_end(), 0);
}

// A Drain that is applied while a first flight is being looked at ends the stream that it belongs to.
TEST(Hostile, ADrainInTheMiddleOfAFloodOfUnknownSessions) {
    for (unsigned round = 0; round < 10; ++round) {
        EnginePair pair;
        std::string flight("\x17\x03\x03\x00\x30", 5);
        flight += std::string(48, static_cast<char>(round));
        flight += std::string("\x17\x03\x03\x01\xc6", 5);
        flight += std::string(0x1c6, 'x');
        std::vector<TestSocket> outsiders;
        for (int i = 0; i < 60; ++i) outsiders.push_back(TestSocket::connect(pair.tunnel_port));
        std::thread drainer([&] {
            std::this_thread::sleep_for(std::chrono::microseconds(200 * round));
            pair.exit.tell(ring::Drain{});
        });
        for (TestSocket& outsider : outsiders) ::send(outsider.fd(), flight.data(), flight.size(), MSG_NOSIGNAL);
        drainer.join();
        pair.exit.expect<ring::Drained>();
    }
}

}  // namespace
}  // namespace qanat::dataplane
