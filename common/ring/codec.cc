#include "common/ring/codec.h"

#include <sodium.h>

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <span>
#include <type_traits>

#include "common/ring/end_reason.h"

namespace qanat::ring {
namespace {

// Padding between fields would carry stale memory from one process to the other and escape validation.
template <class... M>
constexpr bool no_padding = (std::has_unique_object_representations_v<M> && ...);
static_assert(no_padding<Listen, InstallSession, RemoveSession, NodeKeys, PlanPart, PolicyPart, Users, ResolveResult,
                         ControlConnect, ControlSend, ControlClose, Drain, Stop, Settings, Offer, RelaySettings,
                         MemberResult, Punch, PunchPeer>);
static_assert(
    no_padding<ListenResult, ControlAccepted, ControlOpened, ControlData, ControlClosed, Resolve, SessionConfirmed,
               HopFailed, StreamEnded, Drained, NodeStats, OfferState, MemberWanted, PunchObserved>);

// The sizes are ABI.
static_assert(sizeof(Listen) == 28 && sizeof(InstallSession) == 120 && sizeof(RemoveSession) == 16);
static_assert(sizeof(NodeKeys) == 32 && sizeof(PlanPart) == 960 && sizeof(PolicyPart) == 976);
static_assert(sizeof(Users) == 552 && sizeof(ResolveResult) == 336 && sizeof(ControlConnect) == 144);
static_assert(sizeof(ControlSend) == 976 && sizeof(ControlClose) == 16 && sizeof(Drain) == 8);
static_assert(sizeof(Stop) == 8 && sizeof(Settings) == 16 && sizeof(Offer) == 32);
static_assert(sizeof(RelaySettings) == 24 && sizeof(MemberResult) == 32);
static_assert(sizeof(Punch) == 32 && sizeof(PunchPeer) == 32);
static_assert(sizeof(ListenResult) == 32 && sizeof(ControlAccepted) == 544 && sizeof(ControlOpened) == 24);
static_assert(sizeof(ControlData) == 976 && sizeof(ControlClosed) == 16 && sizeof(Resolve) == 264);
static_assert(sizeof(SessionConfirmed) == 8 && sizeof(HopFailed) == 24 && sizeof(StreamEnded) == 296);
static_assert(sizeof(Drained) == 8 && sizeof(NodeStats) == 904 && sizeof(OfferState) == 24);
static_assert(sizeof(MemberWanted) == 64 && sizeof(PunchObserved) == 40);

using enum CodecError;

template <class T>
bool is_zero(const T& value) {
    const Bytes bytes(static_cast<const uint8_t*>(static_cast<const void*>(&value)), sizeof(T));
    return std::all_of(bytes.begin(), bytes.end(), [](uint8_t byte) { return byte == 0; });
}

// Everything from index `used` on is zero.
template <class T, size_t N>
bool zero_from(const std::array<T, N>& values, size_t used) {
    return std::all_of(values.begin() + static_cast<std::ptrdiff_t>(used), values.end(), is_zero<T>);
}

// Enums start at 1 and have no gaps.
template <class E>
bool in_range(E value, E last) {
    return value >= E{1} && value <= last;
}

bool flag(uint8_t value) {
    return value <= 1;
}

CodecError check_ip(const std::array<uint8_t, 16>& ip, uint8_t family) {
    if (family != 4 && family != 6) return bad_endpoint;
    return family == 6 || zero_from(ip, 4) ? none : bad_padding;
}

CodecError check(const RingEndpoint& endpoint) {
    if (const auto error = check_ip(endpoint.ip, endpoint.family); error != none) return error;
    return endpoint.zero == 0 ? none : bad_padding;
}

// All zero stands for "none".
CodecError check_optional(const RingEndpoint& endpoint) {
    return is_zero(endpoint) ? none : check(endpoint);
}

bool known_node(uint32_t node) {
    return node < kPlanHopsMax;
}

CodecError check_via(const std::array<Via, kViaMax>& via, uint8_t count) {
    if (count > kViaMax) return bad_count;
    for (const Via& relay : std::span(via).first(count)) {
        if (!known_node(relay.node)) return bad_node;
        if (const auto error = check_optional(relay.next); error != none) return error;
    }
    return zero_from(via, count) ? none : bad_padding;
}

CodecError check_errno(int32_t error) {
    return error >= 0 && error <= kErrnoMax ? none : bad_errno;
}

// Parts of a plan or policy: a part lies within the whole and is empty only when the whole is.
CodecError check_parts(uint64_t total, uint64_t first, uint64_t count, uint64_t count_max, uint64_t total_max) {
    if (count > count_max || total > total_max) return bad_count;
    if (first + count > total || (count == 0 && total != 0)) return bad_parts;
    return none;
}

bool is_outgoing(uint64_t connection) {
    return (connection & kOutgoingConnectionBit) != 0;
}

// -------------------------------------------------------------------------------------------------------- commands

CodecError check(const Listen& message) {
    if (!in_range(message.kind, ListenerKind::tunnel) || !flag(message.check_exclusive)) return bad_enum;
    if (message.zero != 0) return bad_padding;
    return check(message.address);
}

CodecError check(const InstallSession& message) {
    constexpr uint8_t kSuiteLast = 3;  // PROTOCOL.md section 5
    if (!in_range(message.side, SessionSide::node) || message.suite < 1 || message.suite > kSuiteLast) return bad_enum;
    if (message.session_id == 0 || message.window == 0 || message.window % 64 != 0) return bad_session;
    if (!is_zero(message.zero)) return bad_padding;
    if (message.side == SessionSide::node) {
        // The node's engine reserves the window; the client's only counts up to it.
        if (message.window > kSessionWindowMax) return bad_session;
        if (message.node != 0 || !is_zero(message.header_key)) return bad_padding;
    }
    return known_node(message.node) ? none : bad_node;
}

CodecError check(const RemoveSession& message) {
    if (message.session_id == 0) return bad_session;
    if (!flag(message.node_lost)) return bad_enum;
    return is_zero(message.zero) ? none : bad_padding;
}

CodecError check(const NodeKeys&) {
    return none;
}

CodecError check(const PlanPart& message) {
    if (!in_range(message.rule, PlanRule::least_loaded)) return bad_enum;
    if (const auto error = check_parts(message.total, message.first, message.count, kPlanHopsPerPart, kPlanHopsMax);
        error != none)
        return error;
    if (message.zero != 0) return bad_padding;
    for (const PlanHop& hop : std::span(message.hops).first(message.count)) {
        if (!in_range(hop.state, HopState::connecting)) return bad_enum;
        if (!known_node(hop.node)) return bad_node;
        if (!flag(hop.punch) || (hop.punch != 0 && hop.via_count == 0)) return bad_enum;
        if (hop.zero != 0) return bad_padding;
        if (const auto error = check(hop.address); error != none) return error;
        if (const auto error = check_via(hop.via, hop.via_count); error != none) return error;
    }
    return zero_from(message.hops, message.count) ? none : bad_padding;
}

CodecError check(const PolicyPart& message) {
    if (const auto error =
            check_parts(message.total, message.first, message.count, kPolicyRulesPerPart, kPolicyRulesMax);
        error != none)
        return error;
    for (const PolicyRule& rule : std::span(message.rules).first(message.count)) {
        if (!in_range(rule.action, PolicyAction::deny) || !in_range(rule.origin, PolicyOrigin::own_address))
            return bad_enum;
        if (const auto error = check_ip(rule.ip, rule.family); error != none) return error;
        if (rule.bits > (rule.family == 4 ? 32 : 128)) return bad_prefix;
    }
    return zero_from(message.rules, message.count) ? none : bad_padding;
}

CodecError check(const Users& message) {
    if (!flag(message.required)) return bad_enum;
    if (message.count > kUsersMax) return bad_count;
    return is_zero(message.zero) && zero_from(message.tags, message.count) ? none : bad_padding;
}

CodecError check(const ResolveResult& message) {
    if (!in_range(message.status, ResolveStatus::overloaded)) return bad_enum;
    // "ok" has an address, anything else has none: the engine takes the first one without asking.
    if (message.count > kResolvedMax || (message.status == ResolveStatus::ok) != (message.count != 0)) return bad_count;
    for (const RingEndpoint& address : std::span(message.addresses).first(message.count))
        if (const auto error = check(address); error != none) return error;
    return is_zero(message.zero) && zero_from(message.addresses, message.count) ? none : bad_padding;
}

CodecError check(const ControlConnect& message) {
    if (!is_outgoing(message.connection)) return bad_connection;
    if (!is_zero(message.zero) || message.zero2 != 0) return bad_padding;
    if (const auto error = check_via(message.via, message.via_count); error != none) return error;
    return check(message.address);
}

CodecError check(const ControlSend& message) {
    if (message.size > kControlBytesMax) return bad_count;
    if (!flag(message.authenticated)) return bad_enum;
    if (message.zero != 0 || message.zero2 != 0) return bad_padding;
    return zero_from(message.bytes, message.size) ? none : bad_padding;
}

CodecError check(const ControlClose& message) {
    if (!in_range(message.how, CloseHow::silent)) return bad_enum;
    return is_zero(message.zero) ? none : bad_padding;
}

CodecError check(const Drain& message) {
    return message.zero == 0 ? none : bad_padding;
}

CodecError check(const Stop& message) {
    return message.zero == 0 ? none : bad_padding;
}

CodecError check(const Settings& message) {
    if (!flag(message.stream_events)) return bad_enum;
    return is_zero(message.zero) && message.zero2 == 0 ? none : bad_padding;
}

CodecError check(const Offer& message) {
    if (!known_node(message.node)) return bad_node;
    if (message.minimum > message.maximum) return bad_count;
    if (message.zero != 0) return bad_padding;
    return message.maximum == 0 ? check_optional(message.address) : check(message.address);
}

CodecError check(const RelaySettings& message) {
    if (!flag(message.enabled)) return bad_enum;
    return is_zero(message.zero) ? none : bad_padding;
}

CodecError check(const MemberResult& message) {
    if (!in_range(message.status, MemberStatus::busy)) return bad_enum;
    if (!is_zero(message.zero)) return bad_padding;
    if (message.status != MemberStatus::reachable) return is_zero(message.address) ? none : bad_padding;
    return check(message.address);
}

bool named_by_client_engine(uint64_t punch) {
    return (punch & kClientPunchBit) != 0;
}

CodecError check(const Punch& message) {
    if (named_by_client_engine(message.punch)) return bad_connection;
    if (!known_node(message.relay)) return bad_node;
    return check(message.address);
}

CodecError check(const PunchPeer& message) {
    if (!in_range(message.start, PunchStart::impossible)) return bad_enum;
    if (message.zero != 0) return bad_padding;
    if (message.start != PunchStart::ready) return message.delay_ms == 0 && is_zero(message.peer) ? none : bad_padding;
    return check(message.peer);
}

// ---------------------------------------------------------------------------------------------------------- events

CodecError check(const ListenResult& message) {
    if (const auto error = check_errno(message.error); error != none) return error;
    if (message.zero != 0) return bad_padding;
    // A listener that failed may have no address.
    if (message.error != 0 && is_zero(message.address)) return none;
    return check(message.address);
}

CodecError check(const ControlAccepted& message) {
    if (is_outgoing(message.connection)) return bad_connection;
    if (message.zero != 0) return bad_padding;
    return check(message.peer);
}

CodecError check(const ControlOpened& message) {
    if (!is_outgoing(message.connection)) return bad_connection;
    if (const auto error = check_errno(message.error); error != none) return error;
    if (message.at != kNoNode && !known_node(message.at)) return bad_node;
    return is_zero(message.zero) ? none : bad_padding;
}

CodecError check(const ControlData& message) {
    if (message.size == 0 || message.size > kControlBytesMax) return bad_count;
    if (message.zero != 0 || message.zero2 != 0) return bad_padding;
    return zero_from(message.bytes, message.size) ? none : bad_padding;
}

CodecError check(const ControlClosed& message) {
    if (const auto error = check_errno(message.error); error != none) return error;
    return message.zero == 0 ? none : bad_padding;
}

// The name is what a client asked for: any bytes, not checked to be a host name.
CodecError check(const Resolve& message) {
    if (message.size == 0) return bad_count;
    return zero_from(message.name, message.size) ? none : bad_padding;
}

CodecError check(const SessionConfirmed& message) {
    return message.session_id != 0 ? none : bad_session;
}

// `status` comes from another host and may be newer than we are: any value.
CodecError check(const HopFailed& message) {
    if (!in_range(message.stage, HopStage::response)) return bad_enum;
    if (!known_node(message.node) || !known_node(message.at)) return bad_node;
    if (const auto error = check_errno(message.error); error != none) return error;
    return is_zero(message.zero) ? none : bad_padding;
}

// No target: the stream ended before it named one.
CodecError check(const StreamEnded& message) {
    if (message.reason == static_cast<uint8_t>(EndReason::none) || message.reason >= kEndReasonCount) return bad_enum;
    if (message.zero != 0) return bad_padding;
    return zero_from(message.target, message.target_size) ? none : bad_padding;
}

CodecError check(const Drained& message) {
    return message.zero == 0 ? none : bad_padding;
}

CodecError check(const NodeStats& message) {
    if (message.count == 0 || message.count > kNodeStatsPerPart) return bad_count;
    if (message.zero != 0) return bad_padding;
    for (const NodeStatsEntry& entry : std::span(message.entries).first(message.count))
        if (!known_node(entry.node)) return bad_node;
    return zero_from(message.entries, message.count) ? none : bad_padding;
}

CodecError check(const OfferState& message) {
    if (!known_node(message.node)) return bad_node;
    if (const auto error = check_errno(message.error); error != none) return error;
    return is_zero(message.zero) ? none : bad_padding;
}

CodecError check(const MemberWanted& message) {
    if (message.zero != 0) return bad_padding;
    return check_optional(message.hint);
}

CodecError check(const PunchObserved& message) {
    if (message.zero != 0) return bad_padding;
    if (const auto error = check_errno(message.error); error != none) return error;
    if (named_by_client_engine(message.punch)) {
        if (!known_node(message.node)) return bad_node;
        if (message.error != 0) return bad_errno;
    } else if (message.node != 0) {
        return bad_padding;
    }
    if (message.error != 0) return is_zero(message.observed) ? none : bad_padding;
    return check(message.observed);
}

// Calls visit.operator()<M>() with the struct of the message, or returns `unknown`.
template <class R, class Visitor>
R with_struct(MessageType type, R unknown, Visitor visit) {
    switch (type) {
        case MessageType::listen:
            return visit.template operator()<Listen>();
        case MessageType::install_session:
            return visit.template operator()<InstallSession>();
        case MessageType::remove_session:
            return visit.template operator()<RemoveSession>();
        case MessageType::node_keys:
            return visit.template operator()<NodeKeys>();
        case MessageType::plan_part:
            return visit.template operator()<PlanPart>();
        case MessageType::policy_part:
            return visit.template operator()<PolicyPart>();
        case MessageType::users:
            return visit.template operator()<Users>();
        case MessageType::resolve_result:
            return visit.template operator()<ResolveResult>();
        case MessageType::control_connect:
            return visit.template operator()<ControlConnect>();
        case MessageType::control_send:
            return visit.template operator()<ControlSend>();
        case MessageType::control_close:
            return visit.template operator()<ControlClose>();
        case MessageType::drain:
            return visit.template operator()<Drain>();
        case MessageType::stop:
            return visit.template operator()<Stop>();
        case MessageType::settings:
            return visit.template operator()<Settings>();
        case MessageType::offer:
            return visit.template operator()<Offer>();
        case MessageType::relay_settings:
            return visit.template operator()<RelaySettings>();
        case MessageType::member_result:
            return visit.template operator()<MemberResult>();
        case MessageType::punch:
            return visit.template operator()<Punch>();
        case MessageType::punch_peer:
            return visit.template operator()<PunchPeer>();
        case MessageType::listen_result:
            return visit.template operator()<ListenResult>();
        case MessageType::control_accepted:
            return visit.template operator()<ControlAccepted>();
        case MessageType::control_opened:
            return visit.template operator()<ControlOpened>();
        case MessageType::control_data:
            return visit.template operator()<ControlData>();
        case MessageType::control_closed:
            return visit.template operator()<ControlClosed>();
        case MessageType::resolve:
            return visit.template operator()<Resolve>();
        case MessageType::session_confirmed:
            return visit.template operator()<SessionConfirmed>();
        case MessageType::hop_failed:
            return visit.template operator()<HopFailed>();
        case MessageType::stream_ended:
            return visit.template operator()<StreamEnded>();
        case MessageType::drained:
            return visit.template operator()<Drained>();
        case MessageType::node_stats:
            return visit.template operator()<NodeStats>();
        case MessageType::offer_state:
            return visit.template operator()<OfferState>();
        case MessageType::member_wanted:
            return visit.template operator()<MemberWanted>();
        case MessageType::punch_observed:
            return visit.template operator()<PunchObserved>();
    }
    return unknown;
}

}  // namespace

CodecError validate(MessageType type, Bytes bytes) {
    return with_struct(type, unknown_type, [&]<class M>() {
        if (bytes.size() != sizeof(M)) return bad_size;
        const void* address = bytes.data();
        if (reinterpret_cast<uintptr_t>(address) % alignof(M) == 0) return check(*static_cast<const M*>(address));
        M aligned;
        std::memcpy(&aligned, address, sizeof(M));
        const CodecError error = check(aligned);
        if (carries_secrets(type)) sodium_memzero(&aligned, sizeof(M));
        return error;
    });
}

uint32_t message_size(MessageType type) {
    return with_struct(type, uint32_t{0}, []<class M>() { return static_cast<uint32_t>(sizeof(M)); });
}

bool carries_secrets(MessageType type) {
    return type == MessageType::install_session || type == MessageType::node_keys || type == MessageType::users;
}

std::string_view codec_error_name(CodecError error) {
    switch (error) {
        case none:
            return "none";
        case unknown_type:
            return "unknown type";
        case bad_size:
            return "wrong size";
        case bad_enum:
            return "enum or flag out of range";
        case bad_count:
            return "count out of range";
        case bad_parts:
            return "part outside of the whole";
        case bad_endpoint:
            return "address family is neither 4 nor 6";
        case bad_prefix:
            return "prefix longer than the address";
        case bad_session:
            return "session id or window out of range";
        case bad_connection:
            return "connection number of the other plane";
        case bad_node:
            return "node number out of range";
        case bad_errno:
            return "not an errno";
        case bad_padding:
            return "unused bytes are not zero";
    }
    return "unknown";
}

}  // namespace qanat::ring
