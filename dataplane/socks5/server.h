// Socks5Server: the server side of RFC 1928 (CONNECT only) and RFC 1929 as a pure machine: bytes in, output and one of
// three answers out. One object per accepted application connection, until its request is complete.
//
//     greeting ─> [login] ─> request ─> (the owner opens the stream) ─> encode_reply()
//
// The machine never answers a request that it accepts: success is said by the owner, with encode_reply(), when the exit
// has really connected. Refusals it answers itself. Its only memory is the state, so a client may send everything at
// once, with application data behind it, or one byte at a time.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

#include "common/base/bytes.h"
#include "common/ring/end_reason.h"
#include "common/wire/address.h"
#include "common/wire/stream_messages.h"
#include "dataplane/socks5/users.h"

namespace qanat::dataplane {

// The REP field, RFC 1928 section 6.
enum class Socks5Reply : uint8_t {
    succeeded = 0,
    general_failure = 1,
    denied = 2,
    network_unreachable = 3,
    host_unreachable = 4,
    refused = 5,
    ttl_expired = 6,  // also says "timed out": RFC 1928 has no better code
    command_unsupported = 7,
    address_unsupported = 8,
};

// The table of docs/PROTOCOL.md, section 4.2. `parked`, which has no meaning for an application, is a general failure.
[[nodiscard]] Socks5Reply reply_for(wire::StreamStatus status);

inline constexpr size_t kSocks5ReplySizeMax = 22;
// The longest message of a handshake, a login: what a receive buffer must be able to hold for feed() to get on.
inline constexpr size_t kSocks5MessageSizeMax = 1 + 1 + 255 + 1 + 255;

// Writes a reply and returns its size, 10 or 22 bytes: BND.ADDR is always an IP address (many clients cannot read a
// name there). `out` has room for kSocks5ReplySizeMax bytes.
[[nodiscard]] size_t encode_reply(MutableBytes out, Socks5Reply reply, const wire::Endpoint& bound);

class Socks5Server {
public:
    struct Step {
        enum class Kind : uint8_t {
            need_more,  // send the output, then come back with more input
            request,    // target() is what the application wants; the machine is done
            refuse,     // send the output (there may be none), then close; the machine is done
        };
        Kind kind = Kind::need_more;
        size_t consumed = 0;                             // bytes of the input that belong to the handshake
        ring::EndReason reason = ring::EndReason::none;  // of refuse: socks_malformed or socks_refused
    };

    // `users` outlives the object, or is null: nobody has to log in.
    explicit Socks5Server(const Socks5Users* users) : users_(users) {}

    // `input` is everything received and not yet consumed, cut anywhere. Complete messages are consumed, as many as
    // there are; what is left of an incomplete one must come again with more behind it. After `request` the rest of
    // the input is early application data. After `refuse` all input is consumed. Not to be called after `request`.
    // The input may hold a password; the caller owns (and overwrites) it.
    [[nodiscard]] Step feed(Bytes input);

    // What is to be sent now: method choice, login answer, failure reply. Empty if nothing, or if taken already. Valid
    // until the next feed().
    [[nodiscard]] Bytes take_output();

    // Only after `request`. Names are as the application wrote them; the text of an IP address has become that address.
    [[nodiscard]] const wire::Target& target() const;

private:
    enum class State : uint8_t { greeting, login, request, accepted, refused };
    enum class Progress : uint8_t { incomplete, next_message, accepted, refused };

    Progress read_greeting(ByteReader& in);
    Progress read_login(ByteReader& in);
    Progress read_request(ByteReader& in);
    Progress refuse(ring::EndReason reason);
    Progress refuse_request(Socks5Reply reply, ring::EndReason reason);
    void put(Bytes bytes);

    const Socks5Users* users_;
    State state_ = State::greeting;
    ring::EndReason reason_ = ring::EndReason::none;
    uint8_t output_size_ = 0;
    std::array<uint8_t, 32> output_{};  // at most: method choice 2, login answer 2, reply 10
    wire::Target target_;
};
static_assert(sizeof(Socks5Server) <= 600);

}  // namespace qanat::dataplane
