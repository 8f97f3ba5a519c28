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
inline constexpr uint32_t kViaMax = 3;        // relays on one path
inline constexpr uint32_t kPlanHopsPerPart = 9;
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
    offer = 15,
    relay_settings = 16,
    member_result = 17,
    punch = 18,
    punch_peer = 19,
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
    node_stats = 74,
    offer_state = 75,
    member_wanted = 76,
    punch_observed = 77,
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

// No new streams on this session. Running streams are not touched. Client side: streams that wait for this node's
// answer move to another session or node; with node_lost = 1 also those whose node had answered already and was working
// on their target. Connections that are kept ready under the session are closed.
struct RemoveSession {
    static constexpr MessageType kType = MessageType::remove_session;
    uint64_t session_id;
    uint8_t node_lost;
    std::array<uint8_t, 7> zero;
};

// Node role: K_hdr of this process.
struct NodeKeys {
    static constexpr MessageType kType = MessageType::node_keys;
    std::array<uint8_t, 32> header_key;
};

// least_loaded: of two hops drawn at random the one with the smaller weight × (streams in flight + 1); the weight is a
// cost, a latency in µs for example.
enum class PlanRule : uint8_t { random = 1, round_robin = 2, weighted = 3, ordered = 4, least_loaded = 5 };
// up: take it. connecting: a handshake is on its way; wait for it only if nothing is up.
enum class HopState : uint8_t { up = 1, connecting = 2 };

// One relay of a path. `node`: its number; a client session with it is installed. `next`: where the relay finds the one
// behind it; all zero: that one holds a reservation with the relay.
struct Via {
    uint32_t node;
    RingEndpoint next;
};
static_assert(sizeof(Via) == 24);

// One exit node and the path to it. `address` is what the engine dials: the node itself, or the first of `via_count`
// relays. Numbers of nodes are below kPlanHopsMax, and mean the same in all messages until they are given to another.
struct PlanHop {
    uint32_t node;
    uint32_t weight;
    RingEndpoint address;
    HopState state;
    uint8_t via_count;
    uint8_t punch;  // 1: direct connections may be punched (PunchObserved); only with relays
    uint8_t zero;
    std::array<Via, kViaMax> via;
};
static_assert(sizeof(PlanHop) == 104);

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

//
// A path with relays (via_count > 0) is opened hop by hop in one flight of FORWARD requests (PROTOCOL.md section 6);
// `address` is the first relay's, `id` the static key of the node at the end.
struct ControlConnect {
    static constexpr MessageType kType = MessageType::control_connect;
    uint64_t connection;
    uint32_t timeout_ms;
    uint8_t via_count;
    std::array<uint8_t, 3> zero;
    RingEndpoint address;
    std::array<uint8_t, 32> id;
    std::array<Via, kViaMax> via;
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
    std::array<uint8_t, 3> zero;
    uint32_t pool_max;         // client: parked connections that an engine keeps per node, at most; 0 = none
    uint32_t pool_min_rtt_us;  // … of nodes at least this far away: nearer ones answer a connect sooner than it pays
    uint32_t zero2;
};

// Node role: keep connections ready at a relay, for clients that reach this node through it (OFFER, PROTOCOL.md
// section 6): between `minimum` and `maximum` of them in this engine, sized by demand. maximum = 0: close those that
// wait, keep none. `node` is the relay's number; a client session with it is installed. Sent again when the address or
// a number changes.
struct Offer {
    static constexpr MessageType kType = MessageType::offer;
    uint32_t node;
    uint16_t minimum;
    uint16_t maximum;
    RingEndpoint address;
    uint32_t zero;
};

// Node role: whether this node relays for other members, and the limits of that (0 = none). An OFFER beyond them is
// answered with relay_limit.
struct RelaySettings {
    static constexpr MessageType kType = MessageType::relay_settings;
    uint8_t enabled;
    std::array<uint8_t, 3> zero;
    uint32_t streams_max;       // streams that a member has carried at the same time, all engines together
    uint32_t offers_max;        // connections that a member keeps ready here, all engines together
    uint32_t members_max;       // members that keep connections ready here, all engines together
    uint64_t bytes_per_second;  // of all streams of one member, both directions together
};

enum class MemberStatus : uint8_t {
    reachable = 1,  // dial `address`: the member was met there
    reserved = 2,   // it keeps connections ready here; wait for one
    unknown = 3,    // no such member is known, or none answers where it was said to be
    busy = 4,       // too many such questions
};

// The answer to MemberWanted.
struct MemberResult {
    static constexpr MessageType kType = MessageType::member_result;
    uint64_t query;
    MemberStatus status;
    std::array<uint8_t, 3> zero;
    RingEndpoint address;  // of reachable, else all zero
};

// Node role: a client wants a direct connection through the NATs of both sides (PROTOCOL.md section 6.3). Ask the relay
// at `address` where this node is seen, and answer with PunchObserved. `relay` is the relay's number; a client session
// with it is installed. `punch` is the control plane's name for it, top bit clear.
struct Punch {
    static constexpr MessageType kType = MessageType::punch;
    uint64_t punch;
    uint32_t relay;
    RingEndpoint address;
};

enum class PunchStart : uint8_t {
    ready = 1,       // connect to `peer`
    busy = 2,        // not this time
    impossible = 3,  // nor soon
};

// The answer to PunchObserved: what the other side said. `delay_ms`: wait this long before the first packet, so that
// those of both sides cross.
struct PunchPeer {
    static constexpr MessageType kType = MessageType::punch_peer;
    uint64_t punch;
    PunchStart start;
    uint8_t zero;
    uint16_t delay_ms;
    RingEndpoint peer;  // of ready, else all zero
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
    RingEndpoint peer;  // port 0: over a relay, and the address is the name that the relay has for where it came from
    uint32_t zero;
    std::array<uint8_t, kHandshakeSize> bytes;
};

// `status`, not 0: a relay of the path refused with it (StreamStatus); `at` is that relay's number. With an errno, `at`
// is the relay that was being asked, or kNoNode for the first connection itself.
inline constexpr uint32_t kNoNode = UINT32_MAX;
struct ControlOpened {
    static constexpr MessageType kType = MessageType::control_opened;
    uint64_t connection;
    int32_t error;  // errno, 0 = connected, or see status
    uint32_t at;
    uint8_t status;
    std::array<uint8_t, 7> zero;
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

// Client side: a stream could not be opened through this node. `at`: who is at fault, a relay of the path or the node
// itself; session_id is the session with that one.
struct HopFailed {
    static constexpr MessageType kType = MessageType::hop_failed;
    uint64_t session_id;
    uint32_t node;
    uint32_t at;
    int32_t error;  // errno, or 0
    HopStage stage;
    uint8_t status;  // StreamStatus when `at` answered, else 0
    std::array<uint8_t, 2> zero;
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

inline constexpr uint32_t kNodeStatsPerPart = 16;

// What this engine did through one node, since it began to use it; differences between two reports are what happened
// between them. A node whose number was given away and comes back begins at 0.
struct NodeStatsEntry {
    uint32_t node;
    uint32_t in_flight;  // streams, now
    uint32_t parked;     // connections that are kept ready, now
    uint32_t rtt_us;     // the last clean round trip to the node that was seen; 0 = none yet
    uint64_t opened;     // streams that got their RESPONSE, whatever it said
    uint64_t failed;     // HopFailed
    uint64_t bytes_up;   // application → target
    uint64_t bytes_down;
    uint32_t punched;       // direct connections that were punched
    uint32_t punch_failed;  // tries that came to nothing
};
static_assert(sizeof(NodeStatsEntry) == 56);

// Client role: about once a second, the nodes for which something changed.
struct NodeStats {
    static constexpr MessageType kType = MessageType::node_stats;
    uint32_t count;
    uint32_t zero;
    std::array<NodeStatsEntry, kNodeStatsPerPart> entries;
};

// Node role: how an Offer goes, at most once a second and when it changes.
struct OfferState {
    static constexpr MessageType kType = MessageType::offer_state;
    uint32_t node;
    uint32_t parked;  // connections that wait at the relay now, from this engine
    uint64_t taken;   // streams that came through it, since the first Offer
    int32_t error;    // errno of the last attempt that failed, 0 = it did not
    uint8_t status;   // StreamStatus with which the relay refused, 0 = it did not
    std::array<uint8_t, 3> zero;
};

// Relay: a FORWARD names a member of which no connection is ready. `hint`: where the client says that it is; all zero:
// it says nothing. Answer: MemberResult.
struct MemberWanted {
    static constexpr MessageType kType = MessageType::member_wanted;
    uint64_t query;
    std::array<uint8_t, 32> id;
    RingEndpoint hint;
    uint32_t zero;
};

// A relay has said how it sees the port that the punch goes out from. Node role: answers Punch. Client role: a new one,
// for a direct connection to `node`; its name has the top bit set. Answer: PunchPeer.
inline constexpr uint64_t kClientPunchBit = uint64_t{1} << 63;
struct PunchObserved {
    static constexpr MessageType kType = MessageType::punch_observed;
    uint64_t punch;
    uint32_t node;          // client; else 0
    int32_t error;          // node: errno, 0 = observed; client: 0, for it says nothing then
    RingEndpoint observed;  // all zero with an error
    uint32_t zero;
};

template <class M>
concept Message = std::is_trivially_copyable_v<M> && std::is_standard_layout_v<M> &&
                  sizeof(M) <= kMessagePayloadMax&& requires {
    M::kType;
};

static_assert(Message<Listen> && Message<InstallSession> && Message<RemoveSession> && Message<NodeKeys> &&
              Message<PlanPart> && Message<PolicyPart> && Message<Users> && Message<ResolveResult> &&
              Message<ControlConnect> && Message<ControlSend> && Message<ControlClose> && Message<Drain> &&
              Message<Stop> && Message<Settings> && Message<Offer> && Message<RelaySettings> && Message<MemberResult> &&
              Message<Punch> && Message<PunchPeer>);
static_assert(Message<ListenResult> && Message<ControlAccepted> && Message<ControlOpened> && Message<ControlData> &&
              Message<ControlClosed> && Message<Resolve> && Message<SessionConfirmed> && Message<HopFailed> &&
              Message<StreamEnded> && Message<Drained> && Message<NodeStats> && Message<OfferState> &&
              Message<MemberWanted> && Message<PunchObserved>);

}  // namespace qanat::ring
