#include "common/wire/control_message.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>

#include <vector>

namespace qanat::wire {
namespace {

using Kind = ControlMessage::Kind;

std::vector<uint8_t> encoded(const ControlMessage& message) {
    std::vector<uint8_t> bytes(kControlRecordSizeMax);
    bytes.resize(encode_control_message(bytes, message));
    return bytes;
}

// One of every kind, with the longest text where there is one.
std::vector<ControlMessage> samples() {
    const std::string long_name(255, 'n');
    return {{.kind = Kind::ping, .token = 0},
            {.kind = Kind::pong, .token = UINT64_MAX, .load = 10000},
            {.kind = Kind::draining},
            {.kind = Kind::ask_policy, .token = 7, .target = *Target::from_name(long_name, 443)},
            {.kind = Kind::ask_policy, .token = 7, .target = Target(Endpoint{IpAddress::v4(192, 0, 2, 1), 80})},
            {.kind = Kind::policy_answer, .token = 8, .status = StreamStatus::ok},
            {.kind = Kind::policy_answer,
             .token = 9,
             .status = StreamStatus::denied,
             .reason = Reason(std::string(kReasonSizeMax, 'r'))},
            {.kind = Kind::punch, .token = 10, .address = {IpAddress::v4(192, 0, 2, 1), 40000}, .delay_ms = 1000},
            {.kind = Kind::punch, .token = 10, .address = {*IpAddress::parse("2001:db8::1"), 1}, .delay_ms = 0},
            {.kind = Kind::punch_answer, .token = 11, .address = {*IpAddress::parse("2001:db8::1"), 40000}},
            {.kind = Kind::punch_answer, .token = 12, .punch = PunchStatus::busy},
            {.kind = Kind::punch_answer, .token = 13, .punch = PunchStatus::impossible}};
}

TEST(ControlMessage, GoesThroughARecordOfItsSize) {
    DirectionKey sender;
    sender.key.fill(1);
    DirectionKey receiver = sender;
    crypto::Aead aead;
    aead.expand(sender.suite, sender.key_bytes());
    for (const ControlMessage& message : samples()) {
        const bool text = message.kind == Kind::ask_policy || message.kind == Kind::policy_answer;
        ASSERT_EQ(message.record_size(), text ? 512u : 128u);
        std::array<uint8_t, kControlRecordSizeMax> buffer;
        ASSERT_EQ(seal_control_record(aead, sender, buffer, message), message.record_size());
        const MutableBytes record = MutableBytes(buffer).first(message.record_size());
        ASSERT_EQ(record_size(record), message.record_size());
        const auto opened = open_record(aead, receiver, record);
        ASSERT_TRUE(opened);
        EXPECT_EQ(opened->type, ContentType::control);
        EXPECT_EQ(decode_control_message(opened->content), message);
    }
}

TEST(ControlMessage, Layout) {
    using Expected = std::vector<uint8_t>;
    EXPECT_EQ(encoded({.kind = Kind::ping, .token = 0x0102030405060708}), (Expected{1, 1, 2, 3, 4, 5, 6, 7, 8}));
    EXPECT_EQ(encoded({.kind = Kind::pong, .token = 0x0102030405060708, .load = 0x0a0b}),
              (Expected{2, 1, 2, 3, 4, 5, 6, 7, 8, 10, 11}));
    EXPECT_EQ(encoded({.kind = Kind::draining, .token = 77}), (Expected{3}));
    EXPECT_EQ(encoded({.kind = Kind::ask_policy, .token = 5, .target = *Target::from_name("a.b", 443)}),
              (Expected{4, 0, 0, 0, 0, 0, 0, 0, 5, 3, 3, 'a', '.', 'b', 1, 187}));
    EXPECT_EQ(
        encoded({.kind = Kind::policy_answer, .token = 5, .status = StreamStatus::denied, .reason = Reason("no")}),
        (Expected{5, 0, 0, 0, 0, 0, 0, 0, 5, 2, 2, 'n', 'o'}));
    const Endpoint address{IpAddress::v4(192, 0, 2, 1), 0x9c40};
    EXPECT_EQ(encoded({.kind = Kind::punch, .token = 5, .address = address, .delay_ms = 0x0203}),
              (Expected{6, 0, 0, 0, 0, 0, 0, 0, 5, 2, 3, 1, 192, 0, 2, 1, 0x9c, 0x40}));
    EXPECT_EQ(encoded({.kind = Kind::punch_answer, .token = 5, .address = address}),
              (Expected{7, 0, 0, 0, 0, 0, 0, 0, 5, 0, 1, 192, 0, 2, 1, 0x9c, 0x40}));
    EXPECT_EQ(encoded({.kind = Kind::punch_answer, .token = 5, .punch = PunchStatus::impossible}),
              (Expected{7, 0, 0, 0, 0, 0, 0, 0, 5, 2, 1, 0, 0, 0, 0, 0, 0}));
}

TEST(ControlMessage, EveryPrefixAndOneByteMoreIsWrong) {
    for (const ControlMessage& message : samples()) {
        std::vector<uint8_t> bytes = encoded(message);
        for (size_t size = 0; size < bytes.size(); ++size) {
            const auto decoded = decode_control_message(Bytes(bytes).first(size));
            ASSERT_FALSE(decoded) << size;
            EXPECT_EQ(decoded.error(), ControlMessageError::bad_length) << size;
        }
        bytes.push_back(0);
        EXPECT_EQ(decode_control_message(bytes).error(), ControlMessageError::bad_length);
    }
}

TEST(ControlMessage, FieldsOutOfRange) {
    std::vector<uint8_t> pong = encoded({.kind = Kind::pong, .token = 1, .load = 10000});
    EXPECT_TRUE(decode_control_message(pong));
    ++pong.back();  // 10001
    EXPECT_EQ(decode_control_message(pong).error(), ControlMessageError::bad_field);
    std::vector<uint8_t> answer = encoded({.kind = Kind::policy_answer, .token = 1, .status = StreamStatus::ok});
    for (unsigned status = 0; status < 256; ++status) {
        answer[9] = static_cast<uint8_t>(status);
        const bool known = status == 0 || status == 2 || status == 9 || status == 10;
        EXPECT_EQ(decode_control_message(answer).has_value(), known) << status;
    }
    std::vector<uint8_t> ask = encoded({.kind = Kind::ask_policy, .target = *Target::from_name("a", 1)});
    ask[9] = 2;  // no such address type
    EXPECT_EQ(decode_control_message(ask).error(), ControlMessageError::bad_field);
}

TEST(ControlMessage, PunchFieldsOutOfRange) {
    const Endpoint address{IpAddress::v4(192, 0, 2, 1), 40000};
    std::vector<uint8_t> punch = encoded({.kind = Kind::punch, .token = 1, .address = address, .delay_ms = 1000});
    EXPECT_TRUE(decode_control_message(punch));
    ++punch[10];  // 1001
    EXPECT_EQ(decode_control_message(punch).error(), ControlMessageError::bad_field);
    --punch[10];
    for (const uint8_t type : std::array<uint8_t, 4>{0, 2, 5, 255}) {
        punch[11] = type;
        EXPECT_EQ(decode_control_message(punch).error(), ControlMessageError::bad_field) << int{type};
    }
    // A name is nothing that has been seen anywhere.
    std::vector<uint8_t> named(punch.begin(), punch.begin() + 11);
    named.insert(named.end(), {3, 3, 'a', '.', 'b', 1, 187});
    EXPECT_EQ(decode_control_message(named).error(), ControlMessageError::bad_field);

    std::vector<uint8_t> answer = encoded({.kind = Kind::punch_answer, .token = 1, .punch = PunchStatus::busy});
    for (unsigned status = 0; status < 256; ++status) {
        answer[9] = static_cast<uint8_t>(status);
        EXPECT_EQ(decode_control_message(answer).has_value(), status <= 2) << status;
    }
    answer = encoded({.kind = Kind::punch_answer, .token = 1, .address = address});
    answer[9] = 1;  // busy, and an address
    EXPECT_EQ(decode_control_message(answer).error(), ControlMessageError::bad_field);
}

TEST(ControlMessage, EveryBitFlipIsAnotherMessageOrNone) {
    for (const ControlMessage& message : samples()) {
        const std::vector<uint8_t> bytes = encoded(message);
        for (size_t bit = 0; bit < bytes.size() * 8; ++bit) {
            std::vector<uint8_t> flipped = bytes;
            flipped[bit / 8] ^= static_cast<uint8_t>(1U << bit % 8);
            const auto decoded = decode_control_message(flipped);
            if (decoded) {
                EXPECT_NE(*decoded, message) << bit;
            }
        }
    }
}

TEST(ControlMessage, UnknownKinds) {
    for (unsigned kind = 0; kind < 256; ++kind) {
        if (kind >= 1 && kind <= 7) continue;
        std::vector<uint8_t> content(9);
        content[0] = static_cast<uint8_t>(kind);
        EXPECT_EQ(decode_control_message(content).error(), ControlMessageError::unknown_message);
    }
}

}  // namespace
}  // namespace qanat::wire
