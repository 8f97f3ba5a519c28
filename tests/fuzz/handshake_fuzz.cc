// The session handshake. Byte 0: what the input is: bytes to the client, bytes to the node, bytes to the node with a
// gate tag that is right, payloads as they come out of Noise, or damage to a conversation of two honest sides. Only an
// untouched conversation may end in a session.
#include <algorithm>
#include <vector>

#include "common/handshake/session_client.h"
#include "common/handshake/session_node.h"
#include "tests/fuzz/fuzz_input.h"

namespace {

using namespace qanat;
using namespace qanat::handshake;

Secret<32> fixed_secret(uint8_t byte) {
    std::array<uint8_t, 32> bytes;
    bytes.fill(byte);
    return Secret<32>(bytes);
}

struct World {
    Identity node = make_key_pair(fixed_secret(1));
    Identity client = make_key_pair(fixed_secret(2));
    crypto::NetworkKeys network = crypto::derive_network_keys(fixed_secret(3));
    CookieJar cookies{fixed_secret(4), {}};
};

const World& world() {
    static const World made;
    return made;
}

// Small: 512 KiB of table for every input would leave the fuzzer no time.
SeenEphemerals& seen() {
    static const std::array<uint8_t, 16> key{};
    static SeenEphemerals made{Secret<16>(std::span<const uint8_t, 16>(key))};
    return made;
}

// Each conversation has an ephemeral key of its own, or the node would drop it as a replay of the last one.
Secret<32> next_ephemeral() {
    static uint64_t counter = 0;
    ++counter;
    std::array<uint8_t, 32> bytes{};
    // Not in the first byte: X25519 clamps its low bits away, and neighbours would be the same key.
    for (size_t i = 0; i < 8; ++i) bytes[8 + i] = static_cast<uint8_t>(counter >> 8 * i);
    return Secret<32>(bytes);
}

ClientHandshake start_client() {
    Msg1Payload offer;
    offer.capabilities = kCapabilityAes;
    offer.suites = SuiteList(std::array{crypto::Suite::aes_128_gcm, crypto::Suite::chacha20_poly1305});
    auto client = ClientHandshake::start({world().node.public_key, world().client.clone(), world().network.gate.clone(),
                                          world().network.noise.clone(), offer, next_ephemeral()});
    FUZZ_CHECK(client.has_value());
    return std::move(*client);
}

GateContext gate_context(Load load) {
    return {world().node.public_key, std::span(&world().network, 1), seen(), world().cookies, {}, {}, load};
}

// Runs the node as far as the message takes it; MSG2, or nothing.
std::optional<Msg2> run_node(Bytes msg1, Load load) {
    NodeHandshake node;
    const auto gate = node.check_gate(msg1, gate_context(load));
    if (!gate || *gate == GateVerdict::challenge) return std::nullopt;
    auto offer = node.read(world().node, world().network);
    if (!offer) return std::nullopt;
    FUZZ_CHECK(offer->client_static == world().client.public_key);
    const auto suite = choose_suite(offer->payload.suites, std::array{crypto::Suite::chacha20_poly1305}, false);
    if (!suite) return std::nullopt;
    const Secret<32> header_key = fixed_secret(5);
    auto session = node.accept({*suite, 0, 77, 3600, 65536, header_key, next_ephemeral()}, seen());
    if (!session) return std::nullopt;
    return session->msg2;
}

void feed_client(Bytes input) {
    ClientHandshake client = start_client();
    FUZZ_CHECK(client.take_output().size() == kMsg1Size);
    while (!input.empty()) {
        const size_t piece = std::min<size_t>(input.size(), 1 + input[0] % 64U);
        const auto step = client.feed(input.first(piece));
        FUZZ_CHECK(step.consumed <= piece);
        FUZZ_CHECK(step.progress != ClientHandshake::Progress::established);  // that would be a forgery
        if (step.progress == ClientHandshake::Progress::failed) {
            FUZZ_CHECK(!client.failure().message().empty());
            return;
        }
        (void)client.take_output();
        input = input.subspan(piece);
    }
}

void read_node(Bytes input, bool right_tag) {
    std::vector<uint8_t> msg1(input.begin(), input.end());
    if (right_tag) {
        msg1.resize(kMsg1Size);
        std::ranges::copy(kMsg1Header, msg1.begin());
        const Tag tag =
            gate_tag(world().network.gate, world().node.public_key, kNoCookie, Bytes(msg1).first(kMsg1TagOffset));
        std::ranges::copy(tag, msg1.begin() + kMsg1TagOffset);
    }
    FUZZ_CHECK(!run_node(msg1, Load::normal));
    (void)run_node(msg1, Load::high);
}

void decode_payloads(Bytes input) {
    std::array<uint8_t, kMsg1PayloadSize> one{};
    std::copy_n(input.begin(), std::min(input.size(), one.size()), one.begin());
    if (const auto payload = decode_msg1_payload(one)) {
        std::array<uint8_t, kMsg1PayloadSize> again;
        encode_msg1_payload(*payload, again);
        FUZZ_CHECK(decode_msg1_payload(again).has_value());
    }
    std::array<uint8_t, kMsg2PayloadSize> two{};
    std::copy_n(input.begin(), std::min(input.size(), two.size()), two.begin());
    (void)decode_msg2_payload(two);
}

// Input: pairs of (offset, mask) applied to MSG1 first, and to MSG2 when a pair says so.
void damage_conversation(Bytes input) {
    ClientHandshake client = start_client();
    const Bytes output = client.take_output();
    std::vector<uint8_t> msg1(output.begin(), output.end());
    std::vector<uint8_t> changes_of_msg2;
    bool msg1_changed = false;
    ByteReader reader(input);
    while (reader.remaining() >= 3) {
        const uint16_t where = reader.u16();
        const uint8_t mask = reader.u8();
        uint8_t& byte = msg1[where % kMsg1Size];
        if (where < 0x8000)
            byte = static_cast<uint8_t>(byte ^ mask);
        else
            changes_of_msg2.insert(changes_of_msg2.end(), {static_cast<uint8_t>(where), mask});
    }
    msg1_changed = !std::ranges::equal(msg1, output);
    auto msg2 = run_node(msg1, Load::normal);
    FUZZ_CHECK(msg2.has_value() == !msg1_changed);
    if (!msg2) return;
    const Msg2 untouched = *msg2;
    for (size_t i = 0; i + 1 < changes_of_msg2.size(); i += 2) {
        uint8_t& byte = (*msg2)[changes_of_msg2[i]];
        byte = static_cast<uint8_t>(byte ^ changes_of_msg2[i + 1]);
    }
    const auto step = client.feed(*msg2);
    const bool established = step.progress == ClientHandshake::Progress::established;
    FUZZ_CHECK(established == (*msg2 == untouched));
    if (established) FUZZ_CHECK(client.take_session().secrets.session_id == 77);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
    Bytes input(data, size);
    switch (fuzz::take_byte(input) % 5) {
        case 0:
            feed_client(input);
            break;
        case 1:
            read_node(input, false);
            break;
        case 2:
            read_node(input, true);
            break;
        case 3:
            decode_payloads(input);
            break;
        default:
            damage_conversation(input);
            break;
    }
    return 0;
}
