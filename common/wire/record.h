// Records: docs/PROTOCOL.md, section 5; the record layer of TLS 1.3 (RFC 8446, section 5), byte for byte.
//
//   17 03 03 | u16 length | AEAD(content ‖ type ‖ zeros) | tag
//
// Everything happens in place in the caller's buffer. Not here: reading and writing sockets, the limit on records
// without content in a row (kEmptyRecordsMax, counted by the receiver's owner), and which type may come when.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

#include "common/base/bytes.h"
#include "common/base/result.h"
#include "common/crypto/aead.h"
#include "common/crypto/suite.h"

namespace qanat::wire {

inline constexpr size_t kRecordHeaderSize = 5;
inline constexpr size_t kTagSize = 16;
inline constexpr size_t kContentSizeMax = 16384;
inline constexpr size_t kRecordOverhead = kRecordHeaderSize + 1 + kTagSize;  // of a record without padding
inline constexpr size_t kRecordBodyMin = 1 + kTagSize;                       // the smallest length in a header
inline constexpr size_t kRecordBodyMax = kContentSizeMax + 1 + kTagSize;     // the largest
inline constexpr size_t kRecordSizeMax = kRecordHeaderSize + kRecordBodyMax;
inline constexpr uint64_t kDirectionBytesMax = uint64_t{1} << 43;
inline constexpr unsigned kEmptyRecordsMax = 64;
static_assert(kRecordOverhead == 22 && kRecordBodyMin == 17 && kRecordBodyMax == 16401 && kRecordSizeMax == 16406);

enum class ContentType : uint8_t { alert = 21, control = 22, data = 23 };

// Contents of type alert (section 4.3).
inline constexpr std::array<uint8_t, 2> kCloseNotify{0x01, 0x00};
inline constexpr std::array<uint8_t, 2> kCloseAndPark{0x01, 0x01};  // section 4.4
inline constexpr std::array<uint8_t, 2> kAbort{0x02, 0x5a};

// One direction of one stream or control connection: all that must be kept to seal or open its next record. The Aead
// expanded from `key` is kept elsewhere, or made again. A plain value; whoever holds the last copy wipes it.
struct DirectionKey {
    crypto::Suite suite = crypto::Suite::chacha20_poly1305;
    std::array<uint8_t, crypto::kKeySizeMax> key{};  // the first key_size(suite) bytes count
    std::array<uint8_t, crypto::kNonceSize> iv{};
    uint64_t sequence = 0;  // of the next record
    uint64_t bytes = 0;     // of all records so far, headers and tags included

    [[nodiscard]] Bytes key_bytes() const { return Bytes(key).first(crypto::key_size(suite)); }

    // Sender: true when no more data or control record may be sealed and the direction has to be aborted. One record is
    // held back below kDirectionBytesMax so that the alert can still be sealed.
    [[nodiscard]] bool exhausted() const { return bytes > kDirectionBytesMax - 2 * kRecordSizeMax; }

    void wipe();
};

// Seals one record in place. The content already lies at record + kRecordHeaderSize; `record` has room for
// kRecordOverhead + content_size + padding bytes, and `aead` was expanded from key.key_bytes(). Writes header, type,
// padding and tag, advances the key, and returns the size of the record. content_size + padding ≤ kContentSizeMax; an
// empty content only with type data. Returns 0, and does nothing, if key.exhausted() and the type is not alert.
[[nodiscard]] size_t seal_record(const crypto::Aead& aead, DirectionKey& key, uint8_t* record, size_t content_size,
                                 ContentType type, size_t padding = 0);

// The same for content that lies elsewhere. `out` must have room for the record.
[[nodiscard]] size_t seal_record_copy(const crypto::Aead& aead, DirectionKey& key, MutableBytes out, Bytes content,
                                      ContentType type, size_t padding = 0);

enum class RecordError : uint8_t {
    bad_header,     // not 17 03 03
    bad_length,     // outside 17 … 16401, or not the size of the record given
    bad_tag,        // not authentic: another key, another sequence number, or changed on the way
    no_type,        // authentic, but zeros only
    bad_type,       // authentic, but an inner type other than 21, 22, 23
    empty_content,  // an alert or control record without content
    key_exhausted,  // more than kDirectionBytesMax under one key
};
[[nodiscard]] std::string_view record_error_name(RecordError error);

// The total size of the record whose first bytes are `start` (at least kRecordHeaderSize of them).
[[nodiscard]] Result<size_t, RecordError> record_size(Bytes start);

struct OpenedRecord {
    ContentType type;
    MutableBytes content;  // a view into the record that was opened
};

// Opens one whole record in place and advances the key. After an error the key has not moved, the record's bytes are
// lost, and the direction must not be used any more.
[[nodiscard]] Result<OpenedRecord, RecordError> open_record(const crypto::Aead& aead, DirectionKey& key,
                                                            MutableBytes whole_record);

}  // namespace qanat::wire
