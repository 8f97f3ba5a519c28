#include "common/wire/control_message.h"

#include <gtest/gtest.h>

#include <algorithm>

#include <vector>

namespace qanat::wire {
namespace {

using Kind = ControlMessage::Kind;

TEST(ControlMessage, GoesThroughARecordOf128Bytes) {
    DirectionKey sender;
    sender.key.fill(1);
    DirectionKey receiver = sender;
    crypto::Aead aead;
    aead.expand(sender.suite, sender.key_bytes());
    for (const ControlMessage message :
         {ControlMessage{Kind::ping, 0}, ControlMessage{Kind::pong, UINT64_MAX}, ControlMessage{Kind::draining, 0}}) {
        std::array<uint8_t, kControlRecordSize> record;
        ASSERT_EQ(seal_control_record(aead, sender, record, message), kControlRecordSize);
        ASSERT_EQ(record_size(record), kControlRecordSize);
        const auto opened = open_record(aead, receiver, record);
        ASSERT_TRUE(opened);
        EXPECT_EQ(opened->type, ContentType::control);
        EXPECT_EQ(decode_control_message(opened->content), message);
    }
}

TEST(ControlMessage, Layout) {
    std::array<uint8_t, kControlContentSizeMax> out;
    ASSERT_EQ(encode_control_message(out, {Kind::pong, 0x0102030405060708}), 9u);
    EXPECT_TRUE(std::ranges::equal(std::span(out).first(9), std::to_array<uint8_t>({2, 1, 2, 3, 4, 5, 6, 7, 8})));
    ASSERT_EQ(encode_control_message(out, {Kind::draining, 77}), 1u);
    EXPECT_EQ(out[0], 3);
}

TEST(ControlMessage, WrongSizes) {
    for (const uint8_t kind : {uint8_t{1}, uint8_t{2}, uint8_t{3}}) {
        const size_t right = kind == 3 ? 1 : 9;
        for (size_t size = 1; size < 20; ++size) {
            std::vector<uint8_t> content(size);
            content[0] = kind;
            const auto decoded = decode_control_message(content);
            ASSERT_EQ(decoded.has_value(), size == right);
            if (!decoded) {
                EXPECT_EQ(decoded.error(), ControlMessageError::bad_length);
            }
        }
    }
    EXPECT_EQ(decode_control_message({}).error(), ControlMessageError::bad_length);
}

TEST(ControlMessage, UnknownKinds) {
    for (unsigned kind = 0; kind < 256; ++kind) {
        if (kind >= 1 && kind <= 3) continue;
        std::vector<uint8_t> content(9);
        content[0] = static_cast<uint8_t>(kind);
        EXPECT_EQ(decode_control_message(content).error(), ControlMessageError::unknown_message);
    }
}

}  // namespace
}  // namespace qanat::wire
