// Sides that hold their keys and do not keep the rules.
#include <gtest/gtest.h>

#include <algorithm>
#include <functional>

#include "common/handshake/session_noise.h"
#include "tests/unit/common/handshake/session_pair.h"

namespace qanat::handshake {
namespace {

using crypto::Suite;
using test::Buffer;
using test::ClientOptions;
using test::copy_of;
using test::kAllSuites;
using test::make_client;
using test::Node;
using test::secret_of;
using Progress = ClientHandshake::Progress;
using Reason = ClientFailure::Reason;

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

}  // namespace
}  // namespace qanat::handshake
