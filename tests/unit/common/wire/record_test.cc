#include "common/wire/record.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "tests/vectors/vector_file.h"

namespace qanat::wire {
namespace {

using crypto::Aead;
using crypto::Suite;
using test::from_hex;

// One direction, seen from both ends.
struct Direction {
    Aead aead;
    DirectionKey sender;
    DirectionKey receiver;

    explicit Direction(Suite suite = Suite::chacha20_poly1305) {
        sender.suite = suite;
        sender.key.fill(0x11);
        sender.iv.fill(0x22);
        receiver = sender;
        aead.expand(suite, sender.key_bytes());
    }

    std::vector<uint8_t> seal(Bytes content, ContentType type, size_t padding = 0) {
        std::vector<uint8_t> record(kRecordOverhead + content.size() + padding);
        EXPECT_EQ(seal_record_copy(aead, sender, record, content, type, padding), record.size());
        return record;
    }

    // A record whose inner bytes (content ‖ type ‖ zeros) are given, which seal_record would never make.
    std::vector<uint8_t> seal_inner(const std::vector<uint8_t>& inner) {
        const size_t body_size = inner.size() + kTagSize;
        std::vector<uint8_t> record(kRecordHeaderSize + body_size);
        ByteWriter writer(record);
        writer.u24(0x170303);
        writer.u16(static_cast<uint16_t>(body_size));
        writer.bytes(inner);
        auto nonce = sender.iv;
        nonce[11] ^= static_cast<uint8_t>(sender.sequence++);
        uint8_t* const data = record.data() + kRecordHeaderSize;
        aead.seal(nonce, Bytes(record).first(kRecordHeaderSize), data, inner.size(), data + inner.size());
        return record;
    }

    Result<OpenedRecord, RecordError> open(MutableBytes record) { return open_record(aead, receiver, record); }
};

std::vector<uint8_t> pattern(size_t size) {
    std::vector<uint8_t> bytes(size);
    for (size_t i = 0; i < size; ++i) bytes[i] = static_cast<uint8_t>(i * 7 + i / 251);
    return bytes;
}

std::vector<uint8_t> to_vector(Bytes bytes) {
    return {bytes.begin(), bytes.end()};
}

// RFC 8448, section 3: records of the simple 1-RTT handshake under the application traffic keys. Ours are TLS 1.3
// records, so the same function must make the same bytes.
TEST(Record, Rfc8448) {
    const struct {
        const char* key;
        const char* iv;
        uint64_t sequence;
        ContentType type;
        std::vector<uint8_t> content;
        const char* record;
    } cases[] = {
        {"17422dda596ed5d9acd890e3c63f5051",
         "5b78923dee08579033e523d9",
         0,
         ContentType::data,
         {},
         "1703030043 "
         "a23f7054b62c94d0affafe8228ba55cbefacea42f914aa66bcab3f2b9819a8a5b46b395bd54a9a20441e2b62974e1f5a6292a297"
         "7014bd1e3deae63aeebb21694915e4"},
        {"17422dda596ed5d9acd890e3c63f5051",
         "5b78923dee08579033e523d9",
         1,
         ContentType::alert,
         {1, 0},
         "1703030013 c9872760655666b74d7ff1153efd6db6d0b0e3"},
        {"9f02283b6c9c07efc26bb9f2ac92e356",
         "cf782b88dd83549aadf1e984",
         1,
         ContentType::data,
         {},
         "1703030043 "
         "2e937e11ef4ac740e538ad36005fc4a46932fc3225d05f82aa1b36e30efaf97d90e6dffc602dcb501a59a8fcc49c4bf2e5f0a21c"
         "0047c2abf332540dd032e167c2955d"},
        {"9f02283b6c9c07efc26bb9f2ac92e356",
         "cf782b88dd83549aadf1e984",
         2,
         ContentType::alert,
         {1, 0},
         "1703030013 b58fd67166ebf599d24720cfbe7efa7a8864a9"},
    };
    if (!Aead::supports(Suite::aes_128_gcm)) GTEST_SKIP() << "no AES on this machine";
    for (const auto& c : cases) {
        std::vector<uint8_t> content = c.content;
        for (uint8_t i = 0; c.content.empty() && i < 50; ++i) content.push_back(i);
        Direction direction(Suite::aes_128_gcm);
        std::ranges::copy(from_hex(c.key), direction.sender.key.begin());
        std::ranges::copy(from_hex(c.iv), direction.sender.iv.begin());
        direction.sender.sequence = c.sequence;
        direction.receiver = direction.sender;
        direction.aead.expand(Suite::aes_128_gcm, direction.sender.key_bytes());
        auto record = direction.seal(content, c.type);
        EXPECT_EQ(record, from_hex(c.record));
        const auto opened = direction.open(record);
        ASSERT_TRUE(opened);
        EXPECT_EQ(opened->type, c.type);
        EXPECT_EQ(to_vector(opened->content), content);
        EXPECT_EQ(direction.receiver.sequence, c.sequence + 1);
    }
}

TEST(Record, GoesThroughAtEverySizeThatMatters) {
    for (const Suite suite : {Suite::aes_128_gcm, Suite::aes_256_gcm, Suite::chacha20_poly1305}) {
        if (!Aead::supports(suite)) continue;
        Direction direction(suite);
        for (const size_t size : {size_t{0}, size_t{1}, size_t{2}, size_t{16383}, size_t{16384}}) {
            for (const size_t padding : {size_t{0}, size_t{1}, size_t{100}, kContentSizeMax - size}) {
                if (size + padding > kContentSizeMax) continue;
                const auto content = pattern(size);
                auto record = direction.seal(content, ContentType::data, padding);
                ASSERT_EQ(record_size(record), record.size());
                ASSERT_LE(record.size(), kRecordSizeMax);
                const auto opened = direction.open(record);
                ASSERT_TRUE(opened) << record_error_name(opened.error());
                EXPECT_EQ(opened->type, ContentType::data);
                EXPECT_EQ(to_vector(opened->content), content);
                EXPECT_EQ(direction.sender.sequence, direction.receiver.sequence);
                EXPECT_EQ(direction.sender.bytes, direction.receiver.bytes);
            }
        }
    }
}

TEST(Record, ContentMayEndInZeros) {
    Direction direction;
    const std::vector<uint8_t> content(10, 0);
    auto record = direction.seal(content, ContentType::control, 5);
    const auto opened = direction.open(record);
    ASSERT_TRUE(opened);
    EXPECT_EQ(opened->type, ContentType::control);
    EXPECT_EQ(to_vector(opened->content), content);
}

TEST(Record, SealInPlaceAndCopyAgree) {
    Direction a, b;
    const auto content = pattern(100);
    std::vector<uint8_t> in_place(kRecordOverhead + 100 + 7);
    std::ranges::copy(content, in_place.begin() + kRecordHeaderSize);
    ASSERT_EQ(seal_record(a.aead, a.sender, in_place.data(), 100, ContentType::data, 7), in_place.size());
    EXPECT_EQ(in_place, b.seal(content, ContentType::data, 7));
}

TEST(Record, SizeChecksTheHeader) {
    const auto header = [](size_t length) {
        return std::vector<uint8_t>{0x17, 3, 3, static_cast<uint8_t>(length >> 8), static_cast<uint8_t>(length)};
    };
    for (const size_t length : {size_t{0}, size_t{16}, size_t{16402}, size_t{65535}}) {
        EXPECT_EQ(record_size(header(length)), fail_with(RecordError::bad_length)) << length;
    }
    for (const size_t length : {size_t{17}, size_t{18}, size_t{16400}, size_t{16401}}) {
        EXPECT_EQ(record_size(header(length)), length + 5) << length;
    }
    for (size_t bit = 0; bit < 24; ++bit) {
        auto bytes = header(100);
        bytes[bit / 8] ^= static_cast<uint8_t>(1 << bit % 8);
        EXPECT_EQ(record_size(bytes), fail_with(RecordError::bad_header)) << bit;
    }
}

TEST(Record, EveryChangedBitIsNoticed) {
    for (const Suite suite : {Suite::aes_128_gcm, Suite::aes_256_gcm, Suite::chacha20_poly1305}) {
        if (!Aead::supports(suite)) continue;
        Direction direction(suite);
        const auto record = direction.seal(pattern(40), ContentType::data, 3);
        for (size_t bit = 0; bit < 8 * record.size(); ++bit) {
            auto changed = record;
            changed[bit / 8] ^= static_cast<uint8_t>(1 << bit % 8);
            ASSERT_FALSE(direction.open(changed)) << bit;
            ASSERT_EQ(direction.receiver.sequence, 0u);
            ASSERT_EQ(direction.receiver.bytes, 0u);
        }
        auto unchanged = record;
        EXPECT_TRUE(direction.open(unchanged));
    }
}

TEST(Record, EveryOtherSizeIsNoticed) {
    Direction direction;
    const auto record = direction.seal(pattern(30), ContentType::data);
    for (size_t size = 0; size < record.size(); ++size) {
        auto cut = record;
        cut.resize(size);
        EXPECT_EQ(direction.open(cut).error(), RecordError::bad_length) << size;
        if (size < kRecordHeaderSize + kRecordBodyMin) continue;
        // With a header that fits the cut, the tag does not.
        cut[4] = static_cast<uint8_t>(size - kRecordHeaderSize);
        EXPECT_EQ(direction.open(cut).error(), RecordError::bad_tag) << size;
    }
    auto longer = record;
    longer.push_back(0);
    EXPECT_EQ(direction.open(longer).error(), RecordError::bad_length);
}

TEST(Record, OrderIsAuthenticated) {
    Direction direction;
    auto first = direction.seal(pattern(10), ContentType::data);
    auto second = direction.seal(pattern(10), ContentType::data);
    EXPECT_NE(first, second);
    auto too_early = second;
    EXPECT_EQ(direction.open(too_early).error(), RecordError::bad_tag);
    auto again = first;
    EXPECT_TRUE(direction.open(first));
    EXPECT_EQ(direction.open(again).error(), RecordError::bad_tag);
    EXPECT_TRUE(direction.open(second));
}

TEST(Record, AllEightBytesOfTheSequenceCount) {
    for (unsigned byte = 0; byte < 8; ++byte) {
        Direction direction;
        direction.sender.sequence = uint64_t{1} << (8 * byte);
        auto record = direction.seal(pattern(4), ContentType::data);
        auto other = record;
        EXPECT_EQ(direction.open(other).error(), RecordError::bad_tag);
        direction.receiver.sequence = direction.sender.sequence - 1;
        EXPECT_TRUE(direction.open(record));
    }
}

TEST(Record, InnerTypes) {
    for (unsigned type = 1; type < 256; ++type) {
        Direction direction;
        auto record = direction.seal_inner({9, static_cast<uint8_t>(type), 0});
        const auto opened = direction.open(record);
        ASSERT_EQ(opened.has_value(), type >= 21 && type <= 23) << type;
        if (opened) {
            EXPECT_EQ(static_cast<unsigned>(opened->type), type);
        } else {
            EXPECT_EQ(opened.error(), RecordError::bad_type);
            EXPECT_EQ(direction.receiver.sequence, 0u);
        }
    }
}

TEST(Record, ZerosOnly) {
    for (const size_t size : {size_t{1}, size_t{2}, kContentSizeMax, kContentSizeMax + 1}) {
        Direction direction;
        auto record = direction.seal_inner(std::vector<uint8_t>(size, 0));
        EXPECT_EQ(direction.open(record).error(), RecordError::no_type) << size;
    }
}

TEST(Record, OnlyDataMayBeEmpty) {
    const struct {
        uint8_t type;
        bool ok;
    } cases[] = {{21, false}, {22, false}, {23, true}};
    for (const auto& c : cases) {
        for (const size_t zeros : {size_t{0}, size_t{1}, kContentSizeMax}) {
            Direction direction;
            std::vector<uint8_t> inner(1 + zeros);
            inner[0] = c.type;
            auto record = direction.seal_inner(inner);
            const auto opened = direction.open(record);
            ASSERT_EQ(opened.has_value(), c.ok);
            if (opened) {
                EXPECT_TRUE(opened->content.empty());
            } else {
                EXPECT_EQ(opened.error(), RecordError::empty_content);
            }
        }
    }
}

// 16384 bytes of content, a type and one more: the length says 16402.
TEST(Record, InnerBytesBeyondTheLimit) {
    Direction direction;
    std::vector<uint8_t> inner(kContentSizeMax + 2, 1);
    inner.back() = 23;
    auto record = direction.seal_inner(inner);
    EXPECT_EQ(direction.open(record).error(), RecordError::bad_length);
}

TEST(Record, RefusesImpossibleCalls) {
    Direction direction;
    std::vector<uint8_t> room(kRecordSizeMax + 100);
    const auto seal = [&](size_t size, ContentType type, size_t padding) {
        (void)seal_record(direction.aead, direction.sender, room.data(), size, type, padding);
    };
    EXPECT_DEATH(seal(kContentSizeMax + 1, ContentType::data, 0), "broken invariant");
    EXPECT_DEATH(seal(kContentSizeMax, ContentType::data, 1), "broken invariant");
    EXPECT_DEATH(seal(1, ContentType::data, SIZE_MAX), "broken invariant");
    EXPECT_DEATH(seal(0, ContentType::alert, 0), "broken invariant");
    EXPECT_DEATH(seal(0, ContentType::control, 9), "broken invariant");
    std::vector<uint8_t> small(kRecordOverhead + 9);
    EXPECT_DEATH((void)seal_record_copy(direction.aead, direction.sender, small, pattern(10), ContentType::data),
                 "broken invariant");
}

TEST(Record, AnExhaustedKeySealsOnlyItsAlert) {
    Direction direction;
    const uint64_t last = kDirectionBytesMax - 2 * kRecordSizeMax;
    direction.sender.bytes = direction.receiver.bytes = last;
    EXPECT_FALSE(direction.sender.exhausted());
    auto record = direction.seal(pattern(kContentSizeMax), ContentType::data);
    EXPECT_TRUE(direction.open(record));

    EXPECT_TRUE(direction.sender.exhausted());
    const DirectionKey before = direction.sender;
    std::vector<uint8_t> out(kRecordSizeMax);
    EXPECT_EQ(seal_record_copy(direction.aead, direction.sender, out, pattern(1), ContentType::data), 0u);
    EXPECT_EQ(seal_record_copy(direction.aead, direction.sender, out, pattern(1), ContentType::control), 0u);
    EXPECT_EQ(direction.sender.sequence, before.sequence);
    EXPECT_EQ(direction.sender.bytes, before.bytes);

    auto alert = direction.seal(kAbort, ContentType::alert);
    const auto opened = direction.open(alert);
    ASSERT_TRUE(opened);
    EXPECT_EQ(opened->type, ContentType::alert);
    EXPECT_TRUE(std::ranges::equal(opened->content, kAbort));
}

TEST(Record, TheReceiverCountsToo) {
    Direction direction;
    auto record = direction.seal(pattern(10), ContentType::data);
    auto again = record;
    direction.receiver.bytes = kDirectionBytesMax - record.size() + 1;
    EXPECT_EQ(direction.open(again).error(), RecordError::key_exhausted);
    direction.receiver.bytes = kDirectionBytesMax - record.size();
    EXPECT_TRUE(direction.open(record));
    EXPECT_EQ(direction.receiver.bytes, kDirectionBytesMax);
}

TEST(DirectionKey, Wipes) {
    Direction direction;
    direction.sender.wipe();
    EXPECT_TRUE(std::ranges::all_of(direction.sender.key, [](uint8_t byte) { return byte == 0; }));
    EXPECT_TRUE(std::ranges::all_of(direction.sender.iv, [](uint8_t byte) { return byte == 0; }));
}

}  // namespace
}  // namespace qanat::wire
