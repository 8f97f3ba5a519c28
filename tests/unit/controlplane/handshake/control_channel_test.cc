#include "controlplane/handshake/control_channel.h"

#include <gtest/gtest.h>

namespace qanat::controlplane {
namespace {

using wire::ControlMessage;
using Kind = ControlMessage::Kind;
using Record = std::vector<uint8_t>;

wire::SessionSecrets secrets() {
    wire::SessionSecrets made;
    made.session_id = 7;
    made.suite = crypto::Suite::chacha20_poly1305;
    made.ctl_client.writable()[0] = 1;
    made.ctl_node.writable()[0] = 2;
    return made;
}

struct Pair {
    wire::SessionSecrets shared = secrets();
    ControlChannel client{ControlChannel::Side::client, shared};
    ControlChannel node{ControlChannel::Side::node, shared};
};

TEST(ControlChannel, CarriesMessagesBothWays) {
    Pair pair;
    for (uint64_t token = 0; token < 5; ++token) {
        const auto there = pair.node.feed(*pair.client.seal({.kind = Kind::ping, .token = token}));
        ASSERT_EQ(there.messages.size(), 1u);
        EXPECT_EQ(there.messages[0], (ControlMessage{.kind = Kind::ping, .token = token}));
        const auto back = pair.client.feed(*pair.node.seal({.kind = Kind::pong, .token = token}));
        ASSERT_EQ(back.messages.size(), 1u);
        EXPECT_EQ(back.messages[0], (ControlMessage{.kind = Kind::pong, .token = token}));
        EXPECT_FALSE(there.ended || back.ended);
    }
    EXPECT_EQ(pair.client.feed(*pair.node.seal({.kind = Kind::draining, .token = 0})).messages[0].kind, Kind::draining);
}

TEST(ControlChannel, CutAnywhereAndJoined) {
    for (size_t cut = 0; cut <= 2 * wire::kControlRecordSize; ++cut) {
        Pair pair;
        std::vector<uint8_t> bytes;
        for (uint64_t token = 1; token <= 2; ++token) {
            const Record record = *pair.client.seal({.kind = Kind::ping, .token = token});
            bytes.insert(bytes.end(), record.begin(), record.end());
        }
        auto first = pair.node.feed(Bytes(bytes).first(cut));
        const auto second = pair.node.feed(Bytes(bytes).subspan(cut));
        first.messages.insert(first.messages.end(), second.messages.begin(), second.messages.end());
        ASSERT_EQ(first.messages.size(), 2u) << cut;
        EXPECT_EQ(first.messages[1].token, 2u);
        EXPECT_FALSE(second.ended);
    }
}

TEST(ControlChannel, EveryFlippedByteEnds) {
    for (size_t i = 0; i < wire::kControlRecordSize; ++i) {
        Pair pair;
        Record record = *pair.client.seal({.kind = Kind::ping, .token = 1});
        record[i] ^= 1;
        auto input = pair.node.feed(record);
        // A longer length waits for more; a record behind it then fails.
        if (!input.ended) input = pair.node.feed(*pair.client.seal({.kind = Kind::ping, .token = 2}));
        if (!input.ended) input = pair.node.feed(*pair.client.seal({.kind = Kind::ping, .token = 3}));
        EXPECT_TRUE(input.ended) << i;
        EXPECT_TRUE(input.messages.empty()) << i;
        EXPECT_TRUE(pair.node.feed(*pair.client.seal({.kind = Kind::ping, .token = 4})).ended)
            << "once ended, for good";
    }
}

TEST(ControlChannel, AReplayedRecordEnds) {
    Pair pair;
    const Record record = *pair.client.seal({.kind = Kind::ping, .token = 1});
    EXPECT_FALSE(pair.node.feed(record).ended);
    EXPECT_TRUE(pair.node.feed(record).ended);
}

TEST(ControlChannel, AnOwnRecordReflectedEnds) {
    Pair pair;
    EXPECT_TRUE(pair.client.feed(*pair.client.seal({.kind = Kind::ping, .token = 1})).ended);
}

TEST(ControlChannel, CloseNotifyEndsAfterWhatCameBefore) {
    Pair pair;
    const wire::SessionSecrets shared = secrets();
    wire::DirectionKey key = wire::control_key(shared.ctl_client, shared.suite);
    crypto::Aead aead;
    aead.expand(key.suite, key.key_bytes());
    Record ping(wire::kControlRecordSize);
    ASSERT_GT(wire::seal_control_record(aead, key, ping, {.kind = Kind::ping, .token = 5}), 0u);
    std::array<uint8_t, 64> alert{};
    const size_t size = wire::seal_record_copy(aead, key, alert, Bytes(wire::kCloseNotify), wire::ContentType::alert);
    std::vector<uint8_t> bytes(ping.begin(), ping.end());
    bytes.insert(bytes.end(), alert.begin(), alert.begin() + static_cast<ptrdiff_t>(size));
    const auto input = pair.node.feed(bytes);
    EXPECT_EQ(input.messages.size(), 1u);
    EXPECT_TRUE(input.ended);
}

TEST(ControlChannel, AMessageInARecordOfAnotherKindsSizeEnds) {
    for (const ControlMessage& message :
         {ControlMessage{.kind = Kind::ping, .token = 5},
          ControlMessage{.kind = Kind::ask_policy, .token = 5, .target = *wire::Target::from_name("a.example", 80)}}) {
        Pair pair;
        const wire::SessionSecrets shared = secrets();
        wire::DirectionKey key = wire::control_key(shared.ctl_client, shared.suite);
        crypto::Aead aead;
        aead.expand(key.suite, key.key_bytes());
        std::array<uint8_t, 100> content{};
        const size_t content_size = wire::encode_control_message(content, message);
        Record record(wire::kControlRecordSize + wire::kControlRecordSizeMax - message.record_size());
        ASSERT_EQ(
            wire::seal_record_copy(aead, key, record, Bytes(content).first(content_size), wire::ContentType::control,
                                   record.size() - wire::kRecordOverhead - content_size),
            record.size());
        const auto input = pair.node.feed(record);
        EXPECT_TRUE(input.ended);
        EXPECT_TRUE(input.messages.empty());
    }
}

TEST(ControlChannel, AHugeRecordEndsAtItsHeader) {
    Pair pair;
    const std::array<uint8_t, 6> header{0x17, 0x03, 0x03, 0x40, 0x00, 0x00};
    EXPECT_TRUE(pair.node.feed(header).ended);
}

}  // namespace
}  // namespace qanat::controlplane
