// A valid message of every type, filled to its caps with bytes that are not zero, so that any change of a count or an
// unused byte shows.
#pragma once

#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <memory>
#include <stdexcept>

#include "common/base/bytes.h"
#include "common/base/unique_fd.h"
#include "common/ring/channel.h"
#include "common/ring/end_reason.h"
#include "common/ring/messages.h"
#include "common/ring/region.h"

// GCC and clang name their sanitizers differently.
#if defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define QANAT_TEST_TSAN 1
#endif
#if __has_feature(address_sanitizer)
#define QANAT_TEST_ASAN 1
#endif
#endif
#ifdef __SANITIZE_THREAD__
#define QANAT_TEST_TSAN 1
#endif
#ifdef __SANITIZE_ADDRESS__
#define QANAT_TEST_ASAN 1
#endif

namespace qanat::ring::test {

inline RingEndpoint endpoint_v4() {
    return {.ip = {192, 0, 2, 7}, .port = 4000, .family = 4, .zero = 0};
}

inline RingEndpoint endpoint_v6() {
    RingEndpoint endpoint{.ip = {}, .port = 4000, .family = 6, .zero = 0};
    endpoint.ip.fill(0x2a);
    return endpoint;
}

template <size_t N>
std::array<uint8_t, N> filled(uint8_t value) {
    std::array<uint8_t, N> bytes;
    bytes.fill(value);
    return bytes;
}

inline std::array<Via, kViaMax> full_path() {
    std::array<Via, kViaMax> via;
    via.fill({.node = 6, .next = endpoint_v6()});
    return via;
}

template <Message M>
M sample();

template <>
inline Listen sample() {
    return {.listener = 7, .kind = ListenerKind::socks, .check_exclusive = 1, .zero = 0, .address = endpoint_v6()};
}
template <>
inline InstallSession sample() {
    return {.session_id = 0x1122334455667788,
            .node = 3,
            .window = 65536,
            .side = SessionSide::client,
            .suite = 2,
            .zero = {},
            .data_secret = filled<32>(0xd5),
            .header_key = filled<32>(0x4e),
            .peer = filled<32>(0x9e)};
}
template <>
inline RemoveSession sample() {
    return {.session_id = 0x1122334455667788, .node_lost = 1, .zero = {}};
}
template <>
inline NodeKeys sample() {
    return {.header_key = filled<32>(0x4e)};
}
template <>
inline PlanPart sample() {
    PlanPart part{.version = 9,
                  .total = 90,
                  .first = 60,
                  .count = kPlanHopsPerPart,
                  .rule = PlanRule::weighted,
                  .zero = 0,
                  .response_timeout_ms = 10'000,
                  .tries_max = 3,
                  .hops = {}};
    part.hops.fill({.node = 5,
                    .weight = 100,
                    .address = endpoint_v6(),
                    .state = HopState::up,
                    .via_count = kViaMax,
                    .punch = 1,
                    .zero = 0,
                    .via = full_path()});
    return part;
}
template <>
inline PolicyPart sample() {
    PolicyPart part{.version = 9, .total = 120, .first = 80, .count = kPolicyRulesPerPart, .rules = {}};
    part.rules.fill({.ip = endpoint_v6().ip,
                     .family = 6,
                     .bits = 64,
                     .action = PolicyAction::deny,
                     .origin = PolicyOrigin::built_in,
                     .number = 4});
    return part;
}
template <>
inline Users sample() {
    Users users{.required = 1, .count = kUsersMax, .zero = {}, .salt = filled<32>(0x5a), .tags = {}};
    users.tags.fill(filled<32>(0x7a));
    return users;
}
template <>
inline ResolveResult sample() {
    ResolveResult result{.query = 77, .status = ResolveStatus::ok, .count = kResolvedMax, .zero = {}, .addresses = {}};
    result.addresses.fill(endpoint_v6());
    return result;
}
template <>
inline ControlConnect sample() {
    return {.connection = kOutgoingConnectionBit | 5,
            .timeout_ms = 5000,
            .via_count = kViaMax,
            .zero = {},
            .address = endpoint_v6(),
            .id = filled<32>(0x1d),
            .via = full_path(),
            .zero2 = 0};
}
template <>
inline ControlSend sample() {
    return {.connection = 5,
            .size = kControlBytesMax,
            .authenticated = 1,
            .zero = 0,
            .zero2 = 0,
            .bytes = filled<kControlBytesMax>(0xc5)};
}
template <>
inline ControlClose sample() {
    return {.connection = 5, .how = CloseHow::silent, .zero = {}};
}
template <>
inline Drain sample() {
    return {.zero = 0};
}
template <>
inline Stop sample() {
    return {.zero = 0};
}
template <>
inline Settings sample() {
    return {.stream_events = 1, .zero = {}, .pool_max = 32, .pool_min_rtt_us = 2000, .zero2 = 0};
}
template <>
inline Offer sample() {
    return {.node = 3, .minimum = 2, .maximum = 64, .address = endpoint_v6(), .zero = 0};
}
template <>
inline RelaySettings sample() {
    return {.enabled = 1,
            .zero = {},
            .streams_max = 100,
            .offers_max = 64,
            .members_max = 1024,
            .bytes_per_second = 1'000'000};
}
template <>
inline MemberResult sample() {
    return {.query = 77, .status = MemberStatus::reachable, .zero = {}, .address = endpoint_v6()};
}
template <>
inline Punch sample() {
    return {.punch = 77, .relay = 3, .address = endpoint_v6()};
}
template <>
inline PunchPeer sample() {
    return {.punch = 77, .start = PunchStart::ready, .zero = 0, .delay_ms = 40, .peer = endpoint_v6()};
}
template <>
inline ListenResult sample() {
    return {.listener = 7, .error = 0, .address = endpoint_v6(), .zero = 0};
}
template <>
inline ControlAccepted sample() {
    return {.connection = 5, .peer = endpoint_v6(), .zero = 0, .bytes = filled<kHandshakeSize>(0xac)};
}
template <>
inline ControlOpened sample() {
    return {.connection = kOutgoingConnectionBit | 5, .error = 111, .at = 3, .status = 14, .zero = {}};
}
template <>
inline ControlData sample() {
    return {.connection = 5, .size = kControlBytesMax, .zero = 0, .zero2 = 0, .bytes = filled<kControlBytesMax>(0xcd)};
}
template <>
inline ControlClosed sample() {
    return {.connection = 5, .error = 104, .zero = 0};
}
template <>
inline Resolve sample() {
    return {.query = 77, .size = kNameMax, .name = filled<kNameMax>('n')};
}
template <>
inline SessionConfirmed sample() {
    return {.session_id = 0x1122334455667788};
}
template <>
inline HopFailed sample() {
    return {.session_id = 0x1122334455667788,
            .node = 3,
            .at = 4,
            .error = 111,
            .stage = HopStage::connect,
            .status = 0,
            .zero = {}};
}
template <>
inline StreamEnded sample() {
    return {.bytes_up = 1,
            .bytes_down = 2,
            .duration_us = 3,
            .node = 4,
            .reason = static_cast<uint8_t>(EndReason::completed),
            .status = 0,
            .port = 443,
            .target_size = kNameMax,
            .target = filled<kNameMax>('t'),
            .zero = 0};
}
template <>
inline Drained sample() {
    return {.zero = 0};
}
template <>
inline NodeStats sample() {
    NodeStats stats{.count = kNodeStatsPerPart, .zero = 0, .entries = {}};
    stats.entries.fill({.node = 5,
                        .in_flight = 6,
                        .parked = 7,
                        .rtt_us = 8,
                        .opened = 9,
                        .failed = 10,
                        .bytes_up = 11,
                        .bytes_down = 12,
                        .punched = 13,
                        .punch_failed = 14});
    return stats;
}
template <>
inline OfferState sample() {
    return {.node = 3, .parked = 2, .taken = 5, .error = 111, .status = 15, .zero = {}};
}
template <>
inline MemberWanted sample() {
    return {.query = 77, .id = filled<32>(0x1d), .hint = endpoint_v6(), .zero = 0};
}

template <>
inline PunchObserved sample() {
    return {.punch = kClientPunchBit | 77, .node = 3, .error = 0, .observed = endpoint_v6(), .zero = 0};
}

inline RemoveSession removal(uint64_t session_id) {
    return {.session_id = session_id, .node_lost = 0, .zero = {}};
}

template <class... M>
struct MessageList {
    // Calls visit.operator()<M>() for each struct.
    template <class Visitor>
    static void for_each(Visitor visit) {
        (visit.template operator()<M>(), ...);
    }
};

using AllMessages =
    MessageList<Listen, InstallSession, RemoveSession, NodeKeys, PlanPart, PolicyPart, Users, ResolveResult,
                ControlConnect, ControlSend, ControlClose, Drain, Stop, Settings, Offer, RelaySettings, MemberResult,
                Punch, PunchPeer, ListenResult, ControlAccepted, ControlOpened, ControlData, ControlClosed, Resolve,
                SessionConfirmed, HopFailed, StreamEnded, Drained, NodeStats, OfferState, MemberWanted, PunchObserved>;

template <class M>
Bytes bytes_of(const M& message) {
    return {static_cast<const uint8_t*>(static_cast<const void*>(&message)), sizeof(M)};
}

// A second descriptor of the same eventfd, as the other plane would hold it.
inline UniqueFd duplicate(const UniqueFd& fd) {
    UniqueFd copy(::dup(fd.get()));
    if (!copy) throw std::runtime_error("dup");
    return copy;
}

// Both ends of the command ring of a region of one engine, in one process.
struct CommandLink {
    Region region = Region::create(1).value();
    RingSection& ring = region.engine(0).commands;
    UniqueFd eventfd = make_eventfd().value();
    CommandSender sender{ring, duplicate(eventfd)};
    Receiver receiver;

    explicit CommandLink(Role role = Role::client, LinkState state = LinkState::running)
        : receiver(Direction::command, ring, duplicate(eventfd), role, state) {}
};

}  // namespace qanat::ring::test
