#include "common/wire/record.h"

#include <sodium.h>

#include <cstring>

#include "common/base/assert.h"

namespace qanat::wire {

namespace {

using NonceBytes = std::array<uint8_t, crypto::kNonceSize>;

// iv XOR (0⁴ ‖ sequence), RFC 8446, section 5.3.
NonceBytes record_nonce(const DirectionKey& key) {
    NonceBytes nonce = key.iv;
    for (size_t i = 0; i < 8; ++i) nonce[11 - i] ^= static_cast<uint8_t>(key.sequence >> (8 * i));
    return nonce;
}

}  // namespace

void DirectionKey::wipe() {
    sodium_memzero(key.data(), key.size());
    sodium_memzero(iv.data(), iv.size());
    sequence = 0;
    bytes = 0;
}

size_t seal_record(const crypto::Aead& aead, DirectionKey& key, uint8_t* record, size_t content_size, ContentType type,
                   size_t padding) {
    QANAT_ASSERT(content_size <= kContentSizeMax);
    QANAT_ASSERT(padding <= kContentSizeMax - content_size);
    QANAT_ASSERT(content_size > 0 || type == ContentType::data);
    if (key.exhausted() && type != ContentType::alert) return 0;

    const size_t inner_size = content_size + 1 + padding;
    const size_t body_size = inner_size + kTagSize;
    ByteWriter header(MutableBytes(record, kRecordHeaderSize));
    header.u8(0x17);
    header.u16(0x0303);
    header.u16(static_cast<uint16_t>(body_size));

    uint8_t* const inner = record + kRecordHeaderSize;
    inner[content_size] = static_cast<uint8_t>(type);
    if (padding > 0) std::memset(inner + content_size + 1, 0, padding);
    aead.seal(record_nonce(key), Bytes(record, kRecordHeaderSize), inner, inner_size, inner + inner_size);

    const size_t total = kRecordHeaderSize + body_size;
    ++key.sequence;
    key.bytes += total;
    return total;
}

size_t seal_record_copy(const crypto::Aead& aead, DirectionKey& key, MutableBytes out, Bytes content, ContentType type,
                        size_t padding) {
    QANAT_ASSERT(content.size() <= kContentSizeMax);
    QANAT_ASSERT(padding <= kContentSizeMax - content.size());
    QANAT_ASSERT(out.size() >= kRecordOverhead + content.size() + padding);
    if (!content.empty()) std::memmove(out.data() + kRecordHeaderSize, content.data(), content.size());
    return seal_record(aead, key, out.data(), content.size(), type, padding);
}

std::string_view record_error_name(RecordError error) {
    switch (error) {
        case RecordError::bad_header:
            return "bad_header";
        case RecordError::bad_length:
            return "bad_length";
        case RecordError::bad_tag:
            return "bad_tag";
        case RecordError::no_type:
            return "no_type";
        case RecordError::bad_type:
            return "bad_type";
        case RecordError::empty_content:
            return "empty_content";
        case RecordError::key_exhausted:
            return "key_exhausted";
    }
    QANAT_ASSERT(false);
}

Result<size_t, RecordError> record_size(Bytes start) {
    QANAT_ASSERT(start.size() >= kRecordHeaderSize);
    ByteReader reader(start);
    const uint8_t type = reader.u8();
    const uint16_t version = reader.u16();
    const size_t body_size = reader.u16();
    if (type != 0x17 || version != 0x0303) return fail_with(RecordError::bad_header);
    if (body_size < kRecordBodyMin || body_size > kRecordBodyMax) return fail_with(RecordError::bad_length);
    return kRecordHeaderSize + body_size;
}

Result<OpenedRecord, RecordError> open_record(const crypto::Aead& aead, DirectionKey& key, MutableBytes whole_record) {
    if (whole_record.size() < kRecordHeaderSize) return fail_with(RecordError::bad_length);
    const auto size = record_size(whole_record);
    if (!size) return fail_with(size.error());
    if (*size != whole_record.size()) return fail_with(RecordError::bad_length);
    if (*size > kDirectionBytesMax || key.bytes > kDirectionBytesMax - *size) {
        return fail_with(RecordError::key_exhausted);
    }

    const MutableBytes inner = whole_record.subspan(kRecordHeaderSize, *size - kRecordHeaderSize - kTagSize);
    if (!aead.open(record_nonce(key), whole_record.first(kRecordHeaderSize), inner.data(), inner.size(),
                   whole_record.last(kTagSize).data())) {
        return fail_with(RecordError::bad_tag);
    }

    // The last byte that is not zero is the type; everything behind it was padding.
    size_t content_size = inner.size();
    do {
        if (content_size == 0) return fail_with(RecordError::no_type);
        --content_size;
    } while (inner[content_size] == 0);
    const uint8_t type = inner[content_size];
    if (type < uint8_t{21} || type > uint8_t{23}) return fail_with(RecordError::bad_type);
    const auto content_type = static_cast<ContentType>(type);
    if (content_size == 0 && content_type != ContentType::data) return fail_with(RecordError::empty_content);

    ++key.sequence;
    key.bytes += *size;
    return OpenedRecord{content_type, inner.first(content_size)};
}

}  // namespace qanat::wire
