// Parked connections while sessions, addresses, paths and the exit itself change under them.

#include <gtest/gtest.h>

#include <chrono>
#include <string>
#include <thread>

#include "tests/support/engine_pair.h"
#include "tests/support/fake_node.h"
#include "tests/support/sockets.h"
#include "tests/support/streams.h"
#include "tests/unit/dataplane/loop/parked.h"

namespace qanat::dataplane {
namespace {

using ::qanat::testing::TestListener;
using ::qanat::testing::TestSocket;
using testing::close_both;
using testing::EnginePair;
using testing::eventually;
using testing::FakeNode;
using testing::open_stream;
using testing::Opened;
using testing::parked_becomes;
using testing::set_pool;
using testing::socks_request;
using testing::talk;
using namespace std::chrono_literals;

TEST(Pool, ConnectionsOfARemovedSessionAreReplaced) {
    EnginePair pair;
    TestListener listener;
    set_pool(pair.client, 4);
    Opened first = open_stream(pair, listener);
    ASSERT_TRUE(parked_becomes(pair.client, 1));
    pair.install_session(1002);
    const uint64_t accepted = pair.exit.counters().connections_accepted;
    pair.client.tell(ring::RemoveSession{.session_id = 1001, .node_lost = 0, .zero = {}});
    ASSERT_TRUE(eventually([&] { return pair.exit.counters().connections_accepted > accepted; }));
    ASSERT_TRUE(parked_becomes(pair.client, 1));
    // The session is unknown to the exit now: only the new one can be what is parked.
    pair.exit.tell(ring::RemoveSession{.session_id = 1001, .node_lost = 0, .zero = {}});
    Opened second = open_stream(pair, listener);
    EXPECT_EQ(pair.client.counters().pool_hits, 1u);
    talk(first, "old");
    talk(second, "new");
}

TEST(Pool, ANodeEndsWhatIsParkedUnderASessionThatItForgets) {
    EnginePair pair;
    TestListener listener;
    set_pool(pair.client, 4);
    Opened first = open_stream(pair, listener);
    ASSERT_TRUE(parked_becomes(pair.client, 1));
    pair.exit.tell(ring::RemoveSession{.session_id = 1001, .node_lost = 0, .zero = {}});
    ASSERT_TRUE(parked_becomes(pair.client, 0));
    talk(first, "goes on");
}

TEST(Pool, ANewAddressMeansNewConnections) {
    EnginePair pair;
    FakeNode elsewhere(testing::pair_session(1001));
    TestListener listener;
    set_pool(pair.client, 4);
    Opened first = open_stream(pair, listener);
    ASSERT_TRUE(parked_becomes(pair.client, 1));
    pair.route_to(elsewhere.port());
    ASSERT_TRUE(parked_becomes(pair.client, 0));
    EXPECT_FALSE(elsewhere.is_called(100)) << "no stream was opened there yet";
}

TEST(Pool, AnExitThatRestartsCostsNoStream) {
    EnginePair pair;
    TestListener listener;
    set_pool(pair.client, 4);
    {
        Opened first = open_stream(pair, listener);
        ASSERT_TRUE(parked_becomes(pair.client, 1));
    }
    pair.exit.stop();
    ASSERT_TRUE(parked_becomes(pair.client, 0));

    EnginePair next;  // its exit takes the place of the one that has ended
    next.install_session(1002);
    pair.client.tell(testing::pair_session(1002));
    pair.client.tell(ring::RemoveSession{.session_id = 1001, .node_lost = 1, .zero = {}});
    pair.route_to(next.tunnel_port);
    for (int i = 0; i < 20; ++i) {
        Opened stream = open_stream(pair, listener);
        talk(stream, "after");
    }
    EXPECT_GT(pair.client.counters().pool_hits, 0u);
}

std::string first_bytes(TestSocket socket, size_t count) {
    std::string bytes(count, '\0');
    const ssize_t got = ::recv(socket.fd(), bytes.data(), count, MSG_WAITALL);
    bytes.resize(got > 0 ? static_cast<size_t>(got) : 0);
    return bytes;
}

TEST(Pool, StreamsAreOpenedWhileSessionsComeAndGo) {
    EnginePair pair;
    TestListener listener;
    set_pool(pair.client, 8);
    std::jthread control([&](const std::stop_token& stop) {
        for (uint64_t id = 1002; !stop.stop_requested(); ++id) {
            pair.install_session(id);
            std::this_thread::sleep_for(3ms);
            pair.client.tell(ring::RemoveSession{.session_id = id - 1, .node_lost = 0, .zero = {}});
            std::this_thread::sleep_for(3ms);
            pair.exit.tell(ring::RemoveSession{.session_id = id - 1, .node_lost = 0, .zero = {}});
        }
    });
    for (int i = 0; i < 300; ++i) {
        TestSocket app = TestSocket::connect(pair.socks_port);
        const std::string text = "stream " + std::to_string(1000 + i);
        app.send(socks_request(listener.port()) + text);
        // A stream that moved to another session before it had its RESPONSE may have reached the target already: that
        // connection ends without a byte.
        std::string got;
        while (got.empty()) got = first_bytes(listener.accept(), text.size());
        ASSERT_EQ(got, text);
        ASSERT_EQ(app.receive(6), std::string("\x05\x00\x05\x00\x00\x01", 6));
    }
    control.request_stop();
    EXPECT_GT(pair.client.counters().pool_hits, 0u);
}

constexpr uint32_t kRelayNode = 20;

void route_over(EnginePair& pair, uint32_t relay, uint16_t relay_port) {
    ring::PlanPart plan{};
    plan.version = 50;
    plan.total = plan.count = 1;
    plan.rule = ring::PlanRule::ordered;
    plan.response_timeout_ms = 4000;
    plan.tries_max = 2;
    plan.hops[0].node = 7;
    plan.hops[0].weight = 1;
    plan.hops[0].address = testing::loopback(relay_port);
    plan.hops[0].state = ring::HopState::up;
    plan.hops[0].via_count = 1;
    plan.hops[0].via[0] = {.node = relay, .next = testing::loopback(pair.tunnel_port)};
    pair.client.tell(plan);
}

TEST(Pool, ItReachesThroughRelays) {
    EnginePair pair;
    const auto session = testing::client_session(50, kRelayNode);
    pair.client.tell(session);
    testing::TestRelay relay(session, pair.tunnel_port);
    route_over(pair, kRelayNode, relay.port());
    set_pool(pair.client, 1);
    TestListener listener;
    {
        // This relay carries one after the other, and a stream that is reset leaves its tunnel to nobody.
        Opened first = open_stream(pair, listener);
        first.app.reset();
        EXPECT_EQ(first.target.receive_end(), ECONNRESET);
    }
    ASSERT_TRUE(parked_becomes(pair.client, 1));
    EXPECT_EQ(relay.carried(), 2);
    Opened second = open_stream(pair, listener);
    EXPECT_EQ(pair.client.counters().pool_hits, 1u);
    EXPECT_EQ(relay.carried(), 2);
    talk(second, std::string(1 << 17, 'r'));
    close_both(second);
    pair.client.tell(ring::Drain{});
    pair.client.expect<ring::Drained>();
}

TEST(Pool, ARelayWithoutSessionIsNotAsked) {
    EnginePair pair;
    FakeNode relay(testing::pair_session(50, kRelayNode));
    TestListener listener;
    set_pool(pair.client, 1);
    Opened first = open_stream(pair, listener);
    ASSERT_TRUE(parked_becomes(pair.client, 1));
    route_over(pair, kRelayNode, relay.port());
    ASSERT_TRUE(parked_becomes(pair.client, 0));
    EXPECT_FALSE(relay.is_called(100));
}

}  // namespace
}  // namespace qanat::dataplane
