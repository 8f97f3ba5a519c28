// Whole engines, client and exit, on real sockets: what a stream does from SOCKS to target and back.

#include "dataplane/loop/engine.h"

#include <gtest/gtest.h>

#include <random>
#include <thread>

#include "tests/support/engine_pair.h"
#include "tests/support/sockets.h"
#include "tests/support/streams.h"

namespace qanat::dataplane {
namespace {

using ::qanat::testing::TestListener;
using ::qanat::testing::TestSocket;
using testing::ended;
using testing::EnginePair;
using testing::open_stream;
using testing::Opened;
using testing::socks_request;

std::string random_text(size_t size, unsigned seed) {
    std::mt19937_64 random(seed);
    std::string text(size, '\0');
    for (char& c : text) c = static_cast<char>(random());
    return text;
}

// Waits until the counter has the value; the engine writes it a moment after the sockets tell.
void expect_ended(testing::LoneEngine& engine, ring::EndReason reason, uint64_t value) {
    for (int i = 0; i < 1000 && ended(engine, reason) < value; ++i)
        std::this_thread::sleep_for(std::chrono::milliseconds(5));
    EXPECT_EQ(ended(engine, reason), value) << ring::end_reason_name(reason);
}

class EachSuite : public ::testing::TestWithParam<crypto::Suite> {};

TEST_P(EachSuite, CarriesMegabytesBothWaysAtOnce) {
    EnginePair pair(GetParam());
    TestListener listener;
    Opened stream = open_stream(pair, listener);
    const std::string up = random_text(8 << 20, 1);
    const std::string down = random_text(8 << 20, 2);
    std::thread app_sender([&] {
        stream.app.send(up);
        stream.app.shut_down();
    });
    std::thread target_sender([&] {
        stream.target.send(down);
        stream.target.shut_down();
    });
    std::string got_up;
    std::thread target_reader([&] { got_up = stream.target.receive_all(); });
    const std::string got_down = stream.app.receive_all();
    app_sender.join();
    target_sender.join();
    target_reader.join();
    EXPECT_TRUE(got_up == up);
    EXPECT_TRUE(got_down == down);
    expect_ended(pair.client, ring::EndReason::completed, 1);
    expect_ended(pair.exit, ring::EndReason::completed, 1);
}

INSTANTIATE_TEST_SUITE_P(Suites, EachSuite,
                         ::testing::Values(crypto::Suite::aes_128_gcm, crypto::Suite::aes_256_gcm,
                                           crypto::Suite::chacha20_poly1305),
                         [](const auto& suite) { return std::to_string(static_cast<int>(suite.param)); });

TEST(Engine, ServerFirstAndSmallMessages) {
    EnginePair pair;
    TestListener listener;
    Opened stream = open_stream(pair, listener);
    stream.target.send("220 hello\r\n");
    EXPECT_EQ(stream.app.receive(11), "220 hello\r\n");
    for (int i = 0; i < 200; ++i) {
        stream.app.send("ping");
        ASSERT_EQ(stream.target.receive(4), "ping");
        stream.target.send("pong");
        ASSERT_EQ(stream.app.receive(4), "pong");
    }
}

TEST(Engine, EarlyDataBehindTheRequestArrives) {
    EnginePair pair;
    TestListener listener;
    TestSocket app = TestSocket::connect(pair.socks_port);
    app.send(socks_request(listener.port()) + "early bird");
    TestSocket target = listener.accept();
    EXPECT_EQ(target.receive(10), "early bird");
    app.shut_down();
    EXPECT_EQ(target.receive_end(), 0);
}

TEST(Engine, HalfCloseInEitherDirectionLeavesTheOtherOpen) {
    EnginePair pair;
    TestListener listener;
    Opened first = open_stream(pair, listener);
    first.app.send("request");
    first.app.shut_down();
    EXPECT_EQ(first.target.receive_all(), "request");
    first.target.send("late answer");
    first.target.shut_down();
    EXPECT_EQ(first.app.receive_all(), "late answer");

    Opened second = open_stream(pair, listener);
    second.target.send("banner");
    second.target.shut_down();
    EXPECT_EQ(second.app.receive_all(), "banner");
    second.app.send("still here");
    second.app.shut_down();
    EXPECT_EQ(second.target.receive_all(), "still here");
    expect_ended(pair.client, ring::EndReason::completed, 2);
}

TEST(Engine, ResetsTravelAsResets) {
    EnginePair pair;
    TestListener listener;
    Opened first = open_stream(pair, listener);
    first.target.reset();
    EXPECT_EQ(first.app.receive_end(), ECONNRESET);
    Opened second = open_stream(pair, listener);
    second.app.reset();
    EXPECT_EQ(second.target.receive_end(), ECONNRESET);
    expect_ended(pair.client, ring::EndReason::peer_abort, 1);
    expect_ended(pair.exit, ring::EndReason::application_reset, 1);
}

TEST(Engine, AResetIsNoticedAfterTheOtherDirectionEnded) {
    EnginePair pair;
    TestListener listener;
    Opened stream = open_stream(pair, listener);
    stream.app.shut_down();
    EXPECT_EQ(stream.target.receive_all(), "");
    stream.app.reset();
    expect_ended(pair.client, ring::EndReason::application_reset, 1);
    expect_ended(pair.exit, ring::EndReason::tunnel_reset, 1);
    EXPECT_THROW(stream.target.send(std::string(1 << 20, 'x')), std::runtime_error);
}

TEST(Engine, RefusedTargetGetsItsTrueReply) {
    EnginePair pair;
    TestListener listener;
    const uint16_t port = listener.port();
    listener.close();
    TestSocket app = TestSocket::connect(pair.socks_port);
    app.send(socks_request(port));
    EXPECT_EQ(app.receive(4), std::string("\x05\x00\x05\x05", 4));
    app.receive_end();
    expect_ended(pair.client, ring::EndReason::exit_refused, 1);
    expect_ended(pair.exit, ring::EndReason::connect_failed, 1);
}

TEST(Engine, NoNodeListening) {
    EnginePair pair;
    TestListener nobody;
    const uint16_t port = nobody.port();
    nobody.close();
    pair.route_to(port);
    TestSocket app = TestSocket::connect(pair.socks_port);
    app.send(socks_request(80));
    EXPECT_EQ(app.receive(4), std::string("\x05\x00\x05\x01", 4));
    expect_ended(pair.client, ring::EndReason::no_exit, 1);
    EXPECT_EQ(pair.client.expect<ring::HopFailed>().error, ECONNREFUSED);
}

TEST(Engine, AStoppedReaderStopsTheSender) {
    EnginePair pair;
    TestListener listener;
    Opened stream = open_stream(pair, listener);
    const timeval soon{.tv_sec = 0, .tv_usec = 300'000};
    ::setsockopt(stream.app.fd(), SOL_SOCKET, SO_SNDTIMEO, &soon, sizeof soon);
    const std::string block(1 << 20, 'x');
    size_t sent = 0;
    while (true) {  // until the window is closed for 300 ms
        const ssize_t count = ::send(stream.app.fd(), block.data(), block.size(), MSG_NOSIGNAL);
        if (count < 0) break;
        sent += static_cast<size_t>(count);
        ASSERT_LT(sent, size_t{256} << 20) << "nothing pushes back";
    }
    // The engines hold at most a burst each; all the rest is in socket buffers.
    EXPECT_LE(pair.client.counters().buffers_used.load(), 32u);
    EXPECT_LE(pair.exit.counters().buffers_used.load(), 32u);
    stream.app.shut_down();
    EXPECT_EQ(stream.target.receive_all().size(), sent);
}

TEST(Engine, ManyStreamsShareFewBuffers) {
    auto limits = testing::small_limits();
    EnginePair pair(crypto::Suite::aes_128_gcm, limits, 24);
    TestListener listener;
    std::vector<Opened> streams;
    for (int i = 0; i < 24; ++i) streams.push_back(open_stream(pair, listener));
    const std::string data = random_text(2 << 20, 5);
    std::vector<std::thread> threads;
    std::atomic<int> intact{0};
    for (Opened& stream : streams) {
        threads.emplace_back([&] {
            stream.app.send(data);
            stream.app.shut_down();
        });
        threads.emplace_back([&] {
            if (stream.target.receive_all() == data) ++intact;
        });
    }
    for (std::thread& thread : threads) thread.join();
    EXPECT_EQ(intact, 24);
}

TEST(Engine, AtTheCapNewStreamsAreRefusedByNameAndOldOnesGoOn) {
    auto limits = testing::small_limits();
    limits.streams = 4;
    EnginePair pair(crypto::Suite::aes_128_gcm, limits);
    TestListener listener;
    std::vector<Opened> streams;
    for (int i = 0; i < 4; ++i) streams.push_back(open_stream(pair, listener));
    TestSocket late = TestSocket::connect(pair.socks_port);
    late.send(socks_request(listener.port()));
    EXPECT_EQ(late.receive(4), std::string("\x05\x00\x05\x01", 4));
    late.receive_end();
    expect_ended(pair.client, ring::EndReason::at_capacity, 1);
    for (Opened& stream : streams) {
        stream.app.send("x");
        EXPECT_EQ(stream.target.receive(1), "x");
    }
    streams.pop_back();
    expect_ended(pair.client, ring::EndReason::completed, 1);
    Opened again = open_stream(pair, listener);
}

TEST(Engine, ASilentPeerOnTheTunnelPortGetsNothingUntilTheDeadline) {
    EnginePair pair;
    for (const std::string& said : {std::string(), std::string("GET / HTTP/1.0\r\n\r\n"), random_text(512, 9),
                                    std::string("\x17\x03\x03\x00\x30", 5) + random_text(600, 10)}) {
        TestSocket probe = TestSocket::connect(pair.tunnel_port);
        const auto start = std::chrono::steady_clock::now();
        if (!said.empty()) probe.send(said);
        EXPECT_EQ(probe.receive(1), "");
        EXPECT_GE(std::chrono::steady_clock::now() - start, std::chrono::milliseconds(900));
    }
    expect_ended(pair.exit, ring::EndReason::unauthenticated, 4);
}

TEST(Engine, AHandshakeIsHandedToTheControlPlaneAndItsAnswerComesBack) {
    EnginePair pair;
    TestSocket peer = TestSocket::connect(pair.tunnel_port);
    std::string msg1 = random_text(512, 11);
    msg1[0] = 1;
    peer.send(msg1.substr(0, 100));
    peer.send(msg1.substr(100));
    const auto accepted = pair.exit.expect<ring::ControlAccepted>();
    EXPECT_EQ(std::string(accepted.bytes.begin(), accepted.bytes.end()), msg1);
    ring::ControlSend answer{};
    answer.connection = accepted.connection;
    answer.size = 5;
    answer.authenticated = 1;
    std::copy_n("hello", 5, answer.bytes.begin());
    pair.exit.tell(answer);
    EXPECT_EQ(peer.receive(5), "hello");
    peer.send("more");
    EXPECT_EQ(pair.exit.expect<ring::ControlData>().size, 4);
    pair.exit.tell(ring::ControlClose{.connection = accepted.connection, .how = ring::CloseHow::close, .zero = {}});
    EXPECT_EQ(peer.receive_end(), 0);
    EXPECT_EQ(pair.exit.expect<ring::ControlClosed>().connection, accepted.connection);
}

TEST(Engine, StreamsWithoutResponseMoveToTheNewSession) {
    EnginePair pair;
    TestListener black_hole;  // accepts in the kernel, never answers
    TestListener listener;
    pair.route_to(black_hole.port());
    TestSocket app = TestSocket::connect(pair.socks_port);
    app.send(socks_request(listener.port()));
    TestSocket stuck = black_hole.accept();
    EXPECT_EQ(stuck.receive(512).size(), 512u);
    pair.route_to(pair.tunnel_port);
    pair.install_session(1002);
    pair.client.tell(ring::RemoveSession{.session_id = 1001, .node_lost = 0, .zero = {}});
    TestSocket target = listener.accept();
    EXPECT_EQ(app.receive(12).substr(0, 4), std::string("\x05\x00\x05\x00", 4));
}

TEST(Engine, WithoutItsControlPlaneItFinishesWhatIsOpen) {
    EnginePair pair;
    TestListener listener;
    Opened stream = open_stream(pair, listener);
    pair.client.cut_lifeline();
    for (int i = 0; i < 20; ++i) {
        stream.app.send("on and on");
        EXPECT_EQ(stream.target.receive(9), "on and on");
    }
    EXPECT_THROW(
        {
            TestSocket refused = TestSocket::connect(pair.socks_port);
            refused.send(socks_request(listener.port()));
            refused.receive(1);
            throw std::runtime_error("closed");
        },
        std::runtime_error);
    stream.app.shut_down();
    stream.target.shut_down();
    EXPECT_EQ(stream.target.receive_end(), 0);
}

TEST(Engine, DrainEndsWithDrained) {
    EnginePair pair;
    TestListener listener;
    Opened stream = open_stream(pair, listener);
    pair.exit.tell(ring::Drain{});
    stream.app.send("last words");
    stream.app.shut_down();
    EXPECT_EQ(stream.target.receive_all(), "last words");
    stream.target.shut_down();
    pair.exit.expect<ring::Drained>();
}

}  // namespace
}  // namespace qanat::dataplane
