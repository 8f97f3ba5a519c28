// NodeHandshake: the node's side of the session handshake for one control connection, PROTOCOL section 3.1, in three
// stages so that the caller can decide between them:
//
//   check_gate   steps 2-5: sizes, gate tag, replay, cookie. No Diffie-Hellman.
//   read         step 6, first half: es, ss; the client's static key and its offer.
//   accept       step 6, second half, and 7: ee, se, remember e; MSG2 and the session's secrets.
//   or refuse    the same with a status other than ok.
//
// Pure: bytes, time and randomness are arguments. After an error or a drop the connection goes the silent path of
// section 8 and the object is finished; calls out of order are asserted.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <span>
#include <string_view>

#include "common/base/bytes.h"
#include "common/base/result.h"
#include "common/crypto/psk.h"
#include "common/handshake/cookie_jar.h"
#include "common/handshake/gate.h"
#include "common/handshake/noise.h"
#include "common/handshake/seen_ephemerals.h"
#include "common/handshake/session_messages.h"
#include "common/wire/session_secrets.h"

namespace qanat::handshake {

// Why a connection is dropped: for counters and debug logs, never told to the outside.
enum class NodeDrop {
    wrong_length,   // not exactly 512 bytes
    wrong_header,   // another type, version or length
    bad_gate_tag,   // no accepted network key made it
    replayed,       // this e was here before
    bad_cookie,     // challenged, and the answer's cookie is wrong, too old or another address's
    not_authentic,  // Noise did not open, or a key was a low-order point
    malformed       // an authenticated payload breaks the format
};
[[nodiscard]] std::string_view node_drop_name(NodeDrop reason);

enum class Load { normal, high };

// What check_gate() looks at besides the message. Nothing is kept.
struct GateContext {
    const PublicKey& node_static;
    std::span<const crypto::NetworkKeys> accepted;  // every network key in force
    const SeenEphemerals& seen;
    const CookieJar& cookies;
    SourceAddress source;
    CookieJar::Time now;
    Load load = Load::normal;
};

enum class GateVerdict {
    pass,      // go on with read()
    challenge  // send challenge(), then check_gate() again with the client's next 512 bytes
};

struct ClientOffer {
    PublicKey client_static{};  // proven by ss: the client holds it; decide on membership before accept()
    Msg1Payload payload;
};

struct AcceptParameters {
    crypto::Suite suite;           // one the client offered, see choose_suite()
    uint32_t capabilities = 0;     // the node's own
    uint64_t session_id = 0;       // random, not 0
    uint32_t lifetime_s = 0;       // not 0
    uint32_t window = 0;           // in stream numbers: a multiple of 64, not 0
    const Secret<32>& header_key;  // K_hdr
    Secret<32> ephemeral;          // fresh random bytes; never twice
};

struct AcceptedSession {
    wire::SessionSecrets secrets;  // install these in the data plane before msg2 is sent
    Msg2 msg2{};
};

class NodeHandshake {
public:
    // At most one challenge comes out of a connection; its answer is judged by its cookie whatever the load is then.
    [[nodiscard]] Result<GateVerdict, NodeDrop> check_gate(Bytes msg1, const GateContext& context);

    [[nodiscard]] const Challenge& challenge() const { return challenge_; }
    // Which of GateContext::accepted made the tag; after pass.
    [[nodiscard]] size_t network_key_index() const;

    // `network_keys` are those of network_key_index().
    [[nodiscard]] Result<ClientOffer, NodeDrop> read(const Identity& identity, const crypto::NetworkKeys& network_keys);

    // Both remember e in `seen`, and drop if another connection was faster with the same MSG1.
    [[nodiscard]] Result<AcceptedSession, NodeDrop> accept(AcceptParameters parameters, SeenEphemerals& seen);
    // `status` is not ok.
    [[nodiscard]] Result<Msg2, NodeDrop> refuse(SessionStatus status, Secret<32> ephemeral, SeenEphemerals& seen);

private:
    enum class Stage { fresh, challenged, passed, read, finished };

    [[nodiscard]] Result<Msg2, NodeDrop> write_msg2(const Msg2Payload& payload, Secret<32> ephemeral,
                                                    SeenEphemerals& seen);

    Stage stage_ = Stage::fresh;
    Msg1 msg1_{};
    PublicKey ephemeral_{};  // the client's e
    Challenge challenge_{};
    size_t network_key_index_ = 0;
    SuiteList offered_;
    std::optional<noise::HandshakeState> noise_;
};

}  // namespace qanat::handshake
