// Replays and cookies: what a node does before it spends anything on a handshake, and what a client makes of that.
#include <gtest/gtest.h>

#include <algorithm>
#include <functional>

#include "tests/unit/common/handshake/session_pair.h"

namespace qanat::handshake {
namespace {

using test::Buffer;
using test::copy_of;
using test::expect_same_session;
using test::kNow;
using test::make_client;
using test::Node;
using test::secret_of;
using Progress = ClientHandshake::Progress;
using Reason = ClientFailure::Reason;

TEST(Session, replayed_msg1_is_dropped) {
    Node node;
    const Buffer msg1 = copy_of(make_client().take_output());
    NodeHandshake twin;  // a connection with the same bytes that had passed the gate before
    ASSERT_EQ(node.check(twin, msg1), GateVerdict::pass);
    ASSERT_TRUE(node.run(msg1));
    EXPECT_EQ(node.run(msg1).error(), NodeDrop::replayed);
    EXPECT_EQ(node.answer(twin).error(), NodeDrop::replayed);

    // Under load as well, and without a challenge: it would be work for nothing.
    NodeHandshake under_load;
    EXPECT_EQ(node.check(under_load, msg1, Load::high).error(), NodeDrop::replayed);
}

TEST(Session, msg1_is_remembered_after_a_refusal_but_not_after_the_gate) {
    Node node;
    const Buffer msg1 = copy_of(make_client().take_output());
    for (int i = 0; i < 2; ++i) {
        NodeHandshake given_up;
        EXPECT_EQ(node.check(given_up, msg1), GateVerdict::pass);
    }
    NodeHandshake handshake;
    ASSERT_EQ(node.check(handshake, msg1), GateVerdict::pass);
    ASSERT_TRUE(handshake.read(node.identity, node.network[0]));
    ASSERT_TRUE(handshake.refuse(SessionStatus::not_a_member, secret_of(0x55), node.seen));
    EXPECT_EQ(node.run(msg1).error(), NodeDrop::replayed);
}

TEST(Session, cookie) {
    struct Case {
        const char* what;
        std::function<void(Node&, GateContext&)> change;
        bool good;
    };
    const auto after = [](int seconds) { return kNow + std::chrono::seconds(seconds); };
    const Case cases[] = {
        {"valid", [](Node&, GateContext&) {}, true},
        {"load is over", [](Node&, GateContext& c) { c.load = Load::normal; }, true},
        {"last moment", [&](Node&, GateContext& c) { c.now = after(240) - CookieJar::Time::duration(1); }, true},
        {"expired", [&](Node&, GateContext& c) { c.now = after(240); }, false},
        {"another address", [](Node&, GateContext& c) { c.source[15] ^= 1; }, false},
        {"previous key", [&](Node& n, GateContext& c) { n.cookies.rotate(secret_of(1), c.now = after(120)); }, true},
        {"previous key, expired",
         [&](Node& n, GateContext& c) {
             n.cookies.rotate(secret_of(1), after(120));
             c.now = after(240);
         },
         false},
        {"key gone",
         [&](Node& n, GateContext&) {
             n.cookies.rotate(secret_of(1), kNow);
             n.cookies.rotate(secret_of(2), kNow);
         },
         false},
    };
    for (const Case& c : cases) {
        SCOPED_TRACE(c.what);
        Node node;
        ClientHandshake client = make_client();
        const Buffer msg1 = copy_of(client.take_output());
        NodeHandshake handshake;
        ASSERT_EQ(node.check(handshake, msg1, Load::high), GateVerdict::challenge);
        ASSERT_EQ(client.feed(handshake.challenge()).progress, Progress::challenged);
        const Buffer again = copy_of(client.take_output());
        EXPECT_TRUE(std::equal(msg1.begin(), msg1.begin() + kMsg1TagOffset, again.begin()));
        EXPECT_NE(msg1, again);

        GateContext context = node.context(Load::high);
        c.change(node, context);
        const auto verdict = handshake.check_gate(again, context);
        if (c.good) {
            ASSERT_EQ(verdict, GateVerdict::pass);
            const auto accepted = node.answer(handshake);
            ASSERT_TRUE(accepted);
            ASSERT_EQ(client.feed(accepted->msg2).progress, Progress::established);
            expect_same_session(client.take_session().secrets, accepted->secrets);
        } else {
            ASSERT_FALSE(verdict);
            EXPECT_EQ(verdict.error(), NodeDrop::bad_cookie);
        }
    }
}

TEST(Session, challenged_client_must_answer_with_the_cookie) {
    Node node;
    ClientHandshake client = make_client();
    const Buffer msg1 = copy_of(client.take_output());
    NodeHandshake handshake;
    ASSERT_EQ(node.check(handshake, msg1, Load::high), GateVerdict::challenge);
    EXPECT_EQ(node.check(handshake, msg1, Load::normal).error(), NodeDrop::bad_cookie);

    // A cookie belongs to its e: another MSG1 of the same client under it is nothing.
    NodeHandshake second;
    ASSERT_EQ(node.check(second, msg1, Load::high), GateVerdict::challenge);
    ClientHandshake other = make_client({.ephemeral = 0x46});
    NodeHandshake third;
    ASSERT_EQ(node.check(third, other.take_output(), Load::high), GateVerdict::challenge);
    ASSERT_EQ(client.feed(third.challenge()).progress, Progress::failed);
    ASSERT_EQ(other.feed(third.challenge()).progress, Progress::challenged);
    Buffer mixed = copy_of(other.take_output());
    Cookie cookie;
    std::copy_n(second.challenge().begin() + 4, 16, cookie.begin());
    const Tag tag =
        gate_tag(node.network[0].gate, node.identity.public_key, cookie, Bytes(mixed).first(kMsg1TagOffset));
    std::copy(tag.begin(), tag.end(), mixed.begin() + kMsg1TagOffset);
    EXPECT_EQ(node.check(second, mixed, Load::high).error(), NodeDrop::bad_cookie);

    // And on a connection that was not challenged a cookie is no gate tag.
    ClientHandshake fresh = make_client();
    (void)fresh.take_output();
    ASSERT_EQ(fresh.feed(handshake.challenge()).progress, Progress::challenged);
    NodeHandshake unchallenged;
    EXPECT_EQ(node.check(unchallenged, fresh.take_output()).error(), NodeDrop::bad_gate_tag);
}

TEST(Session, at_most_one_challenge) {
    Node node;
    ClientHandshake client = make_client();
    NodeHandshake handshake;
    ASSERT_EQ(node.check(handshake, client.take_output(), Load::high), GateVerdict::challenge);
    ASSERT_EQ(client.feed(handshake.challenge()).progress, Progress::challenged);
    const Buffer again = copy_of(client.take_output());
    // A second one, well made for the MSG1 that carries the cookie.
    Buffer second(kChallengeHeader.begin(), kChallengeHeader.end());
    const Cookie cookie{1, 2, 3};
    const Tag tag = challenge_tag(node.network[0].gate, Bytes(again).subspan(kMsg1TagOffset), cookie);
    second.insert(second.end(), cookie.begin(), cookie.end());
    second.insert(second.end(), tag.begin(), tag.end());
    EXPECT_EQ(client.feed(second).progress, Progress::failed);
    EXPECT_EQ(client.failure().reason, Reason::second_challenge);
    EXPECT_TRUE(client.take_output().empty());
}

}  // namespace
}  // namespace qanat::handshake
