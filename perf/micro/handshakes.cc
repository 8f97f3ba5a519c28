#include "perf/micro/handshakes.h"

#include <algorithm>
#include <optional>
#include <vector>

#include "common/base/assert.h"
#include "common/handshake/session_client.h"
#include "common/handshake/session_node.h"

namespace qanat::perf {
namespace {

using namespace handshake;

// The count is where clamping does not reach, so that every count is another key.
Secret<32> secret_of(uint8_t value, uint64_t count = 0) {
    Secret<32> secret;
    auto bytes = secret.writable();
    std::fill(bytes.begin(), bytes.end(), value);
    for (size_t n = 0; n < sizeof count; ++n) bytes[8 + n] = static_cast<uint8_t>(count >> 8 * n);
    return secret;
}

constexpr SourceAddress kSource{0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 192, 0, 2, 1};
const CookieJar::Time kNow = CookieJar::Time(std::chrono::hours(5));
constexpr crypto::Suite kSuites[] = {crypto::Suite::aes_128_gcm};

}  // namespace

struct HandshakePair::State {
    KeyPair node_identity = make_key_pair(secret_of(0x22));
    KeyPair client_identity = make_key_pair(secret_of(0x33));
    std::vector<crypto::NetworkKeys> network;
    SeenEphemerals seen{Secret<16>()};
    CookieJar cookies{secret_of(0x77), kNow};
    Secret<32> header_key = secret_of(0x88);
    uint64_t count = 0;  // every handshake has fresh ephemerals
    std::optional<ClientHandshake> client;
    Msg1 msg1{};
    Msg2 msg2{};

    [[nodiscard]] GateContext context() const {
        return {node_identity.public_key, network, seen, cookies, kSource, kNow, Load::normal};
    }
};

HandshakePair::HandshakePair() : state_(std::make_unique<State>()) {
    state_->network.push_back(crypto::derive_network_keys(secret_of(0x11)));
}

HandshakePair::~HandshakePair() = default;

void HandshakePair::client_starts() {
    State& s = *state_;
    auto client = ClientHandshake::start({
        .node_static = s.node_identity.public_key,
        .identity = s.client_identity.clone(),
        .gate_key = s.network[0].gate.clone(),
        .noise_key = s.network[0].noise.clone(),
        .offer = {.capabilities = kCapabilityAes, .suites = SuiteList(kSuites), .boot_id = {5}, .wished_window = 8192},
        .ephemeral = secret_of(0x44, ++s.count),
    });
    QANAT_ASSERT(client);
    s.client.emplace(std::move(*client));
    const Bytes out = s.client->take_output();
    QANAT_ASSERT(out.size() == s.msg1.size());
    std::copy(out.begin(), out.end(), s.msg1.begin());
}

void HandshakePair::node_answers() {
    State& s = *state_;
    NodeHandshake node;
    const auto verdict = node.check_gate(s.msg1, s.context());
    QANAT_ASSERT(verdict && *verdict == GateVerdict::pass);
    QANAT_ASSERT(node.read(s.node_identity, s.network[0]));
    const auto accepted = node.accept({.suite = crypto::Suite::aes_128_gcm,
                                       .capabilities = kCapabilityAes,
                                       .session_id = 0x1234,
                                       .lifetime_s = 3600,
                                       .window = 8192,
                                       .header_key = s.header_key,
                                       .ephemeral = secret_of(0x55, s.count)},
                                      s.seen);
    QANAT_ASSERT(accepted);
    s.msg2 = accepted->msg2;
}

void HandshakePair::client_finishes() {
    State& s = *state_;
    const auto step = s.client->feed(s.msg2);
    QANAT_ASSERT(step.progress == ClientHandshake::Progress::established);
    const ClientSession session = s.client->take_session();
    QANAT_ASSERT(session.window == 8192);
}

void HandshakePair::node_refuses_stranger() {
    State& s = *state_;
    Msg1 wrong = s.msg1;
    wrong.back() ^= 1;
    NodeHandshake node;
    QANAT_ASSERT(!node.check_gate(wrong, s.context()));
}

}  // namespace qanat::perf
