#include "common/handshake/session_node.h"

#include <algorithm>
#include <utility>

#include "common/base/assert.h"
#include "common/handshake/session_noise.h"

namespace qanat::handshake {
namespace {

// Tries every key with every cookie and stops at none, so the time taken does not tell which one it was.
std::optional<size_t> find_network_key(Bytes msg1, const GateContext& context, std::span<const Cookie> cookies) {
    const Bytes tag = msg1.subspan(kMsg1TagOffset);
    std::optional<size_t> found;
    for (size_t i = 0; i < context.accepted.size(); ++i) {
        for (const Cookie& cookie : cookies) {
            const Tag expected =
                gate_tag(context.accepted[i].gate, context.node_static, cookie, msg1.first(kMsg1TagOffset));
            if (crypto::equal_constant_time(expected, tag)) found = i;
        }
    }
    return found;
}

}  // namespace

std::string_view node_drop_name(NodeDrop reason) {
    switch (reason) {
        case NodeDrop::wrong_length:
            return "wrong_length";
        case NodeDrop::wrong_header:
            return "wrong_header";
        case NodeDrop::bad_gate_tag:
            return "bad_gate_tag";
        case NodeDrop::replayed:
            return "replayed";
        case NodeDrop::bad_cookie:
            return "bad_cookie";
        case NodeDrop::not_authentic:
            return "not_authentic";
        case NodeDrop::malformed:
            return "malformed";
    }
    QANAT_ASSERT(false);
}

Result<GateVerdict, NodeDrop> NodeHandshake::check_gate(Bytes msg1, const GateContext& context) {
    QANAT_ASSERT(stage_ == Stage::fresh || stage_ == Stage::challenged);
    const bool challenged = std::exchange(stage_, Stage::finished) == Stage::challenged;

    // 2. exactly 512 bytes
    if (msg1.size() != kMsg1Size) return fail_with(NodeDrop::wrong_length);
    ByteReader reader(msg1);
    Header header;
    reader.copy_to(header);
    if (header != kMsg1Header) return fail_with(NodeDrop::wrong_header);
    PublicKey ephemeral;
    reader.copy_to(ephemeral);

    // 3. the gate tag. The answer to a challenge carries the cookie in it, so 5 is the same check then.
    CookieJar::Accepted cookies{.cookies = {kNoCookie}, .count = 1};
    if (challenged) cookies = context.cookies.accepted(context.source, ephemeral, context.now);
    const auto key_index = find_network_key(msg1, context, std::span(cookies.cookies).first(cookies.count));
    if (!key_index) return fail_with(challenged ? NodeDrop::bad_cookie : NodeDrop::bad_gate_tag);

    // 4. e seen before
    if (context.seen.contains(ephemeral)) return fail_with(NodeDrop::replayed);

    // 5. under load: cookie
    if (!challenged && context.load == Load::high) {
        const Cookie cookie = context.cookies.issue(context.source, ephemeral);
        ByteWriter writer(challenge_);
        writer.bytes(kChallengeHeader);
        writer.bytes(cookie);
        writer.bytes(challenge_tag(context.accepted[*key_index].gate, msg1.subspan(kMsg1TagOffset), cookie));
        QANAT_ASSERT(writer.ok());
        stage_ = Stage::challenged;
        return GateVerdict::challenge;
    }

    std::copy(msg1.begin(), msg1.end(), msg1_.begin());
    ephemeral_ = ephemeral;
    network_key_index_ = *key_index;
    stage_ = Stage::passed;
    return GateVerdict::pass;
}

size_t NodeHandshake::network_key_index() const {
    QANAT_ASSERT(stage_ == Stage::passed || stage_ == Stage::read);
    return network_key_index_;
}

Result<ClientOffer, NodeDrop> NodeHandshake::read(const Identity& identity, const crypto::NetworkKeys& network_keys) {
    QANAT_ASSERT(stage_ == Stage::passed);
    stage_ = Stage::finished;

    noise::HandshakeKeys keys;
    keys.s = identity.clone();
    keys.psk = network_keys.noise.clone();
    noise_.emplace(session_pattern(), noise::Role::responder, session_prologue(), std::move(keys));

    // 6. e, es, s, ss, psk, payload
    std::array<uint8_t, kMsg1PayloadSize> plaintext;
    const Bytes body = Bytes(msg1_).subspan(kMsg1Header.size(), kMsg1TagOffset - kMsg1Header.size());
    const auto size = noise_->read_message(body, plaintext);
    if (!size) return fail_with(NodeDrop::not_authentic);
    QANAT_ASSERT(*size == plaintext.size());
    // es and ss have shown that the client holds its static key; what follows is about its words.
    const std::optional<Msg1Payload> payload = decode_msg1_payload(plaintext);
    if (!payload) return fail_with(NodeDrop::malformed);

    offered_ = payload->suites;
    stage_ = Stage::read;
    return ClientOffer{noise_->remote_static(), *payload};
}

Result<AcceptedSession, NodeDrop> NodeHandshake::accept(AcceptParameters parameters, SeenEphemerals& seen) {
    QANAT_ASSERT(offered_.contains(parameters.suite));
    const Msg2Payload payload{
        .status = SessionStatus::ok,
        .suite = parameters.suite,
        .capabilities = parameters.capabilities,
        .session_id = parameters.session_id,
        .lifetime_s = parameters.lifetime_s,
        .window = parameters.window,
        .header_key = parameters.header_key.clone(),
    };
    const auto msg2 = write_msg2(payload, std::move(parameters.ephemeral), seen);
    if (!msg2) {
        noise_.reset();
        return fail_with(msg2.error());
    }
    AcceptedSession session{derive_session(*noise_, parameters.session_id, parameters.suite), *msg2};
    noise_.reset();
    return session;
}

Result<Msg2, NodeDrop> NodeHandshake::refuse(SessionStatus status, Secret<32> ephemeral, SeenEphemerals& seen) {
    QANAT_ASSERT(status != SessionStatus::ok);
    Msg2Payload payload;
    payload.status = status;
    const auto msg2 = write_msg2(payload, std::move(ephemeral), seen);
    noise_.reset();
    return msg2;
}

Result<Msg2, NodeDrop> NodeHandshake::write_msg2(const Msg2Payload& payload, Secret<32> ephemeral,
                                                 SeenEphemerals& seen) {
    QANAT_ASSERT(stage_ == Stage::read);
    stage_ = Stage::finished;
    // Before any more work: of several connections with the same MSG1 only the first one gets a session.
    if (!seen.insert(ephemeral_)) return fail_with(NodeDrop::replayed);

    // e, ee, se, payload
    Secret<kMsg2PayloadSize> plaintext;
    encode_msg2_payload(payload, plaintext.writable());
    Msg2 msg2;
    std::copy(kMsg2Header.begin(), kMsg2Header.end(), msg2.begin());
    const MutableBytes body = MutableBytes(msg2).subspan(kMsg2Header.size());
    noise_->set_ephemeral(make_key_pair(std::move(ephemeral)));
    const auto written = noise_->write_message(plaintext.bytes(), body);
    if (!written) return fail_with(NodeDrop::not_authentic);
    QANAT_ASSERT(*written == body.size());
    return msg2;
}

}  // namespace qanat::handshake
