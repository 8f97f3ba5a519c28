// ClientHandshake and NodeHandshake with a network between them that changes bytes, and with keys that do not fit.
#include <gtest/gtest.h>

#include <algorithm>
#include <random>

#include "tests/unit/common/handshake/session_pair.h"

namespace qanat::handshake {
namespace {

using test::Buffer;
using test::copy_of;
using test::flipped;
using test::make_client;
using test::Node;
using Progress = ClientHandshake::Progress;
using Reason = ClientFailure::Reason;

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

}  // namespace
}  // namespace qanat::handshake
