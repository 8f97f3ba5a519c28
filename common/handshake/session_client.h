// ClientHandshake: the client's side of the session handshake, PROTOCOL section 3, as a pure machine: bytes in, bytes
// out. It knows no timeout: the driver closes when its own has passed, and reports kNoAnswerText.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "common/base/bytes.h"
#include "common/base/result.h"
#include "common/base/secret.h"
#include "common/crypto/psk.h"
#include "common/handshake/gate.h"
#include "common/handshake/noise.h"
#include "common/handshake/session_messages.h"
#include "common/wire/session_secrets.h"

namespace qanat::handshake {

struct ClientParameters {
    PublicKey node_static{};
    KeyPair identity;
    Secret<32> gate_key;  // K_gate and K_noise of the one network key to call with
    Secret<32> noise_key;
    Msg1Payload offer;     // at least one suite
    Secret<32> ephemeral;  // fresh random bytes; never twice
};

// What a session is to the client.
struct ClientSession {
    wire::SessionSecrets secrets;
    Secret<32> header_key;  // K_hdr
    uint32_t lifetime_s = 0;
    uint32_t window = 0;  // in stream numbers
    uint32_t node_capabilities = 0;
};

struct ClientFailure {
    enum class Reason {
        bad_node_key,      // the node's static key is a low-order point; nothing was sent
        malformed,         // a header is not one of ours, or an authenticated MSG2 breaks the format or its promises
        bad_challenge,     // the challenge tag is wrong
        second_challenge,  // more than one CHALLENGE
        not_authentic,     // MSG2 was not made by the holder of the node's key and the network key
        refused            // authenticated: the node says no, see `status`
    };
    Reason reason;
    SessionStatus status = SessionStatus::ok;

    // One line for a person. All failures before authentication read the same, for nothing is known then.
    [[nodiscard]] std::string_view message() const;
};

inline constexpr std::string_view kNoAnswerText = "no answer: wrong network key, wrong node id, or not a Qanat node";

class ClientHandshake {
public:
    // Fails with bad_node_key only.
    [[nodiscard]] static Result<ClientHandshake, ClientFailure> start(ClientParameters parameters);

    // What must be sent now: MSG1 after start(), MSG1 with a new tag after `challenged`. Empty when it was taken. Valid
    // until the next feed() or the end of the object.
    [[nodiscard]] Bytes take_output();

    enum class Progress {
        need_more,    // all input taken, no whole message yet
        challenged,   // take_output() has something again; at most once
        established,  // take_session() has the session; the next bytes are control records
        failed        // close; see failure()
    };
    struct Step {
        Progress progress;
        size_t consumed;  // of the input; what is left belongs to whatever comes next
    };
    // Input in pieces of any size. Once established or failed it takes nothing and says the same again.
    Step feed(Bytes input);

    [[nodiscard]] ClientSession take_session();          // after established, once
    [[nodiscard]] const ClientFailure& failure() const;  // after failed

private:
    ClientHandshake(ClientParameters parameters, noise::HandshakeState noise);

    void tag_msg1(const Cookie& cookie);
    Progress on_challenge();
    Progress on_msg2();
    Progress fail_because(ClientFailure::Reason reason, SessionStatus status = SessionStatus::ok);

    PublicKey node_static_;
    Secret<32> gate_key_;
    Msg1Payload offer_;
    std::optional<noise::HandshakeState> noise_;  // gone when the handshake has ended

    Msg1 msg1_{};
    bool output_pending_ = false;
    bool challenged_ = false;

    std::array<uint8_t, kMsg2Size> input_{};
    size_t input_size_ = 0;

    Progress progress_ = Progress::need_more;
    std::optional<ClientSession> session_;
    std::optional<ClientFailure> failure_;
};

}  // namespace qanat::handshake
