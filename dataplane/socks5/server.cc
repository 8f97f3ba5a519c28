#include "dataplane/socks5/server.h"

#include <algorithm>

#include "common/base/assert.h"

namespace qanat::dataplane {
namespace {

constexpr uint8_t kVersion = 5;
constexpr uint8_t kLoginVersion = 1;  // RFC 1929

enum : uint8_t { kMethodNone = 0, kMethodPassword = 2, kMethodUnacceptable = 0xff };
enum : uint8_t { kLoginAccepted = 0, kLoginFailed = 1 };
enum : uint8_t { kCommandConnect = 1 };

}  // namespace

Socks5Reply reply_for(wire::StreamStatus status) {
    if (status == wire::StreamStatus::parked) return Socks5Reply::general_failure;
    return static_cast<Socks5Reply>(wire::socks5_reply(status));
}

size_t encode_reply(MutableBytes out, Socks5Reply reply, const wire::Endpoint& bound) {
    ByteWriter writer(out);
    writer.u8(kVersion);
    writer.u8(static_cast<uint8_t>(reply));
    writer.u8(0);
    wire::encode_endpoint(writer, bound);
    QANAT_ASSERT(writer.ok());
    return writer.size();
}

Socks5Server::Step Socks5Server::feed(Bytes input) {
    QANAT_ASSERT(state_ != State::accepted);
    output_size_ = 0;
    if (state_ == State::refused) return {Step::Kind::refuse, input.size(), reason_};
    size_t consumed = 0;
    for (;;) {
        ByteReader in(input.subspan(consumed));
        Progress progress = Progress::incomplete;
        switch (state_) {
            case State::greeting:
                progress = read_greeting(in);
                break;
            case State::login:
                progress = read_login(in);
                break;
            case State::request:
                progress = read_request(in);
                break;
            case State::accepted:
            case State::refused:
                break;
        }
        switch (progress) {
            case Progress::incomplete:
                return {Step::Kind::need_more, consumed, ring::EndReason::none};
            case Progress::refused:
                return {Step::Kind::refuse, input.size(), reason_};
            case Progress::next_message:
                consumed += in.position();
                break;
            case Progress::accepted:
                consumed += in.position();
                return {Step::Kind::request, consumed, ring::EndReason::none};
        }
    }
}

// RFC 1928 section 3: VER | NMETHODS | METHODS
Socks5Server::Progress Socks5Server::read_greeting(ByteReader& in) {
    const uint8_t version = in.u8();
    if (!in.ok()) return Progress::incomplete;
    // Not SOCKS5: whatever speaks here (SOCKS4, HTTP, a scanner) could not make sense of an answer.
    if (version != kVersion) return refuse(ring::EndReason::socks_malformed);
    const Bytes methods = in.bytes(in.u8());
    if (!in.ok()) return Progress::incomplete;

    const auto offers = [&](uint8_t method) {
        return std::find(methods.begin(), methods.end(), method) != methods.end();
    };
    const bool login_required = users_ != nullptr && users_->required;
    if (!login_required && offers(kMethodNone)) {
        put(std::array<uint8_t, 2>{kVersion, kMethodNone});
        state_ = State::request;
        return Progress::next_message;
    }
    if (offers(kMethodPassword)) {
        put(std::array<uint8_t, 2>{kVersion, kMethodPassword});
        state_ = State::login;
        return Progress::next_message;
    }
    put(std::array<uint8_t, 2>{kVersion, kMethodUnacceptable});
    return refuse(ring::EndReason::socks_refused);
}

// RFC 1929 section 2: VER | ULEN | UNAME | PLEN | PASSWD. Lengths of 0 are against the letter of the RFC, but some
// clients send them when they have no password; they match what is configured, or nothing.
Socks5Server::Progress Socks5Server::read_login(ByteReader& in) {
    const uint8_t version = in.u8();
    if (!in.ok()) return Progress::incomplete;
    if (version != kLoginVersion) {
        put(std::array<uint8_t, 2>{kLoginVersion, kLoginFailed});
        return refuse(ring::EndReason::socks_malformed);
    }
    const Bytes user = in.bytes(in.u8());
    const Bytes password = in.bytes(in.u8());
    if (!in.ok()) return Progress::incomplete;
    if (users_ != nullptr && !users_->accept(user, password)) {
        put(std::array<uint8_t, 2>{kLoginVersion, kLoginFailed});
        return refuse(ring::EndReason::socks_refused);
    }
    put(std::array<uint8_t, 2>{kLoginVersion, kLoginAccepted});
    state_ = State::request;
    return Progress::next_message;
}

// RFC 1928 section 4: VER | CMD | RSV | ATYP | DST.ADDR | DST.PORT. RSV is not looked at: clients differ, and nothing
// hangs on it.
Socks5Server::Progress Socks5Server::read_request(ByteReader& in) {
    const uint8_t version = in.u8();
    if (!in.ok()) return Progress::incomplete;
    if (version != kVersion) return refuse_request(Socks5Reply::general_failure, ring::EndReason::socks_malformed);
    const uint8_t command = in.u8();
    in.u8();
    if (!in.ok()) return Progress::incomplete;
    // The whole request is read before its command is refused: closing with input unread would reset the connection,
    // and the reply might never be seen. Only an unknown address type, which has no known length, is answered at once.
    const Result<wire::Target, wire::AddressError> target = wire::Target::decode(in);
    if (!target && target.error() == wire::AddressError::incomplete) return Progress::incomplete;
    if (command != kCommandConnect)
        return refuse_request(Socks5Reply::command_unsupported, ring::EndReason::socks_refused);
    if (!target) {
        if (target.error() == wire::AddressError::unknown_type)
            return refuse_request(Socks5Reply::address_unsupported, ring::EndReason::socks_refused);
        return refuse_request(Socks5Reply::general_failure, ring::EndReason::socks_malformed);
    }
    target_ = *target;
    state_ = State::accepted;
    return Progress::accepted;
}

Socks5Server::Progress Socks5Server::refuse(ring::EndReason reason) {
    state_ = State::refused;
    reason_ = reason;
    return Progress::refused;
}

Socks5Server::Progress Socks5Server::refuse_request(Socks5Reply reply, ring::EndReason reason) {
    std::array<uint8_t, kSocks5ReplySizeMax> bytes;
    put(Bytes(bytes).first(encode_reply(bytes, reply, wire::Endpoint{})));
    return refuse(reason);
}

void Socks5Server::put(Bytes bytes) {
    QANAT_ASSERT(bytes.size() <= output_.size() - output_size_);
    std::copy(bytes.begin(), bytes.end(), output_.begin() + output_size_);
    output_size_ = static_cast<uint8_t>(output_size_ + bytes.size());
}

Bytes Socks5Server::take_output() {
    const Bytes output = Bytes(output_).first(output_size_);
    output_size_ = 0;
    return output;
}

const wire::Target& Socks5Server::target() const {
    QANAT_ASSERT(state_ == State::accepted);
    return target_;
}

}  // namespace qanat::dataplane
