#include "common/handshake/noise.h"

#include <gtest/gtest.h>

#include <numeric>
#include <optional>

#include "tests/unit/common/handshake/vector_file.h"

namespace qanat::noise {
namespace {

using testing::read_vectors;
using testing::unhex;
using testing::VectorCase;

Secret<32> secret_of(uint8_t first) {
    Secret<32> secret;
    std::iota(secret.writable().begin(), secret.writable().end(), first);
    return secret;
}

std::string pattern_name(const std::string& protocol) {
    const size_t begin = std::string("Noise_").size();
    return protocol.substr(begin, protocol.find('_', begin) - begin);
}

struct Pair {
    HandshakeState initiator;
    HandshakeState responder;
};

Pair make_pair(const Pattern& pattern, const VectorCase& vector) {
    const auto pair_of = [&](const std::string& key) -> std::optional<KeyPair> {
        if (!vector.has(key)) return std::nullopt;
        return make_key_pair(vector.secret(key));
    };
    HandshakeKeys initiator{pair_of("init_static"), pair_of("init_ephemeral"), {}, {}};
    HandshakeKeys responder{pair_of("resp_static"), pair_of("resp_ephemeral"), {}, {}};
    if (pattern.responder_known) initiator.rs = responder.s->public_key;
    if (pattern.initiator_known) responder.rs = initiator.s->public_key;
    if (vector.has("psk")) {
        initiator.psk = vector.secret("psk");
        responder.psk = vector.secret("psk");
    }
    const auto prologue = vector.bytes("prologue");
    return {HandshakeState(pattern, Role::initiator, prologue, std::move(initiator)),
            HandshakeState(pattern, Role::responder, prologue, std::move(responder))};
}

// Published files differ in who sends the first transport message.
enum class TransportOrder { goes_on_in_turn, begins_with_initiator };

void check_vector(const VectorCase& vector, TransportOrder order) {
    SCOPED_TRACE(vector.text("name"));
    const auto pattern = find_pattern(pattern_name(vector.text("name")));
    ASSERT_TRUE(pattern.has_value());
    auto [initiator, responder] = make_pair(*pattern, vector);
    const auto payloads = vector.all("payload");
    const auto ciphertexts = vector.all("ciphertext");
    ASSERT_EQ(payloads.size(), ciphertexts.size());
    ASSERT_GT(payloads.size(), pattern->message_count);

    std::optional<CipherState> send[2], receive[2];
    for (size_t i = 0; i < payloads.size(); ++i) {
        const auto payload = unhex(payloads[i]);
        const auto expected = unhex(ciphertexts[i]);
        std::vector<uint8_t> message(expected.size());
        std::vector<uint8_t> read(expected.size());
        if (i < pattern->message_count) {
            HandshakeState& writer = i % 2 == 0 ? initiator : responder;
            HandshakeState& reader = i % 2 == 0 ? responder : initiator;
            ASSERT_EQ(writer.write_message(payload, message), expected.size());
            ASSERT_EQ(message, expected);
            ASSERT_EQ(reader.read_message(message, read), payload.size());
            read.resize(payload.size());
            ASSERT_EQ(read, payload);
            continue;
        }
        if (i == pattern->message_count) {
            ASSERT_TRUE(initiator.complete());
            ASSERT_TRUE(responder.complete());
            SplitKeys ours = initiator.split();
            SplitKeys theirs = responder.split();
            ASSERT_TRUE(ours.initiator == theirs.initiator);
            ASSERT_TRUE(ours.responder == theirs.responder);
            send[0].emplace(std::move(ours.initiator));
            send[1].emplace(std::move(ours.responder));
            receive[0].emplace(std::move(theirs.initiator));
            receive[1].emplace(std::move(theirs.responder));
            ASSERT_EQ(initiator.handshake_hash(), responder.handshake_hash());
            if (vector.has("hash")) {
                ASSERT_EQ(initiator.handshake_hash(), vector.array<32>("hash"));
            }
        }
        const bool one_way = pattern->message_count == 1;
        const size_t turn = order == TransportOrder::begins_with_initiator ? i - pattern->message_count : i;
        const size_t direction = one_way && order == TransportOrder::goes_on_in_turn ? 0 : turn % 2;
        ASSERT_TRUE(send[direction]->encrypt_with_ad({}, payload, message));
        ASSERT_EQ(message, expected);
        read.resize(payload.size());
        ASSERT_TRUE(receive[direction]->decrypt_with_ad({}, message, read));
        ASSERT_EQ(read, payload);
    }
}

TEST(NoiseVectors, cacophony) {
    const auto vectors = read_vectors(QANAT_NOISE_VECTORS "/cacophony.txt");
    EXPECT_EQ(vectors.size(), 36u);
    for (const VectorCase& vector : vectors) check_vector(vector, TransportOrder::goes_on_in_turn);
}

TEST(NoiseVectors, flynn) {
    const auto vectors = read_vectors(QANAT_NOISE_VECTORS "/flynn.txt");
    EXPECT_EQ(vectors.size(), 60u);
    for (const VectorCase& vector : vectors) check_vector(vector, TransportOrder::begins_with_initiator);
}

TEST(NoisePatterns, names) {
    for (const char* known : {"N", "K", "X", "NN", "IK", "IKpsk0", "IKpsk1", "IKpsk2", "XXpsk3", "NNpsk0", "KKpsk0"})
        EXPECT_TRUE(find_pattern(known)) << known;
    for (const char* unknown : {"", "psk0", "I", "ik", "IK1", "IKpsk", "IKpsk3", "Npsk2", "XXpsk4", "IKpsk01", "IKpskx",
                                "IKpsk0psk1", "IKfallback"})
        EXPECT_FALSE(find_pattern(unknown)) << unknown;
}

HandshakeKeys ik_initiator() {
    return {make_key_pair(secret_of(1)), make_key_pair(secret_of(2)), make_key_pair(secret_of(3)).public_key,
            secret_of(4)};
}
HandshakeKeys ik_responder() {
    return {make_key_pair(secret_of(3)), make_key_pair(secret_of(5)), {}, secret_of(4)};
}

HandshakeState ik_state(Role role, HandshakeKeys keys, std::string_view prologue = "prologue") {
    return HandshakeState(*find_pattern("IKpsk1"), role, as_bytes(prologue), std::move(keys));
}

constexpr size_t kIkMessage1Size = 32 + 48 + 5 + 16;

std::vector<uint8_t> ik_message1(std::string_view prologue = "prologue") {
    auto state = ik_state(Role::initiator, ik_initiator(), prologue);
    std::vector<uint8_t> message(kIkMessage1Size);
    EXPECT_EQ(state.write_message(as_bytes("hello"), message), message.size());
    return message;
}

TEST(Noise, every_bit_and_every_length_counts) {
    const auto good = ik_message1();
    std::vector<uint8_t> payload(good.size());
    const auto read = [&](const std::vector<uint8_t>& message) {
        return ik_state(Role::responder, ik_responder()).read_message(message, payload);
    };
    ASSERT_EQ(read(good), 5u);
    for (size_t bit = 0; bit < good.size() * 8; ++bit) {
        auto bad = good;
        bad[bit / 8] = static_cast<uint8_t>(bad[bit / 8] ^ 1u << bit % 8);
        EXPECT_EQ(read(bad), fail_with(NoiseError::bad_tag)) << bit;
    }
    for (size_t size = 0; size < good.size(); ++size) {
        const auto result = read({good.begin(), good.begin() + static_cast<ptrdiff_t>(size)});
        ASSERT_FALSE(result) << size;
        // Shorter than its tokens, or too short for the payload's tag; between those, the tag is wrong.
        EXPECT_EQ(result.error(), size < 80 + kTagSize ? NoiseError::wrong_length : NoiseError::bad_tag) << size;
    }
}

TEST(Noise, prologue_psk_and_keys_are_bound) {
    std::vector<uint8_t> payload(kIkMessage1Size);
    EXPECT_FALSE(ik_state(Role::responder, ik_responder()).read_message(ik_message1("other"), payload));
    auto other_psk = ik_responder();
    other_psk.psk = secret_of(99);
    EXPECT_FALSE(ik_state(Role::responder, std::move(other_psk)).read_message(ik_message1(), payload));
    auto other_key = ik_responder();
    other_key.s = make_key_pair(secret_of(99));
    EXPECT_FALSE(ik_state(Role::responder, std::move(other_key)).read_message(ik_message1(), payload));
}

// All points of small order and their non-canonical encodings (RFC 7748, section 6.1, and the list of curve25519's
// author): X25519 gives zeros for each.
const char* const kLowOrderPoints[] = {
    "0000000000000000000000000000000000000000000000000000000000000000",
    "0100000000000000000000000000000000000000000000000000000000000000",
    "e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800",
    "5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157",
    "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "0000000000000000000000000000000000000000000000000000000000000080",
};

TEST(Noise, low_order_points_end_the_handshake) {
    for (const char* hex : kLowOrderPoints) {
        SCOPED_TRACE(hex);
        const auto bytes = unhex(hex);
        PublicKey point;
        std::copy(bytes.begin(), bytes.end(), point.begin());

        auto keys = ik_initiator();
        keys.rs = point;
        std::vector<uint8_t> message(kIkMessage1Size);
        EXPECT_EQ(ik_state(Role::initiator, std::move(keys)).write_message(as_bytes("hello"), message),
                  fail_with(NoiseError::zero_dh));

        message = ik_message1();
        std::copy(point.begin(), point.end(), message.begin());
        std::vector<uint8_t> payload(message.size());
        EXPECT_EQ(ik_state(Role::responder, ik_responder()).read_message(message, payload),
                  fail_with(NoiseError::zero_dh));
    }
}

TEST(Noise, message_size_has_a_limit) {
    const Pattern nn = *find_pattern("NN");
    const auto state = [&](Role role) {
        HandshakeKeys keys;
        keys.e = make_key_pair(secret_of(1));
        return HandshakeState(nn, role, {}, std::move(keys));
    };
    std::vector<uint8_t> out(kMessageSizeMax + 1);
    EXPECT_EQ(state(Role::initiator).write_message(std::vector<uint8_t>(kMessageSizeMax - 32), out), kMessageSizeMax);
    EXPECT_EQ(state(Role::initiator).write_message(std::vector<uint8_t>(kMessageSizeMax - 31), out),
              fail_with(NoiseError::wrong_length));
    std::vector<uint8_t> in(kMessageSizeMax + 1, 9);
    EXPECT_EQ(state(Role::responder).read_message(in, out), fail_with(NoiseError::wrong_length));
    in.pop_back();
    EXPECT_EQ(state(Role::responder).read_message(in, out), kMessageSizeMax - 32);
}

TEST(Noise, ephemeral_may_come_later) {
    auto responder_keys = ik_responder();
    KeyPair e = std::move(*std::exchange(responder_keys.e, std::nullopt));
    auto responder = ik_state(Role::responder, std::move(responder_keys));
    std::vector<uint8_t> buffer(kIkMessage1Size);
    ASSERT_TRUE(responder.read_message(ik_message1(), buffer));
    EXPECT_EQ(responder.remote_static(), make_key_pair(secret_of(1)).public_key);
    responder.set_ephemeral(std::move(e));
    EXPECT_EQ(responder.write_message({}, buffer), 48u);
    EXPECT_TRUE(responder.complete());
}

TEST(CipherState, nonce_runs_out) {
    CipherState cipher(secret_of(7));
    std::array<uint8_t, 17> out;
    cipher.set_nonce(UINT64_MAX - 1);
    EXPECT_TRUE(cipher.encrypt_with_ad({}, as_bytes("x"), out));
    EXPECT_EQ(cipher.encrypt_with_ad({}, as_bytes("x"), out).error(), NoiseError::nonce_exhausted);
    std::array<uint8_t, 1> in;
    EXPECT_EQ(cipher.decrypt_with_ad({}, out, in).error(), NoiseError::nonce_exhausted);
}

TEST(CipherState, failed_decryption_keeps_the_nonce) {
    CipherState sender(secret_of(7)), receiver(secret_of(7));
    std::array<uint8_t, 17> sealed;
    std::array<uint8_t, 1> opened;
    ASSERT_TRUE(sender.encrypt_with_ad(as_bytes("ad"), as_bytes("x"), sealed));
    EXPECT_FALSE(receiver.decrypt_with_ad(as_bytes("other"), sealed, opened));
    EXPECT_TRUE(receiver.decrypt_with_ad(as_bytes("ad"), sealed, opened));
    EXPECT_EQ(opened[0], 'x');
}

TEST(CipherState, rekey_changes_the_key_alike) {
    CipherState sender(secret_of(7)), receiver(secret_of(7)), old(secret_of(7));
    sender.rekey();
    receiver.rekey();
    std::array<uint8_t, 17> sealed;
    std::array<uint8_t, 1> opened;
    ASSERT_TRUE(sender.encrypt_with_ad({}, as_bytes("x"), sealed));
    EXPECT_FALSE(old.decrypt_with_ad({}, sealed, opened));
    EXPECT_TRUE(receiver.decrypt_with_ad({}, sealed, opened));
}

using NoiseDeathTest = ::testing::Test;

TEST(NoiseDeathTest, our_own_mistakes) {
    std::vector<uint8_t> buffer(kIkMessage1Size);
    auto responder = ik_state(Role::responder, ik_responder());
    EXPECT_DEATH((void)responder.write_message({}, buffer), "my_turn_to_write");
    EXPECT_DEATH((void)responder.split(), "complete");
    ASSERT_FALSE(responder.read_message(std::vector<uint8_t>(100), buffer));
    EXPECT_DEATH((void)responder.read_message(ik_message1(), buffer), "dead_");
    auto initiator = ik_state(Role::initiator, ik_initiator());
    EXPECT_DEATH((void)initiator.write_message(as_bytes("hello"), std::span(buffer).first(buffer.size() - 1)),
                 "out.size");
}

}  // namespace
}  // namespace qanat::noise
