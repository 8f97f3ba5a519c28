// The messages between the planes: fixed-size PODs, one struct per message, native byte order (both ends are on one
// host). docs/RING.md draws them; permissions.h says who may send which one when.
//
// Commands go control plane → engine, events engine → control plane. Every field is plain data; whoever receives a
// message copies it out of shared memory once and validates the copy (codec.h) before use. Unused bytes are zero.
#pragma once

#include <array>
#include <cstdint>
#include <type_traits>

namespace qanat::ring {

inline constexpr uint32_t kMessagePayloadMax = 1008;
inline constexpr uint32_t kControlBytesMax = 960;  // bytes of a control connection in one message
inline constexpr uint32_t kHandshakeSize = 512;    // MSG1, PROTOCOL.md section 3
inline constexpr uint32_t kNameMax = 255;
inline constexpr uint32_t kResolvedMax = 16;  // addresses in one answer
inline constexpr uint32_t kPlanHopsPerPart = 30;
inline constexpr uint32_t kPlanHopsMax = 16384;
inline constexpr uint32_t kPolicyRulesPerPart = 40;
inline constexpr uint32_t kPolicyRulesMax = 4000;
inline constexpr uint32_t kUsersMax = 16;

enum class MessageType : uint32_t {
    // commands
    listen = 1,
    install_session = 2,
    remove_session = 3,
    node_keys = 4,
    plan_part = 5,
    policy_part = 6,
    users = 7,
    resolve_result = 8,
    control_connect = 9,
    control_send = 10,
    control_close = 11,
    drain = 12,
    stop = 13,
    settings = 14,
    // events
    listen_result = 64,
    control_accepted = 65,
    control_opened = 66,
    control_data = 67,
    control_closed = 68,
    resolve = 69,
    session_confirmed = 70,
    hop_failed = 71,
    stream_ended = 72,
    drained = 73,
};

// An IP address and port as they travel through the ring. family is 4 or 6; IPv4 uses ip[0..4).
struct RingEndpoint {
    std::array<uint8_t, 16> ip;
    uint16_t port;
    uint8_t family;
    uint8_t zero;
};
static_assert(sizeof(RingEndpoint) == 20);

enum class ListenerKind : uint8_t { socks = 1, tunnel = 2 };

// Bind and listen. Port 0 picks one. check_exclusive: first make sure that nobody else, not even another socket with
// SO_REUSEPORT, holds the address; sent to the first engine only. Answer: ListenResult.
struct Listen {
    static constexpr MessageType kType = MessageType::listen;
    uint32_t listener;
    ListenerKind kind;
    uint8_t check_exclusive;
    uint16_t zero;
    RingEndpoint address;
};

enum class SessionSide : uint8_t { client = 1, node = 2 };

// Streams may use this session from now on. Client side: `node` is the node's number in the plan and the newest
// session of a node is the one that new streams take. Holds secrets: the consumer wipes the slot.
struct InstallSession {
    static constexpr MessageType kType = MessageType::install_session;
    uint64_t session_id;
    uint32_t node;
    uint32_t window;  // stream numbers, multiple of 64
    SessionSide side;
    uint8_t suite;
    std::array<uint8_t, 6> zero;
    std::array<uint8_t, 32> data_secret;
    std::array<uint8_t, 32> header_key;  // client side: K_hdr of the node
    std::array<uint8_t, 32> peer;        // static key of the other side, for logs
};

// No new streams on this session. Client side: streams that have no RESPONSE yet move to another session. Running
// streams are not touched.
struct RemoveSession {
    static constexpr MessageType kType = MessageType::remove_session;
    uint64_t session_id;
};

// Node role: K_hdr of this process.
struct NodeKeys {
    static constexpr MessageType kType = MessageType::node_keys;
    std::array<uint8_t, 32> header_key;
};

enum class PlanRule : uint8_t { random = 1, round_robin = 2, weighted = 3, ordered = 4 };
// up: take it. connecting: a handshake is on its way; wait for it only if nothing is up.
enum class HopState : uint8_t { up = 1, connecting = 2 };

struct PlanHop {
    uint32_t node;
    uint32_t weight;
    RingEndpoint address;
    HopState state;
    std::array<uint8_t, 3> zero;
};
static_assert(sizeof(PlanHop) == 32);

// Client role: one part of a routing plan. The engine switches to `version` when it has all `total` hops; parts come
// in order. A plan with total = 0 has no hops: every new stream is refused with "no exit".
struct PlanPart {
    static constexpr MessageType kType = MessageType::plan_part;
    uint32_t version;
    uint32_t total;
    uint32_t first;
    uint16_t count;
    PlanRule rule;
    uint8_t zero;
    uint32_t response_timeout_ms;  // from the pick of a hop to its RESPONSE, all tries together
    uint32_t tries_max;
    std::array<PlanHop, kPlanHopsPerPart> hops;
};

enum class PolicyAction : uint8_t { allow = 1, deny = 2 };
enum class PolicyOrigin : uint8_t { config = 1, built_in = 2, own_address = 3 };

struct PolicyRule {
    std::array<uint8_t, 16> ip;
    uint8_t family;
    uint8_t bits;
    PolicyAction action;
    PolicyOrigin origin;
    uint32_t number;  // of its origin, for "denied by …"
};
static_assert(sizeof(PolicyRule) == 24);

// Exit policy: the first rule that contains the address decides; no match allows. Parts as in PlanPart.
struct PolicyPart {
    static constexpr MessageType kType = MessageType::policy_part;
    uint32_t version;
    uint32_t total;
    uint32_t first;
    uint32_t count;
    std::array<PolicyRule, kPolicyRulesPerPart> rules;
};

// SOCKS5 users (RFC 1929). required = 0: no authentication. A login matches when
// HMAC-SHA256(salt, u8 length ‖ user ‖ password) equals one of the tags; the data plane never holds a password.
struct Users {
    static constexpr MessageType kType = MessageType::users;
    uint8_t required;
    uint8_t count;
    std::array<uint8_t, 6> zero;
    std::array<uint8_t, 32> salt;
    std::array<std::array<uint8_t, 32>, kUsersMax> tags;
};

enum class ResolveStatus : uint8_t { ok = 1, not_found = 2, failed = 3, timed_out = 4, overloaded = 5 };

struct ResolveResult {
    static constexpr MessageType kType = MessageType::resolve_result;
    uint64_t query;
    ResolveStatus status;
    uint8_t count;
    std::array<uint8_t, 6> zero;
    std::array<RingEndpoint, kResolvedMax> addresses;  // in the order to try; the port is not used
};

// Control connections carry handshakes and control records. The control plane names the ones it opens (top bit of
// `connection` set); the engine names accepted ones (top bit clear). Answer to connect: ControlOpened.
inline constexpr uint64_t kOutgoingConnectionBit = uint64_t{1} << 63;

struct ControlConnect {
    static constexpr MessageType kType = MessageType::control_connect;
    uint64_t connection;
    uint32_t timeout_ms;
    uint32_t zero;
    RingEndpoint address;
    uint32_t zero2;
};

struct ControlSend {
    static constexpr MessageType kType = MessageType::control_send;
    uint64_t connection;
    uint16_t size;
    uint8_t authenticated;  // 1: the peer has proved itself; lift the deadline of unauthenticated connections
    uint8_t zero;
    uint32_t zero2;
    std::array<uint8_t, kControlBytesMax> bytes;
};

enum class CloseHow : uint8_t {
    close = 1,   // send what is queued, then close
    silent = 2,  // PROTOCOL.md section 8: say nothing, discard, close at the accept deadline
};

struct ControlClose {
    static constexpr MessageType kType = MessageType::control_close;
    uint64_t connection;
    CloseHow how;
    std::array<uint8_t, 7> zero;
};

// Stop accepting; answer Drained when the last stream has ended.
struct Drain {
    static constexpr MessageType kType = MessageType::drain;
    uint64_t zero;
};

// End every stream that is left (EndReason::drained) and leave.
struct Stop {
    static constexpr MessageType kType = MessageType::stop;
    uint64_t zero;
};

struct Settings {
    static constexpr MessageType kType = MessageType::settings;
    uint8_t stream_events;  // 1: send StreamEnded for every stream
    std::array<uint8_t, 7> zero;
};

// ---------------------------------------------------------------------------------------------------------- events

struct ListenResult {
    static constexpr MessageType kType = MessageType::listen_result;
    uint32_t listener;
    int32_t error;  // errno, 0 = listening
    RingEndpoint address;
    uint32_t zero;
};

// A whole MSG1 has arrived on an accepted connection.
struct ControlAccepted {
    static constexpr MessageType kType = MessageType::control_accepted;
    uint64_t connection;
    RingEndpoint peer;
    uint32_t zero;
    std::array<uint8_t, kHandshakeSize> bytes;
};

struct ControlOpened {
    static constexpr MessageType kType = MessageType::control_opened;
    uint64_t connection;
    int32_t error;  // errno, 0 = connected
    uint32_t zero;
};

struct ControlData {
    static constexpr MessageType kType = MessageType::control_data;
    uint64_t connection;
    uint16_t size;
    uint16_t zero;
    uint32_t zero2;
    std::array<uint8_t, kControlBytesMax> bytes;
};

// The connection is gone and its number with it. Sent once, also after ControlClose.
struct ControlClosed {
    static constexpr MessageType kType = MessageType::control_closed;
    uint64_t connection;
    int32_t error;  // errno, 0 = end of stream
    uint32_t zero;
};

struct Resolve {
    static constexpr MessageType kType = MessageType::resolve;
    uint64_t query;
    uint8_t size;
    std::array<uint8_t, kNameMax> name;
};

// Node side: the client has proved that it holds the keys (first valid record of a stream).
struct SessionConfirmed {
    static constexpr MessageType kType = MessageType::session_confirmed;
    uint64_t session_id;
};

enum class HopStage : uint8_t { connect = 1, first_flight = 2, response = 3 };

// Client side: a stream could not be opened through this node.
struct HopFailed {
    static constexpr MessageType kType = MessageType::hop_failed;
    uint64_t session_id;
    uint32_t node;
    int32_t error;  // errno, or 0
    HopStage stage;
    uint8_t status;  // StreamStatus when the node answered, else 0
    std::array<uint8_t, 6> zero;
};

struct StreamEnded {
    static constexpr MessageType kType = MessageType::stream_ended;
    uint64_t bytes_up;    // application → target
    uint64_t bytes_down;  // target → application
    uint64_t duration_us;
    uint32_t node;   // client side: the hop it used
    uint8_t reason;  // EndReason
    uint8_t status;  // StreamStatus
    uint16_t port;
    uint8_t target_size;
    std::array<uint8_t, kNameMax> target;
    uint64_t zero;
};

struct Drained {
    static constexpr MessageType kType = MessageType::drained;
    uint64_t zero;
};

template <class M>
concept Message = std::is_trivially_copyable_v<M> && std::is_standard_layout_v<M> &&
                  sizeof(M) <= kMessagePayloadMax&& requires {
    M::kType;
};

static_assert(Message<Listen> && Message<InstallSession> && Message<RemoveSession> && Message<NodeKeys> &&
              Message<PlanPart> && Message<PolicyPart> && Message<Users> && Message<ResolveResult> &&
              Message<ControlConnect> && Message<ControlSend> && Message<ControlClose> && Message<Drain> &&
              Message<Stop> && Message<Settings>);
static_assert(Message<ListenResult> && Message<ControlAccepted> && Message<ControlOpened> && Message<ControlData> &&
              Message<ControlClosed> && Message<Resolve> && Message<SessionConfirmed> && Message<HopFailed> &&
              Message<StreamEnded> && Message<Drained>);

}  // namespace qanat::ring
