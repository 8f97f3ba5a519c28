// Both sides against tests/vectors/noise/session.txt, which a second implementation made (session_vectors.py there).
#include <gtest/gtest.h>

#include "common/handshake/session_client.h"
#include "common/handshake/session_node.h"
#include "tests/unit/common/handshake/vector_file.h"

namespace qanat::handshake {
namespace {

using testing::VectorCase;
using Time = CookieJar::Time;

std::vector<uint8_t> copy_of(Bytes bytes) {
    return {bytes.begin(), bytes.end()};
}

Msg1Payload offer_of(const VectorCase& vector) {
    Msg1Payload offer;
    offer.capabilities = static_cast<uint32_t>(vector.number("capabilities"));
    for (const uint8_t id : vector.bytes("suites")) offer.suites.push_back(id);
    offer.boot_id = vector.array<16>("boot_id");
    offer.wished_window = static_cast<uint32_t>(vector.number("wished_window"));
    return offer;
}

void check_secrets(const wire::SessionSecrets& secrets, const VectorCase& vector) {
    EXPECT_EQ(secrets.session_id, vector.number("session_id"));
    EXPECT_EQ(static_cast<uint64_t>(secrets.suite), vector.number("suite"));
    EXPECT_TRUE(secrets.data == vector.secret("data"));
    EXPECT_TRUE(secrets.ctl_client == vector.secret("ctl_client"));
    EXPECT_TRUE(secrets.ctl_node == vector.secret("ctl_node"));
}

void check_client(const VectorCase& vector) {
    crypto::NetworkKeys network = crypto::derive_network_keys(vector.secret("psk"));
    EXPECT_EQ(network.fingerprint, vector.array<8>("fingerprint"));
    auto client = ClientHandshake::start({
        .node_static = make_key_pair(vector.secret("node_static")).public_key,
        .identity = make_key_pair(vector.secret("client_static")),
        .gate_key = std::move(network.gate),
        .noise_key = std::move(network.noise),
        .offer = offer_of(vector),
        .ephemeral = vector.secret("client_ephemeral"),
    });
    ASSERT_TRUE(client);
    EXPECT_EQ(copy_of(client->take_output()), vector.bytes("msg1"));
    EXPECT_TRUE(client->take_output().empty());
    if (vector.has("challenge")) {
        EXPECT_EQ(client->feed(vector.bytes("challenge")).progress, ClientHandshake::Progress::challenged);
        EXPECT_EQ(copy_of(client->take_output()), vector.bytes("msg1_again"));
    }
    const auto step = client->feed(vector.bytes("msg2"));
    if (vector.number("status") == 0) {
        ASSERT_EQ(step.progress, ClientHandshake::Progress::established);
        const ClientSession session = client->take_session();
        check_secrets(session.secrets, vector);
        EXPECT_TRUE(session.header_key == vector.secret("header_key"));
        EXPECT_EQ(session.lifetime_s, vector.number("lifetime"));
        EXPECT_EQ(session.window, vector.number("window"));
        EXPECT_EQ(session.node_capabilities, vector.number("node_capabilities"));
    } else {
        ASSERT_EQ(step.progress, ClientHandshake::Progress::failed);
        EXPECT_EQ(client->failure().reason, ClientFailure::Reason::refused);
        EXPECT_EQ(static_cast<uint64_t>(client->failure().status), vector.number("status"));
    }
}

void check_node(const VectorCase& vector) {
    const KeyPair identity = make_key_pair(vector.secret("node_static"));
    const crypto::NetworkKeys network[] = {crypto::derive_network_keys(vector.secret("psk"))};
    SeenEphemerals seen{Secret<16>()};
    const bool challenged = vector.has("challenge");
    const CookieJar cookies(challenged ? vector.secret("cookie_key") : Secret<32>(), Time());
    GateContext context{
        identity.public_key, network, seen, cookies, {}, Time(), challenged ? Load::high : Load::normal};

    NodeHandshake node;
    if (challenged) {
        context.source = vector.array<16>("source");
        ASSERT_EQ(node.check_gate(vector.bytes("msg1"), context), GateVerdict::challenge);
        EXPECT_EQ(copy_of(node.challenge()), vector.bytes("challenge"));
    }
    ASSERT_EQ(node.check_gate(vector.bytes(challenged ? "msg1_again" : "msg1"), context), GateVerdict::pass);
    const auto offer = node.read(identity, network[0]);
    ASSERT_TRUE(offer);
    EXPECT_EQ(offer->client_static, make_key_pair(vector.secret("client_static")).public_key);
    EXPECT_EQ(copy_of(offer->payload.suites.ids()), vector.bytes("suites"));
    EXPECT_EQ(offer->payload.boot_id, vector.array<16>("boot_id"));
    EXPECT_EQ(offer->payload.capabilities, vector.number("capabilities"));
    EXPECT_EQ(offer->payload.wished_window, vector.number("wished_window"));

    if (vector.number("status") == 0) {
        const Secret<32> header_key = vector.secret("header_key");
        const auto accepted = node.accept({.suite = static_cast<crypto::Suite>(vector.number("suite")),
                                           .capabilities = static_cast<uint32_t>(vector.number("node_capabilities")),
                                           .session_id = vector.number("session_id"),
                                           .lifetime_s = static_cast<uint32_t>(vector.number("lifetime")),
                                           .window = static_cast<uint32_t>(vector.number("window")),
                                           .header_key = header_key,
                                           .ephemeral = vector.secret("node_ephemeral")},
                                          seen);
        ASSERT_TRUE(accepted);
        // Our own node sends no TLV, so its MSG2, and with it h, differs from one that has some.
        if (vector.text("name").find("TLV") == std::string::npos) {
            check_secrets(accepted->secrets, vector);
            EXPECT_EQ(copy_of(accepted->msg2), vector.bytes("msg2"));
        }
    } else {
        const auto msg2 =
            node.refuse(static_cast<SessionStatus>(vector.number("status")), vector.secret("node_ephemeral"), seen);
        ASSERT_TRUE(msg2);
        EXPECT_EQ(copy_of(*msg2), vector.bytes("msg2"));
    }
}

TEST(SessionVectors, client_and_node) {
    const auto vectors = testing::read_vectors(QANAT_NOISE_VECTORS "/session.txt");
    ASSERT_EQ(vectors.size(), 8u);
    for (const VectorCase& vector : vectors) {
        SCOPED_TRACE(vector.text("name"));
        check_client(vector);
        check_node(vector);
    }
}

}  // namespace
}  // namespace qanat::handshake
