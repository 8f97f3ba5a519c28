// REQUEST and RESPONSE: the contents of record 0 of each direction of a stream (docs/PROTOCOL.md, sections 4.1
// and 4.2), and TAKEN, with which a relay uses an offered connection (section 6.2).
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string_view>

#include "common/base/bytes.h"
#include "common/base/result.h"
#include "common/wire/address.h"

namespace qanat::wire {

inline constexpr size_t kReasonSizeMax = 120;
inline constexpr size_t kRequestSizeMax = 4 + 2 + kAddressSizeMax;
inline constexpr size_t kResponseSizeMax = 4 + 1 + (1 + 16 + 2) + 4 + kReasonSizeMax + 4;
inline constexpr size_t kRequestFlightMultiple = 512;   // preamble + REQUEST record, and a REQUEST after PARK
inline constexpr size_t kResponseFlightMultiple = 256;  // preamble + RESPONSE record, and a RESPONSE after PARKED

enum class RequestKind : uint8_t { connect = 1, forward = 2, udp = 3, park = 4, offer = 5, observe = 6 };

enum class StreamStatus : uint8_t {
    ok = 0,
    general_failure = 1,
    denied = 2,
    network_unreachable = 3,
    host_unreachable = 4,
    connection_refused = 5,
    timed_out = 6,
    kind_not_supported = 7,
    address_type_not_supported = 8,
    name_not_found = 9,
    name_unresolved = 10,
    at_capacity = 11,
    draining = 12,
    next_unknown = 13,
    next_unreachable = 14,
    relay_limit = 15,
    parked = 32,
};

// For logs and metrics: "ok", "connection_refused", …
[[nodiscard]] std::string_view stream_status_name(StreamStatus status);

// The reply code of RFC 1928 that says the same (the table of section 4.2). Not for parked, which no SOCKS5 client
// sees.
[[nodiscard]] uint8_t socks5_reply(StreamStatus status);

// True if another node may be tried: the refusal is about this node, not about the target.
[[nodiscard]] constexpr bool another_node_may_help(StreamStatus status) {
    return status >= StreamStatus::at_capacity && status <= StreamStatus::relay_limit;
}

// A short text for people, held inline. UTF-8 by agreement, not checked: escape it before it reaches a terminal.
class Reason {
public:
    Reason() = default;
    // Cuts what is longer than kReasonSizeMax, at the beginning of a UTF-8 character.
    explicit Reason(std::string_view text);

    [[nodiscard]] std::string_view text() const { return {text_.data(), size_}; }
    [[nodiscard]] bool empty() const { return size_ == 0; }

    friend bool operator==(const Reason&, const Reason&) = default;

private:
    uint8_t size_ = 0;
    std::array<char, kReasonSizeMax> text_{};
};

// Whom a relay is to carry the stream to.
struct NextNode {
    std::array<uint8_t, 32> id{};  // static key
    std::optional<Endpoint> hint;  // where it is; none: it holds a reservation with the relay
};

struct Request {
    RequestKind kind = RequestKind::connect;
    bool keep = false;  // of connect: the connection may serve another stream after this one (section 4.4)
    Target target{};    // of connect
    NextNode next{};    // of forward
};

struct Response {
    StreamStatus status = StreamStatus::ok;
    // With status ok the local end of the node's connection, or, of observe, the other end of this one; else 0.0.0.0:0.
    Endpoint bound;
    Reason reason;
    bool kept = false;  // the node will keep the connection, as it was asked to
};

// An offered connection is in use from here on: what follows is the other side's.
struct Taken {
    std::array<uint8_t, 16> source{};  // tells the relay's members apart, and nothing else
    uint16_t waiting = 0;              // further streams that wait for an offered connection
};
inline constexpr size_t kTakenSize = 4 + 16 + 2;
inline constexpr size_t kTakenRecordSize = 256;

enum class MessageError : uint8_t {
    wrong_message,         // not the first byte that was expected, or no bytes at all
    bad_length,            // the length field is not the size of what follows, or a field does not fit in
    unknown_kind,          // answer: kind_not_supported
    unknown_flags,         // answer: general_failure
    unknown_address_type,  // answer: address_type_not_supported
    bad_address,           // answer: general_failure
    bad_tlv,               // does not fit in, or is unknown and must be understood (top bit set)
};

// Both write one message to `out` and return its size. `out` has room for kRequestSizeMax or kResponseSizeMax bytes.
[[nodiscard]] size_t encode_request(MutableBytes out, const Request& request);
[[nodiscard]] size_t encode_response(MutableBytes out, const Response& response);

[[nodiscard]] size_t encode_taken(MutableBytes out, const Taken& taken);

// `content` is the whole content of the record. A reserved kind (udp) decodes without its body being looked at. A
// status that this version does not know decodes as general_failure.
[[nodiscard]] Result<Request, MessageError> decode_request(Bytes content);
[[nodiscard]] Result<Response, MessageError> decode_response(Bytes content);
[[nodiscard]] Result<Taken, MessageError> decode_taken(Bytes content);

// The padding that makes preamble_size + the record a multiple of `multiple`; less if the record would become larger
// than kRecordSizeMax (which only contents near kContentSizeMax can cause).
[[nodiscard]] size_t padding_for(size_t preamble_size, size_t content_size, size_t multiple);

}  // namespace qanat::wire
