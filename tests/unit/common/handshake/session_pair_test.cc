// ClientHandshake and NodeHandshake face to face, and everything that must not work between them.
#include <gtest/gtest.h>

#include <algorithm>
#include <functional>
#include <random>

#include "common/handshake/session_client.h"
#include "common/handshake/session_node.h"
#include "common/handshake/session_noise.h"

namespace qanat::handshake {
namespace {

using crypto::Suite;
using Progress = ClientHandshake::Progress;
using Reason = ClientFailure::Reason;
using Buffer = std::vector<uint8_t>;

Secret<32> secret_of(uint8_t value) {
    Secret<32> secret;
    std::fill(secret.writable().begin(), secret.writable().end(), value);
    return secret;
}
Buffer copy_of(Bytes bytes) {
    return {bytes.begin(), bytes.end()};
}
Buffer flipped(Buffer bytes, size_t bit) {
    bytes[bit / 8] = static_cast<uint8_t>(bytes[bit / 8] ^ 1u << bit % 8);
    return bytes;
}

const CookieJar::Time kNow = CookieJar::Time(std::chrono::hours(5));
constexpr SourceAddress kSource{0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 192, 0, 2, 1};
constexpr Suite kAllSuites[] = {Suite::aes_128_gcm, Suite::aes_256_gcm, Suite::chacha20_poly1305};

struct ClientOptions {
    uint8_t psk = 0x11;
    uint8_t node_key = 0x22;
    uint8_t client_key = 0x33;
    uint8_t ephemeral = 0x44;
    std::vector<Suite> suites{kAllSuites, kAllSuites + 3};
    uint32_t capabilities = kCapabilityAes;
};

ClientHandshake make_client(const ClientOptions& options = {}) {
    crypto::NetworkKeys network = crypto::derive_network_keys(secret_of(options.psk));
    auto client = ClientHandshake::start({
        .node_static = make_key_pair(secret_of(options.node_key)).public_key,
        .identity = make_key_pair(secret_of(options.client_key)),
        .gate_key = std::move(network.gate),
        .noise_key = std::move(network.noise),
        .offer = {.capabilities = options.capabilities,
                  .suites = SuiteList(options.suites),
                  .boot_id = {5, 5},
                  .wished_window = 4096},
        .ephemeral = secret_of(options.ephemeral),
    });
    EXPECT_TRUE(client);
    return std::move(*client);
}

// A node with its process state; each handshake gets a NodeHandshake of its own.
struct Node {
    KeyPair identity = make_key_pair(secret_of(0x22));
    std::vector<crypto::NetworkKeys> network;
    SeenEphemerals seen{Secret<16>()};
    CookieJar cookies{secret_of(0x77), kNow};
    Secret<32> header_key = secret_of(0x88);
    std::vector<Suite> allowed{kAllSuites, kAllSuites + 3};
    uint32_t capabilities = kCapabilityAes;

    explicit Node(const std::vector<uint8_t>& psks = {0x11}) {
        for (const uint8_t psk : psks) network.push_back(crypto::derive_network_keys(secret_of(psk)));
    }

    GateContext context(Load load = Load::normal) const {
        return {identity.public_key, network, seen, cookies, kSource, kNow, load};
    }
    Result<GateVerdict, NodeDrop> check(NodeHandshake& handshake, Bytes msg1, Load load = Load::normal) const {
        return handshake.check_gate(msg1, context(load));
    }
    Result<AcceptedSession, NodeDrop> accept(NodeHandshake& handshake, Suite suite) {
        return handshake.accept({.suite = suite,
                                 .capabilities = capabilities,
                                 .session_id = 0x1234,
                                 .lifetime_s = 3600,
                                 .window = 4096,
                                 .header_key = header_key,
                                 .ephemeral = secret_of(0x55)},
                                seen);
    }
    // Everything after the gate.
    Result<AcceptedSession, NodeDrop> answer(NodeHandshake& handshake) {
        const auto offer = handshake.read(identity, network[handshake.network_key_index()]);
        if (!offer) return fail_with(offer.error());
        const auto suite =
            choose_suite(offer->payload.suites, allowed, both_have_aes(offer->payload.capabilities, capabilities));
        EXPECT_TRUE(suite);
        return accept(handshake, *suite);
    }
    // What becomes of one MSG1 on a connection of its own.
    Result<AcceptedSession, NodeDrop> run(Bytes msg1) {
        NodeHandshake handshake;
        const auto verdict = check(handshake, msg1);
        if (!verdict) return fail_with(verdict.error());
        EXPECT_EQ(*verdict, GateVerdict::pass);
        return answer(handshake);
    }
};

void expect_same_session(const wire::SessionSecrets& a, const wire::SessionSecrets& b) {
    EXPECT_EQ(a.session_id, b.session_id);
    EXPECT_EQ(a.suite, b.suite);
    EXPECT_TRUE(a.data == b.data);
    EXPECT_TRUE(a.ctl_client == b.ctl_client);
    EXPECT_TRUE(a.ctl_node == b.ctl_node);
    EXPECT_FALSE(a.data == a.ctl_client);
    EXPECT_FALSE(a.ctl_client == a.ctl_node);
}

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

TEST(Session, every_flipped_bit_of_msg1_is_dropped) {
    Node node;
    ClientHandshake client = make_client();
    const Buffer msg1 = copy_of(client.take_output());
    for (size_t bit = 0; bit < msg1.size() * 8; ++bit) {
        const auto result = node.run(flipped(msg1, bit));
        ASSERT_FALSE(result) << bit;
        EXPECT_EQ(result.error(), bit < 32 ? NodeDrop::wrong_header : NodeDrop::bad_gate_tag) << bit;
    }
    EXPECT_TRUE(node.run(msg1));
}

// Who knows the network key but not the keys of Noise can make a good gate tag over a changed body.
TEST(Session, every_flipped_bit_under_a_good_gate_tag_is_dropped) {
    Node node;
    ClientHandshake client = make_client();
    const Buffer msg1 = copy_of(client.take_output());
    for (size_t bit = 32; bit < kMsg1TagOffset * 8; ++bit) {
        Buffer bad = flipped(msg1, bit);
        const Tag tag =
            gate_tag(node.network[0].gate, node.identity.public_key, kNoCookie, Bytes(bad).first(kMsg1TagOffset));
        std::copy(tag.begin(), tag.end(), bad.begin() + kMsg1TagOffset);
        const auto result = node.run(bad);
        ASSERT_FALSE(result) << bit;
        EXPECT_EQ(result.error(), NodeDrop::not_authentic) << bit;
    }
}

TEST(Session, every_flipped_bit_of_msg2_fails) {
    Node node;
    const auto accepted = node.run(make_client().take_output());
    ASSERT_TRUE(accepted);
    const Buffer msg2 = copy_of(accepted->msg2);
    for (size_t bit = 0; bit < msg2.size() * 8; ++bit) {
        ClientHandshake client = make_client();
        const auto step = client.feed(flipped(msg2, bit));
        if (bit / 8 == 0 && (msg2[0] ^ 1u << bit) == kChallengeHeader[0]) {
            // Type 3 makes it a CHALLENGE with a length that no CHALLENGE has.
            EXPECT_EQ(step.consumed, 4u);
        }
        ASSERT_EQ(step.progress, Progress::failed) << bit;
        EXPECT_EQ(client.failure().reason, bit < 32 ? Reason::malformed : Reason::not_authentic) << bit;
        EXPECT_EQ(client.failure().message(), kNoAnswerText);
    }
}

TEST(Session, every_flipped_bit_of_a_challenge_fails) {
    Node node;
    ClientHandshake first = make_client();
    NodeHandshake handshake;
    ASSERT_EQ(node.check(handshake, first.take_output(), Load::high), GateVerdict::challenge);
    const Buffer challenge = copy_of(handshake.challenge());
    for (size_t bit = 0; bit < challenge.size() * 8; ++bit) {
        ClientHandshake client = make_client();
        (void)client.take_output();
        ASSERT_EQ(client.feed(flipped(challenge, bit)).progress, Progress::failed) << bit;
        EXPECT_EQ(client.failure().reason, bit < 32 ? Reason::malformed : Reason::bad_challenge) << bit;
        EXPECT_TRUE(client.take_output().empty());
    }
}

TEST(Session, client_fails_at_the_first_wrong_byte) {
    for (const uint8_t first : std::initializer_list<uint8_t>{0x00, 0x01, 0x04, 0x17, 0xff}) {
        ClientHandshake client = make_client();
        const auto step = client.feed(Buffer{first, 0x01, 0x00});
        EXPECT_EQ(step.progress, Progress::failed);
        EXPECT_EQ(step.consumed, 1u);
    }
    ClientHandshake client = make_client();
    EXPECT_EQ(client.feed({}).progress, Progress::need_more);
    EXPECT_EQ(client.feed(Buffer{2, 1, 0}).progress, Progress::need_more);
    EXPECT_EQ(client.feed(Buffer{0xfb}).progress, Progress::failed);
    EXPECT_EQ(client.feed(Buffer{0xfc}).consumed, 0u);
}

TEST(Session, msg1_has_exactly_512_bytes) {
    Node node;
    ClientHandshake client = make_client();
    Buffer msg1 = copy_of(client.take_output());
    msg1.push_back(0);
    for (const size_t size : {0u, 1u, 4u, 36u, 496u, 511u, 513u}) {
        const auto result = node.run(Bytes(msg1).first(size));
        ASSERT_FALSE(result);
        EXPECT_EQ(result.error(), NodeDrop::wrong_length);
    }
    EXPECT_TRUE(node.run(Bytes(msg1).first(512)));
}

TEST(Session, wrong_version_is_dropped_even_with_a_good_tag) {
    Node node;
    ClientHandshake client = make_client();
    Buffer msg1 = copy_of(client.take_output());
    msg1[1] = 2;
    const Tag tag =
        gate_tag(node.network[0].gate, node.identity.public_key, kNoCookie, Bytes(msg1).first(kMsg1TagOffset));
    std::copy(tag.begin(), tag.end(), msg1.begin() + kMsg1TagOffset);
    EXPECT_EQ(node.run(msg1).error(), NodeDrop::wrong_header);
}

TEST(Session, wrong_network_key_or_node_key) {
    Node node;
    EXPECT_EQ(node.run(make_client({.psk = 0x12}).take_output()).error(), NodeDrop::bad_gate_tag);
    EXPECT_EQ(node.run(make_client({.node_key = 0x23}).take_output()).error(), NodeDrop::bad_gate_tag);

    // A gate tag for this node around a Noise message for another one.
    Buffer msg1 = copy_of(make_client({.node_key = 0x23}).take_output());
    const Tag tag =
        gate_tag(node.network[0].gate, node.identity.public_key, kNoCookie, Bytes(msg1).first(kMsg1TagOffset));
    std::copy(tag.begin(), tag.end(), msg1.begin() + kMsg1TagOffset);
    EXPECT_EQ(node.run(msg1).error(), NodeDrop::not_authentic);

    Node empty{std::vector<uint8_t>{}};
    EXPECT_EQ(empty.run(make_client().take_output()).error(), NodeDrop::bad_gate_tag);
}

TEST(Session, msg2_of_another_handshake_fails) {
    Node node;
    const auto accepted = node.run(make_client({.ephemeral = 0x45}).take_output());
    ASSERT_TRUE(accepted);
    ClientHandshake client = make_client();
    EXPECT_EQ(client.feed(accepted->msg2).progress, Progress::failed);
    EXPECT_EQ(client.failure().reason, Reason::not_authentic);
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

// A node that holds its key but does not keep the rules of section 3 and 5.
class LyingNode {
public:
    explicit LyingNode(const std::function<void(std::array<uint8_t, kMsg2PayloadSize>&)>& lie,
                       const ClientOptions& options = {})
        : client_(make_client(options)) {
        noise::HandshakeKeys keys;
        keys.s = make_key_pair(secret_of(options.node_key));
        keys.e = make_key_pair(secret_of(0x55));
        keys.psk = crypto::derive_network_keys(secret_of(options.psk)).noise.clone();
        noise::HandshakeState noise(session_pattern(), noise::Role::responder, session_prologue(), std::move(keys));
        const Buffer msg1 = copy_of(client_.take_output());
        Buffer payload1(kMsg1Size);
        EXPECT_TRUE(noise.read_message(Bytes(msg1).subspan(4, kMsg1TagOffset - 4), payload1));

        Msg2Payload payload;
        payload.suite = Suite::chacha20_poly1305;
        payload.capabilities = kCapabilityAes;
        payload.session_id = 1;
        payload.lifetime_s = 1;
        payload.window = 64;
        std::array<uint8_t, kMsg2PayloadSize> bytes;
        encode_msg2_payload(payload, bytes);
        lie(bytes);
        Msg2 msg2;
        std::copy(kMsg2Header.begin(), kMsg2Header.end(), msg2.begin());
        EXPECT_EQ(noise.write_message(bytes, MutableBytes(msg2).subspan(4)), kMsg2Size - 4);
        progress_ = client_.feed(msg2).progress;
    }
    [[nodiscard]] bool believed() const { return progress_ == Progress::established; }
    [[nodiscard]] Reason reason() const { return client_.failure().reason; }

private:
    ClientHandshake client_;
    Progress progress_ = Progress::need_more;
};

TEST(Session, client_checks_what_an_authentic_node_says) {
    EXPECT_TRUE(LyingNode([](auto&) {}).believed());
    EXPECT_TRUE(LyingNode([](auto& p) { p[1] = 2; }).believed());
    const auto rejects = [](const std::function<void(std::array<uint8_t, kMsg2PayloadSize>&)>& lie,
                            const ClientOptions& options = {}) {
        const LyingNode node(lie, options);
        return !node.believed() && node.reason() == Reason::malformed;
    };
    EXPECT_TRUE(rejects([](auto& p) { p[1] = 4; }));                               // no such suite
    EXPECT_TRUE(rejects([](auto& p) { p[1] = 2; }, {.suites = {kAllSuites[2]}}));  // not offered
    EXPECT_TRUE(rejects([](auto& p) { p[1] = 2; }, {.capabilities = 0}));          // AES without the client's hardware
    EXPECT_TRUE(rejects([](auto& p) { p[1] = 2, p[7] = 0; }));                     // AES without the node's
    EXPECT_TRUE(rejects([](auto& p) { p[15] = 0; }));                              // session id 0
    EXPECT_TRUE(rejects([](auto& p) { p[23] = 65; }));                             // window
    EXPECT_TRUE(rejects([](auto& p) { p[0] = 1; }));                               // a refusal with a session
    EXPECT_TRUE(LyingNode([](auto& p) { p[57] = 5; }).believed());                 // TLV to skip
    EXPECT_TRUE(rejects([](auto& p) { p[56] = 0x80, p[57] = 5; }));                // TLV to understand
    EXPECT_TRUE(rejects([](auto& p) { p[57] = 5, p[58] = 0xff; }));                // TLV over the end
}

// A client that holds all its keys but does not keep the format.
Result<AcceptedSession, NodeDrop> run_lying_client(
    const std::function<void(std::array<uint8_t, kMsg1PayloadSize>&)>& lie) {
    Node node;
    noise::HandshakeKeys keys;
    keys.s = make_key_pair(secret_of(0x33));
    keys.e = make_key_pair(secret_of(0x44));
    keys.rs = node.identity.public_key;
    keys.psk = node.network[0].noise.clone();
    noise::HandshakeState noise(session_pattern(), noise::Role::initiator, session_prologue(), std::move(keys));
    std::array<uint8_t, kMsg1PayloadSize> payload;
    encode_msg1_payload({.suites = SuiteList(kAllSuites)}, payload);
    lie(payload);
    Msg1 msg1;
    std::copy(kMsg1Header.begin(), kMsg1Header.end(), msg1.begin());
    EXPECT_EQ(noise.write_message(payload, MutableBytes(msg1).subspan(4, kMsg1TagOffset - 4)), kMsg1TagOffset - 4);
    const Tag tag =
        gate_tag(node.network[0].gate, node.identity.public_key, kNoCookie, Bytes(msg1).first(kMsg1TagOffset));
    std::copy(tag.begin(), tag.end(), msg1.begin() + kMsg1TagOffset);
    return node.run(msg1);
}

TEST(Session, node_checks_what_an_authentic_client_says) {
    EXPECT_TRUE(run_lying_client([](auto&) {}));
    EXPECT_TRUE(run_lying_client([](auto& p) { p[33] = 9; }));  // TLV to skip
    for (const auto& lie : std::initializer_list<std::function<void(std::array<uint8_t, kMsg1PayloadSize>&)>>{
             [](auto& p) { p[4] = 0; },                    // no suite
             [](auto& p) { p[4] = 8; },                    // too many
             [](auto& p) { p[11] = 1; },                   // an unused suite id
             [](auto& p) { p[32] = 0x80; },                // TLV to understand
             [](auto& p) { p[33] = 9, p[34] = 0xff; },     // TLV over the end
             [](auto& p) { p[kMsg1PayloadSize - 1] = 1; }  // not zero behind the end
         })
        EXPECT_EQ(run_lying_client(lie).error(), NodeDrop::malformed);
}

TEST(Session, low_order_points) {
    // As the node's key: the client sends nothing.
    for (const uint8_t first : std::initializer_list<uint8_t>{0, 1}) {
        crypto::NetworkKeys network = crypto::derive_network_keys(secret_of(0x11));
        auto client = ClientHandshake::start({
            .node_static = {first},
            .identity = make_key_pair(secret_of(0x33)),
            .gate_key = std::move(network.gate),
            .noise_key = std::move(network.noise),
            .offer = {.capabilities = 0, .suites = SuiteList(kAllSuites), .boot_id = {}, .wished_window = 0},
            .ephemeral = secret_of(0x44),
        });
        ASSERT_FALSE(client);
        EXPECT_EQ(client.error().reason, Reason::bad_node_key);
        EXPECT_EQ(client.error().message(), "the node id is not a usable key");
    }
    // As the client's e, under a good gate tag.
    Node node;
    Buffer msg1 = copy_of(make_client().take_output());
    std::fill_n(msg1.begin() + 4, 32, 0);
    const Tag tag =
        gate_tag(node.network[0].gate, node.identity.public_key, kNoCookie, Bytes(msg1).first(kMsg1TagOffset));
    std::copy(tag.begin(), tag.end(), msg1.begin() + kMsg1TagOffset);
    EXPECT_EQ(node.run(msg1).error(), NodeDrop::not_authentic);
    // As the node's e.
    ClientHandshake client = make_client();
    Buffer msg2(kMsg2Size);
    std::copy(kMsg2Header.begin(), kMsg2Header.end(), msg2.begin());
    EXPECT_EQ(client.feed(msg2).progress, Progress::failed);
    EXPECT_EQ(client.failure().reason, Reason::not_authentic);
}

// As the client's static key, by a client that has the network key and, unlike ours, does not stop at a zero result.
TEST(Session, low_order_static_key_of_the_client) {
    Node node;
    const KeyPair e = make_key_pair(secret_of(0x44));
    noise::SymmetricState noise("Noise_IKpsk1_25519_ChaChaPoly_SHA256");
    noise.mix_hash(session_prologue());
    noise.mix_hash(node.identity.public_key);
    noise.mix_hash(e.public_key);
    noise.mix_key(e.public_key);
    Secret<32> shared;
    ASSERT_EQ(crypto_scalarmult(shared.writable().data(), e.secret.bytes().data(), node.identity.public_key.data()), 0);
    noise.mix_key(shared.bytes());
    Msg1 msg1;
    std::copy(kMsg1Header.begin(), kMsg1Header.end(), msg1.begin());
    std::copy(e.public_key.begin(), e.public_key.end(), msg1.begin() + 4);
    const MutableBytes out(msg1);
    ASSERT_TRUE(noise.encrypt_and_hash(PublicKey{}, out.subspan(36, 48)));
    noise.mix_key(std::array<uint8_t, 32>{});  // ss of a low-order s
    noise.mix_key_and_hash(node.network[0].noise.bytes());
    std::array<uint8_t, kMsg1PayloadSize> payload;
    encode_msg1_payload({.suites = SuiteList(kAllSuites)}, payload);
    ASSERT_TRUE(noise.encrypt_and_hash(payload, out.subspan(84, kMsg1PayloadSize + 16)));
    const Tag tag =
        gate_tag(node.network[0].gate, node.identity.public_key, kNoCookie, Bytes(msg1).first(kMsg1TagOffset));
    std::copy(tag.begin(), tag.end(), msg1.begin() + kMsg1TagOffset);
    EXPECT_EQ(node.run(msg1).error(), NodeDrop::not_authentic);
}

TEST(Session, random_bytes_and_damage) {
    std::mt19937_64 random(20240229);
    Node node;
    const Buffer msg1 = copy_of(make_client().take_output());
    NodeHandshake challenger;
    ASSERT_EQ(node.check(challenger, msg1, Load::high), GateVerdict::challenge);
    const Buffer challenge = copy_of(challenger.challenge());
    const auto accepted = node.run(msg1);
    ASSERT_TRUE(accepted);
    node.seen = SeenEphemerals{Secret<16>()};
    const Buffer msg2 = copy_of(accepted->msg2);

    const auto damage = [&](Buffer bytes) {
        switch (random() % 5) {
            case 0:  // noise behind a good beginning
                for (size_t i = random() % bytes.size(); i < bytes.size(); ++i)
                    bytes[i] = static_cast<uint8_t>(random());
                break;
            case 1:  // a few changed bytes
                for (size_t n = random() % 4 + 1; n > 0; --n) bytes = flipped(bytes, random() % (bytes.size() * 8));
                break;
            case 2:
                bytes.resize(random() % bytes.size());
                break;
            case 3:
                bytes.resize(bytes.size() + random() % 600, static_cast<uint8_t>(random()));
                break;
            default:
                std::swap(bytes[random() % bytes.size()], bytes[random() % bytes.size()]);
        }
        return bytes;
    };
    size_t established = 0;
    for (int round = 0; round < 4000; ++round) {
        Buffer bytes = damage(msg1);
        if (bytes != msg1) {
            EXPECT_FALSE(node.run(bytes));
        }

        // The client: damaged messages in a row, in pieces; it may be challenged, it may not come to a false end.
        ClientHandshake client = make_client();
        const bool honest_challenge = random() % 2 == 0;
        Buffer stream = honest_challenge ? challenge : damage(challenge);
        const Buffer second = damage(random() % 2 == 0 ? msg2 : challenge);
        stream.insert(stream.end(), second.begin(), second.end());
        size_t position = 0;
        Progress progress = Progress::need_more;
        while (position < stream.size() && progress != Progress::failed && progress != Progress::established) {
            const size_t piece = std::min<size_t>(random() % 64 + 1, stream.size() - position);
            const auto step = client.feed(Bytes(stream).subspan(position, piece));
            ASSERT_LE(step.consumed, piece);
            if (step.progress == Progress::need_more) {
                ASSERT_EQ(step.consumed, piece);
            }
            position += step.consumed;
            progress = step.progress;
        }
        if (progress == Progress::established) {
            // Only the whole, unchanged MSG2 does it, alone (a CHALLENGE cut to nothing) or after an unchanged
            // CHALLENGE.
            const auto begins_with = [](Bytes all, Bytes with) {
                return all.size() >= with.size() && std::equal(with.begin(), with.end(), all.begin());
            };
            const size_t skip = begins_with(stream, challenge) ? challenge.size() : 0;
            EXPECT_TRUE(begins_with(Bytes(stream).subspan(skip), msg2));
            ++established;
        }
    }
    EXPECT_GT(established, 0u);
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
