// A ClientHandshake and a NodeHandshake that fit each other, unless a test asks for something else.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <utility>
#include <vector>

#include "common/handshake/session_client.h"
#include "common/handshake/session_node.h"

namespace qanat::handshake::test {

using crypto::Suite;
using Buffer = std::vector<uint8_t>;

inline Secret<32> secret_of(uint8_t value) {
    Secret<32> secret;
    std::fill(secret.writable().begin(), secret.writable().end(), value);
    return secret;
}
inline Buffer copy_of(Bytes bytes) {
    return {bytes.begin(), bytes.end()};
}
inline Buffer flipped(Buffer bytes, size_t bit) {
    bytes[bit / 8] = static_cast<uint8_t>(bytes[bit / 8] ^ 1u << bit % 8);
    return bytes;
}

inline const CookieJar::Time kNow = CookieJar::Time(std::chrono::hours(5));
inline constexpr SourceAddress kSource{0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 192, 0, 2, 1};
inline constexpr Suite kAllSuites[] = {Suite::aes_128_gcm, Suite::aes_256_gcm, Suite::chacha20_poly1305};

struct ClientOptions {
    uint8_t psk = 0x11;
    uint8_t node_key = 0x22;
    uint8_t client_key = 0x33;
    uint8_t ephemeral = 0x44;
    std::vector<Suite> suites{kAllSuites, kAllSuites + 3};
    uint32_t capabilities = kCapabilityAes;
};

inline ClientHandshake make_client(const ClientOptions& options = {}) {
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

inline void expect_same_session(const wire::SessionSecrets& a, const wire::SessionSecrets& b) {
    EXPECT_EQ(a.session_id, b.session_id);
    EXPECT_EQ(a.suite, b.suite);
    EXPECT_TRUE(a.data == b.data);
    EXPECT_TRUE(a.ctl_client == b.ctl_client);
    EXPECT_TRUE(a.ctl_node == b.ctl_node);
    EXPECT_FALSE(a.data == a.ctl_client);
    EXPECT_FALSE(a.ctl_client == a.ctl_node);
}

}  // namespace qanat::handshake::test
