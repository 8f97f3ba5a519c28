#include "common/handshake/session_messages.h"

#include <gtest/gtest.h>

#include <vector>

namespace qanat::handshake {
namespace {

using crypto::Suite;
using Payload1 = std::array<uint8_t, kMsg1PayloadSize>;
using Payload2 = std::array<uint8_t, kMsg2PayloadSize>;

constexpr Suite kAllSuites[] = {Suite::aes_128_gcm, Suite::aes_256_gcm, Suite::chacha20_poly1305};

Payload1 good_msg1() {
    Payload1 bytes;
    encode_msg1_payload(
        {.capabilities = 1, .suites = SuiteList(kAllSuites), .boot_id = {9, 8, 7}, .wished_window = 640}, bytes);
    return bytes;
}

Payload2 good_msg2() {
    Msg2Payload payload;
    payload.suite = Suite::aes_256_gcm;
    payload.capabilities = 1;
    payload.session_id = 0x0102030405060708;
    payload.lifetime_s = 3600;
    payload.window = 65536;
    payload.header_key.writable()[31] = 0xee;
    Payload2 bytes;
    encode_msg2_payload(payload, bytes);
    return bytes;
}

TEST(Msg1Payload, layout) {
    const Payload1 bytes = good_msg1();
    const std::vector<uint8_t> begin(bytes.begin(), bytes.begin() + 32);
    EXPECT_EQ(begin, (std::vector<uint8_t>{0, 0, 0, 1, 3, 1, 2, 3, 0, 0, 0, 0, 9, 8, 7, 0,
                                           0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2, 0x80}));
    const auto payload = decode_msg1_payload(bytes);
    ASSERT_TRUE(payload);
    EXPECT_EQ(payload->capabilities, 1u);
    EXPECT_EQ(payload->suites.size(), 3u);
    EXPECT_TRUE(payload->suites.contains(Suite::aes_256_gcm));
    EXPECT_EQ(payload->boot_id, (BootId{9, 8, 7}));
    EXPECT_EQ(payload->wished_window, 640u);
}

TEST(Msg1Payload, suite_count_and_ids_must_fit) {
    for (unsigned count = 0; count < 256; ++count) {
        for (unsigned used = 0; used <= 7; ++used) {
            Payload1 bytes = good_msg1();
            bytes[4] = static_cast<uint8_t>(count);
            for (unsigned i = 0; i < 7; ++i) bytes[5 + i] = i < used ? 200 : 0;
            const auto payload = decode_msg1_payload(bytes);
            EXPECT_EQ(payload.has_value(), count == used && count >= 1) << count << " " << used;
        }
    }
}

// The TLV rules are the same in both payloads.
template <size_t N>
std::vector<std::array<uint8_t, N>> with_tlvs(const std::array<uint8_t, N>& good, size_t offset,
                                              const std::vector<std::vector<uint8_t>>& tlvs) {
    std::vector<std::array<uint8_t, N>> out;
    for (const auto& tlv : tlvs) {
        out.push_back(good);
        std::copy(tlv.begin(), tlv.end(), out.back().begin() + static_cast<ptrdiff_t>(offset));
    }
    return out;
}

// A TLV whose value ends `gap` bytes before the end of an area of `area` bytes.
std::vector<uint8_t> reaching(size_t area, size_t gap) {
    const size_t length = area - 4 - gap;
    std::vector<uint8_t> tlv{0x00, 0x05, static_cast<uint8_t>(length >> 8), static_cast<uint8_t>(length)};
    tlv.resize(4 + length, 0xaa);
    return tlv;
}

std::vector<std::vector<uint8_t>> good_tlvs(size_t area) {
    auto at_end_1 = reaching(area, 4);
    at_end_1.insert(at_end_1.end(), {0x7f, 0xff, 0x00, 0x00});
    return {{},
            {0x00, 0x01, 0x00, 0x00},
            {0x7f, 0xff, 0x00, 0x02, 0xff, 0xff},
            {0x00, 0x01, 0x00, 0x01, 0x00, 0x00, 0x02, 0x00, 0x00},
            reaching(area, 0),
            reaching(area, 1),
            reaching(area, 2),
            reaching(area, 3),
            reaching(area, 4),
            at_end_1};
}

std::vector<std::vector<uint8_t>> bad_tlvs(size_t area) {
    const size_t too_long = area - 4 + 1;
    std::vector<std::vector<uint8_t>> list{
        {0x80, 0x00, 0x00, 0x00},                                                           // must be understood
        {0xff, 0xff, 0x00, 0x01, 0x00},                                                     // the same
        {0x00, 0x01, 0x00, 0x00, 0x80, 0x01, 0x00, 0x00},                                   // the same, second
        {0x00, 0x01, static_cast<uint8_t>(too_long >> 8), static_cast<uint8_t>(too_long)},  // one byte over the end
        {0x00, 0x01, 0xff, 0xff},                                                           // far over the end
        {0x00, 0x00, 0x00, 0x01},                                                           // bytes after the end
        {0x00, 0x00, 0x00, 0x00, 0x00, 0x01},
        {0x00, 0x01, 0x00, 0x00, 0x00, 0x00, 0x01},
    };
    for (size_t gap = 1; gap <= 3; ++gap) {  // a type that begins and has no room for its length
        list.push_back(reaching(area, gap));
        list.back().resize(area - gap);
        list.back().push_back(gap == 1 ? 1 : 0);
        if (gap > 1) list.back().push_back(1);
    }
    return list;
}

TEST(Msg1Payload, tlvs) {
    const size_t area = kMsg1PayloadSize - 32;
    for (const auto& bytes : with_tlvs(good_msg1(), 32, good_tlvs(area))) EXPECT_TRUE(decode_msg1_payload(bytes));
    for (const auto& bytes : with_tlvs(good_msg1(), 32, bad_tlvs(area))) EXPECT_FALSE(decode_msg1_payload(bytes));
}

TEST(Msg2Payload, tlvs) {
    const size_t area = kMsg2PayloadSize - 56;
    for (const auto& bytes : with_tlvs(good_msg2(), 56, good_tlvs(area))) EXPECT_TRUE(decode_msg2_payload(bytes));
    for (const auto& bytes : with_tlvs(good_msg2(), 56, bad_tlvs(area))) EXPECT_FALSE(decode_msg2_payload(bytes));
}

TEST(Msg2Payload, layout) {
    const Payload2 bytes = good_msg2();
    const std::vector<uint8_t> begin(bytes.begin(), bytes.begin() + 24);
    EXPECT_EQ(begin,
              (std::vector<uint8_t>{0, 2, 0, 0, 0, 0, 0, 1, 1, 2, 3, 4, 5, 6, 7, 8, 0, 0, 0x0e, 0x10, 0, 1, 0, 0}));
    EXPECT_EQ(bytes[55], 0xee);
    const auto payload = decode_msg2_payload(bytes);
    ASSERT_TRUE(payload);
    EXPECT_EQ(payload->status, SessionStatus::ok);
    EXPECT_EQ(payload->suite, Suite::aes_256_gcm);
    EXPECT_EQ(payload->session_id, 0x0102030405060708u);
    EXPECT_EQ(payload->lifetime_s, 3600u);
    EXPECT_EQ(payload->window, 65536u);
    EXPECT_EQ(payload->header_key.bytes()[31], 0xee);
}

TEST(Msg2Payload, fields_out_of_range) {
    struct Case {
        size_t offset;
        std::vector<uint8_t> bytes;
        bool good;
    };
    const Case cases[] = {
        {1, {0}, false},
        {1, {3}, true},
        {1, {4}, false},
        {2, {1}, false},
        {3, {1}, false},
        {8, {0, 0, 0, 0, 0, 0, 0, 0}, false},
        {8, {0, 0, 0, 0, 0, 0, 0, 1}, true},
        {16, {0, 0, 0, 0}, false},
        {16, {0, 0, 0, 1}, true},
        {20, {0, 0, 0, 0}, false},
        {20, {0, 0, 0, 63}, false},
        {20, {0, 0, 0, 64}, true},
        {20, {0, 0, 0, 65}, false},
        {20, {0xff, 0xff, 0xff, 0xc0}, true},
    };
    for (const Case& c : cases) {
        Payload2 bytes = good_msg2();
        std::copy(c.bytes.begin(), c.bytes.end(), bytes.begin() + static_cast<ptrdiff_t>(c.offset));
        EXPECT_EQ(decode_msg2_payload(bytes).has_value(), c.good) << c.offset << " " << int{c.bytes.back()};
    }
}

TEST(Msg2Payload, refusal_is_all_zeros) {
    for (unsigned status = 1; status < 256; ++status) {
        Msg2Payload refusal;
        refusal.status = static_cast<SessionStatus>(status);
        Payload2 bytes;
        encode_msg2_payload(refusal, bytes);
        const auto payload = decode_msg2_payload(bytes);
        ASSERT_TRUE(payload);
        EXPECT_EQ(static_cast<unsigned>(payload->status), status);
    }
    for (size_t i = 1; i < kMsg2PayloadSize; ++i) {
        Payload2 bytes{};
        bytes[0] = 2;
        bytes[i] = 1;
        EXPECT_FALSE(decode_msg2_payload(bytes)) << i;
    }
}

TEST(ChooseSuite, every_combination) {
    // Every ordered offer of up to three of four ids (one of them unknown), every allowed set, with and without AES.
    const uint8_t ids[] = {1, 2, 3, 77};
    size_t checked = 0;
    for (unsigned offer = 0; offer < 125; ++offer) {
        SuiteList offered;
        for (const unsigned digit : {offer % 5, offer / 5 % 5, offer / 25})
            if (digit < 4) offered.push_back(ids[digit]);
        for (unsigned mask = 0; mask < 8; ++mask) {
            std::vector<Suite> allowed;
            for (unsigned i = 0; i < 3; ++i)
                if ((mask >> i & 1) != 0) allowed.push_back(kAllSuites[2 - i]);  // the node's order says nothing
            for (const bool aes : {false, true}) {
                std::optional<Suite> expected;
                for (const uint8_t id : offered.ids()) {
                    const bool usable = id == 3   ? (mask & 1) != 0
                                        : id == 2 ? aes && (mask & 2) != 0
                                        : id == 1 ? aes && (mask & 4) != 0
                                                  : false;
                    if (usable && !expected) expected = static_cast<Suite>(id);
                }
                EXPECT_EQ(choose_suite(offered, allowed, aes), expected);
                ++checked;
            }
        }
    }
    EXPECT_EQ(checked, 125u * 8 * 2);
}

TEST(ChooseSuite, aes_needs_both_sides) {
    EXPECT_TRUE(both_have_aes(1, 1));
    EXPECT_TRUE(both_have_aes(0xffffffff, 3));
    EXPECT_FALSE(both_have_aes(1, 0));
    EXPECT_FALSE(both_have_aes(0, 1));
    EXPECT_FALSE(both_have_aes(2, 2));
}

}  // namespace
}  // namespace qanat::handshake
