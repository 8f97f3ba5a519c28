// ClientHandshake and NodeHandshake face to face: what they agree on.
#include <gtest/gtest.h>

#include "tests/unit/common/handshake/session_pair.h"

namespace qanat::handshake {
namespace {

using crypto::Suite;
using test::Buffer;
using test::ClientOptions;
using test::copy_of;
using test::expect_same_session;
using test::kAllSuites;
using test::make_client;
using test::Node;
using test::secret_of;
using Progress = ClientHandshake::Progress;
using Reason = ClientFailure::Reason;

TEST(Session, client_and_node_agree) {
    Node node;
    ClientHandshake client = make_client();
    const Buffer msg1 = copy_of(client.take_output());
    ASSERT_EQ(msg1.size(), 512u);

    NodeHandshake handshake;
    ASSERT_EQ(node.check(handshake, msg1), GateVerdict::pass);
    const auto offer = handshake.read(node.identity, node.network[0]);
    ASSERT_TRUE(offer);
    EXPECT_EQ(offer->client_static, make_key_pair(secret_of(0x33)).public_key);
    EXPECT_EQ(offer->payload.boot_id, (BootId{5, 5}));
    EXPECT_EQ(offer->payload.wished_window, 4096u);
    const auto accepted = node.accept(handshake, Suite::aes_256_gcm);
    ASSERT_TRUE(accepted);

    const auto step = client.feed(accepted->msg2);
    ASSERT_EQ(step.progress, Progress::established);
    EXPECT_EQ(step.consumed, 256u);
    const ClientSession session = client.take_session();
    expect_same_session(session.secrets, accepted->secrets);
    EXPECT_EQ(session.secrets.suite, Suite::aes_256_gcm);
    EXPECT_TRUE(session.header_key == node.header_key);
    EXPECT_EQ(session.lifetime_s, 3600u);
    EXPECT_EQ(session.window, 4096u);
    EXPECT_TRUE(client.take_output().empty());

    // Ended is ended: what follows belongs to the control records.
    EXPECT_EQ(client.feed(msg1).progress, Progress::established);
    EXPECT_EQ(client.feed(msg1).consumed, 0u);
}

TEST(Session, input_split_at_every_byte) {
    Node node;
    ClientHandshake first = make_client();
    NodeHandshake challenger;
    ASSERT_EQ(node.check(challenger, first.take_output(), Load::high), GateVerdict::challenge);
    const Buffer challenge = copy_of(challenger.challenge());
    const auto accepted = node.run(make_client().take_output());
    ASSERT_TRUE(accepted);
    // One stream of bytes: CHALLENGE, MSG2, and what comes after the handshake.
    Buffer stream = challenge;
    stream.insert(stream.end(), accepted->msg2.begin(), accepted->msg2.end());
    stream.insert(stream.end(), {0x17, 0x03, 0x03});

    const auto run = [&](const std::vector<size_t>& pieces) {
        ClientHandshake client = make_client();
        (void)client.take_output();
        size_t position = 0;
        unsigned challenges = 0;
        for (const size_t piece : pieces) {
            const size_t end = std::min(position + piece, stream.size());
            while (position < end) {
                const auto step = client.feed(Bytes(stream).subspan(position, end - position));
                position += step.consumed;
                if (step.progress == Progress::challenged) {
                    ++challenges;
                    EXPECT_EQ(position, 36u);
                    EXPECT_EQ(client.take_output().size(), 512u);
                }
                if (step.progress == Progress::established) {
                    EXPECT_EQ(position, 36u + 256u);
                    EXPECT_EQ(challenges, 1u);
                    expect_same_session(client.take_session().secrets, accepted->secrets);
                    return true;
                }
                if (step.progress == Progress::failed) return false;
            }
        }
        return false;
    };
    for (size_t cut = 0; cut <= stream.size(); ++cut) EXPECT_TRUE(run({cut, stream.size()})) << cut;
    EXPECT_TRUE(run(std::vector<size_t>(stream.size(), 1)));
    for (size_t size = 2; size < 300; size += 7) EXPECT_TRUE(run(std::vector<size_t>(stream.size(), size)));
}

TEST(Session, each_of_four_network_keys_is_accepted) {
    Node node({0x11, 0x12, 0x13, 0x14});
    for (uint8_t i = 0; i < 4; ++i) {
        for (const Load load : {Load::normal, Load::high}) {
            ClientOptions options;
            options.psk = static_cast<uint8_t>(0x11 + i);
            options.ephemeral = static_cast<uint8_t>(0x40 + 2 * i + (load == Load::high ? 1 : 0));
            ClientHandshake client = make_client(options);
            NodeHandshake handshake;
            auto verdict = node.check(handshake, client.take_output(), load);
            if (load == Load::high) {
                ASSERT_EQ(verdict, GateVerdict::challenge);
                ASSERT_EQ(client.feed(handshake.challenge()).progress, Progress::challenged);
                verdict = node.check(handshake, client.take_output(), load);
            }
            ASSERT_EQ(verdict, GateVerdict::pass);
            EXPECT_EQ(handshake.network_key_index(), i);
            const auto accepted = node.answer(handshake);
            ASSERT_TRUE(accepted);
            EXPECT_EQ(client.feed(accepted->msg2).progress, Progress::established);
        }
    }
    EXPECT_EQ(node.run(make_client({.psk = 0x15}).take_output()).error(), NodeDrop::bad_gate_tag);
}

TEST(Session, refusals) {
    for (unsigned status = 1; status < 256; ++status) {
        Node node;
        ClientHandshake client = make_client();
        NodeHandshake handshake;
        ASSERT_EQ(node.check(handshake, client.take_output()), GateVerdict::pass);
        ASSERT_TRUE(handshake.read(node.identity, node.network[0]));
        const auto msg2 = handshake.refuse(static_cast<SessionStatus>(status), secret_of(0x55), node.seen);
        ASSERT_TRUE(msg2);
        ASSERT_EQ(client.feed(*msg2).progress, Progress::failed);
        EXPECT_EQ(client.failure().reason, Reason::refused);
        EXPECT_EQ(static_cast<unsigned>(client.failure().status), status);
        EXPECT_NE(client.failure().message(), kNoAnswerText);
        EXPECT_EQ(client.failure().message().find("does not know") != std::string_view::npos, status > 4);
    }
}

TEST(Session, every_pair_of_suites_and_hardware) {
    Node node;
    for (unsigned offer = 0; offer < 27; ++offer) {
        const std::vector<Suite> offered{kAllSuites[offer % 3], kAllSuites[offer / 3 % 3], kAllSuites[offer / 9]};
        for (unsigned mask = 1; mask < 8; ++mask) {
            for (unsigned hardware = 0; hardware < 4; ++hardware) {
                node.allowed.clear();
                for (unsigned i = 0; i < 3; ++i)
                    if ((mask >> i & 1) != 0) node.allowed.push_back(kAllSuites[i]);
                node.capabilities = hardware & 1;
                const auto suite = choose_suite(SuiteList(offered), node.allowed, hardware == 3);
                if (!suite) continue;
                node.seen = SeenEphemerals{Secret<16>()};
                ClientHandshake client = make_client({.suites = offered, .capabilities = hardware >> 1});
                const auto accepted = node.run(client.take_output());
                ASSERT_TRUE(accepted);
                ASSERT_EQ(client.feed(accepted->msg2).progress, Progress::established);
                const ClientSession session = client.take_session();
                EXPECT_EQ(session.secrets.suite, *suite);
                expect_same_session(session.secrets, accepted->secrets);
            }
        }
    }
}

using SessionDeathTest = ::testing::Test;

TEST(SessionDeathTest, calls_out_of_order) {
    Node node;
    ClientHandshake client = make_client();
    const Buffer msg1 = copy_of(client.take_output());
    EXPECT_DEATH((void)client.take_session(), "session_");
    EXPECT_DEATH((void)client.failure(), "failure_");
    NodeHandshake handshake;
    EXPECT_DEATH((void)handshake.read(node.identity, node.network[0]), "stage_");
    EXPECT_DEATH((void)handshake.network_key_index(), "stage_");
    ASSERT_EQ(node.check(handshake, msg1), GateVerdict::pass);
    EXPECT_DEATH((void)node.check(handshake, msg1), "stage_");
    EXPECT_DEATH((void)handshake.refuse(SessionStatus::draining, secret_of(1), node.seen), "stage_");
    ASSERT_TRUE(handshake.read(node.identity, node.network[0]));
    EXPECT_DEATH((void)handshake.refuse(SessionStatus::ok, secret_of(1), node.seen), "status");
    ASSERT_TRUE(node.accept(handshake, Suite::aes_128_gcm));
    EXPECT_DEATH((void)node.accept(handshake, Suite::aes_128_gcm), "stage_");
}

}  // namespace
}  // namespace qanat::handshake
