// Records under a known key. Byte 0: suite, and whether the rest is a record from outside or a plaintext that is sealed
// here first (so that what lies behind the tag is reached too), perhaps with a bit changed.
#include <algorithm>
#include <vector>

#include "common/wire/record.h"
#include "tests/fuzz/fuzz_input.h"

namespace {

using namespace qanat;

wire::DirectionKey known_key(crypto::Suite suite) {
    wire::DirectionKey key;
    key.suite = suite;
    for (size_t i = 0; i < key.key.size(); ++i) key.key[i] = static_cast<uint8_t>(i);
    return key;
}

// A record around any inner plaintext (content ‖ type ‖ zeros), valid or not: what a peer with the key could send.
std::vector<uint8_t> seal_plaintext(const crypto::Aead& aead, const wire::DirectionKey& key, Bytes plaintext) {
    const size_t body = plaintext.size() + wire::kTagSize;
    std::vector<uint8_t> record(wire::kRecordHeaderSize + body);
    ByteWriter writer(record);
    writer.u8(0x17);
    writer.u16(0x0303);
    writer.u16(static_cast<uint16_t>(body));
    writer.bytes(plaintext);
    uint8_t* const text = record.data() + wire::kRecordHeaderSize;
    aead.seal(key.iv, Bytes(record).first(wire::kRecordHeaderSize), text, plaintext.size(), text + plaintext.size());
    return record;
}

void open(const crypto::Aead& aead, std::vector<uint8_t>& record, wire::DirectionKey key, bool may_be_authentic) {
    if (record.size() >= wire::kRecordHeaderSize) {
        if (const auto size = wire::record_size(record))
            FUZZ_CHECK(*size > wire::kRecordHeaderSize && *size <= wire::kRecordSizeMax);
    }
    const wire::DirectionKey before = key;
    const auto opened = wire::open_record(aead, key, record);
    if (!opened) {
        FUZZ_CHECK(key.sequence == before.sequence && key.bytes == before.bytes);
        FUZZ_CHECK(!wire::record_error_name(opened.error()).empty());
        return;
    }
    FUZZ_CHECK(may_be_authentic);
    FUZZ_CHECK(key.sequence == before.sequence + 1 && key.bytes == before.bytes + record.size());
    FUZZ_CHECK(opened->content.size() <= wire::kContentSizeMax);
    FUZZ_CHECK(opened->content.empty() ||
               (opened->content.data() >= record.data() &&
                opened->content.data() + opened->content.size() <= record.data() + record.size()));
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
    Bytes input(data, size);
    const uint8_t choice = fuzz::take_byte(input);
    const auto suite = static_cast<crypto::Suite>(1 + choice % 3);
    if (!crypto::Aead::supports(suite)) return 0;
    const wire::DirectionKey key = known_key(suite);
    crypto::Aead aead;
    aead.expand(suite, key.key_bytes());

    const unsigned mode = choice / 3 % 3;
    if (mode == 0) {
        std::vector<uint8_t> record(input.begin(), input.end());
        open(aead, record, key, true);
        return 0;
    }
    if (input.size() > wire::kContentSizeMax + 1) input = input.first(wire::kContentSizeMax + 1);
    std::vector<uint8_t> record = seal_plaintext(aead, key, input);
    if (mode == 2) {
        const size_t bit = (size_t{choice} * 7919 + input.size()) % (record.size() * 8);
        record[bit / 8] = static_cast<uint8_t>(record[bit / 8] ^ 1U << bit % 8);
    }
    open(aead, record, key, mode == 1);
    return 0;
}
