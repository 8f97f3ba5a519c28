#include "common/handshake/session_client.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "common/base/assert.h"
#include "common/handshake/session_noise.h"

namespace qanat::handshake {

using Reason = ClientFailure::Reason;

std::string_view ClientFailure::message() const {
    switch (reason) {
        case Reason::bad_node_key:
            return "the node id is not a usable key";
        case Reason::malformed:
        case Reason::bad_challenge:
        case Reason::second_challenge:
        case Reason::not_authentic:
            return kNoAnswerText;
        case Reason::refused:
            break;
    }
    switch (status) {
        case SessionStatus::no_common_suite:
            return "the node allows none of the ciphers offered";
        case SessionStatus::not_a_member:
            return "the node does not accept this client's identity";
        case SessionStatus::too_many_sessions:
            return "the node has too many sessions";
        case SessionStatus::draining:
            return "the node is draining";
        case SessionStatus::ok:
            break;
    }
    return "the node refused for a reason that this version does not know";
}

Result<ClientHandshake, ClientFailure> ClientHandshake::start(ClientParameters parameters) {
    noise::HandshakeKeys keys;
    keys.s = std::move(parameters.identity);
    keys.e = make_key_pair(std::move(parameters.ephemeral));
    keys.rs = parameters.node_static;
    keys.psk = std::move(parameters.noise_key);
    ClientHandshake handshake(std::move(parameters), noise::HandshakeState(session_pattern(), noise::Role::initiator,
                                                                           session_prologue(), std::move(keys)));

    std::array<uint8_t, kMsg1PayloadSize> payload;
    encode_msg1_payload(handshake.offer_, payload);
    Msg1& msg1 = handshake.msg1_;
    std::copy(kMsg1Header.begin(), kMsg1Header.end(), msg1.begin());
    const MutableBytes body = MutableBytes(msg1).subspan(kMsg1Header.size(), kMsg1TagOffset - kMsg1Header.size());
    const auto written = handshake.noise_->write_message(payload, body);
    // The only thing that an initiator's first message can fail of is the other side's public key.
    if (!written) return fail_with(ClientFailure{Reason::bad_node_key});
    QANAT_ASSERT(*written == body.size());
    handshake.tag_msg1(kNoCookie);
    return handshake;
}

ClientHandshake::ClientHandshake(ClientParameters parameters, noise::HandshakeState noise)
    : node_static_(parameters.node_static),
      gate_key_(std::move(parameters.gate_key)),
      offer_(parameters.offer),
      noise_(std::move(noise)) {}

void ClientHandshake::tag_msg1(const Cookie& cookie) {
    const Tag tag = gate_tag(gate_key_, node_static_, cookie, Bytes(msg1_).first(kMsg1TagOffset));
    std::copy(tag.begin(), tag.end(), msg1_.begin() + kMsg1TagOffset);
    output_pending_ = true;
}

Bytes ClientHandshake::take_output() {
    if (!std::exchange(output_pending_, false)) return {};
    return msg1_;
}

ClientHandshake::Step ClientHandshake::feed(Bytes input) {
    if (progress_ == Progress::established || progress_ == Progress::failed) return {progress_, 0};
    size_t consumed = 0;
    while (consumed < input.size()) {
        input_[input_size_++] = input[consumed++];
        // The header is checked as far as it has come: after a wrong byte there is nothing to wait for.
        const bool is_challenge = input_[0] == kChallengeHeader[0];
        const Header& header = is_challenge ? kChallengeHeader : kMsg2Header;
        if (input_size_ <= header.size()) {
            if (input_[input_size_ - 1] != header[input_size_ - 1])
                return {progress_ = fail_because(Reason::malformed), consumed};
            continue;
        }
        const size_t whole = is_challenge ? kChallengeSize : kMsg2Size;
        const size_t more = std::min(whole - input_size_, input.size() - consumed);
        std::copy_n(input.begin() + static_cast<ptrdiff_t>(consumed), more,
                    input_.begin() + static_cast<ptrdiff_t>(input_size_));
        input_size_ += more;
        consumed += more;
        if (input_size_ < whole) break;
        input_size_ = 0;
        progress_ = is_challenge ? on_challenge() : on_msg2();
        return {progress_, consumed};
    }
    return {progress_ = Progress::need_more, consumed};
}

ClientHandshake::Progress ClientHandshake::on_challenge() {
    // One retry only, or whoever holds the network key could keep a client busy for ever.
    if (challenged_) return fail_because(Reason::second_challenge);
    ByteReader reader(Bytes(input_).first(kChallengeSize));
    reader.bytes(kChallengeHeader.size());
    Cookie cookie;
    reader.copy_to(cookie);
    const Tag expected = challenge_tag(gate_key_, Bytes(msg1_).subspan(kMsg1TagOffset), cookie);
    if (!crypto::equal_constant_time(expected, reader.bytes(expected.size())))
        return fail_because(Reason::bad_challenge);
    challenged_ = true;
    tag_msg1(cookie);
    return Progress::challenged;
}

ClientHandshake::Progress ClientHandshake::on_msg2() {
    Secret<kMsg2PayloadSize> plaintext;
    const auto size = noise_->read_message(Bytes(input_).subspan(kMsg2Header.size()), plaintext.writable());
    if (!size) return fail_because(Reason::not_authentic);
    QANAT_ASSERT(*size == kMsg2PayloadSize);

    std::optional<Msg2Payload> payload = decode_msg2_payload(plaintext.bytes());
    if (!payload) return fail_because(Reason::malformed);
    if (payload->status != SessionStatus::ok) return fail_because(Reason::refused, payload->status);

    // The node must choose from what was offered, by the rule of section 5.
    const bool aes_is_fine = both_have_aes(offer_.capabilities, payload->capabilities);
    if (!offer_.suites.contains(payload->suite)) return fail_because(Reason::malformed);
    if (crypto::needs_aes_hardware(payload->suite) && !aes_is_fine) return fail_because(Reason::malformed);

    session_ = ClientSession{
        .secrets = derive_session(*noise_, payload->session_id, payload->suite),
        .header_key = std::move(payload->header_key),
        .lifetime_s = payload->lifetime_s,
        .window = payload->window,
        .node_capabilities = payload->capabilities,
    };
    noise_.reset();
    return Progress::established;
}

ClientHandshake::Progress ClientHandshake::fail_because(Reason reason, SessionStatus status) {
    failure_ = ClientFailure{reason, status};
    noise_.reset();
    return Progress::failed;
}

ClientSession ClientHandshake::take_session() {
    QANAT_ASSERT(session_.has_value());
    ClientSession session = std::move(*session_);
    session_.reset();
    return session;
}

const ClientFailure& ClientHandshake::failure() const {
    QANAT_ASSERT(failure_.has_value());
    return *failure_;
}

}  // namespace qanat::handshake
