// Stream: one connection of an application (client) or to a target (exit), joined to one tunnel connection.
//
// A stream is in one phase at a time. Opening phases borrow an Opening (buffers, half-done messages) and give it back
// when the relay begins, so that an open stream costs only this struct. At most one operation per OpKind is under way;
// `in_flight` counts them, and a slot is given away only when it is zero.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <optional>
#include <type_traits>

#include "common/base/unique_fd.h"
#include "common/ring/end_reason.h"
#include "common/wire/address.h"
#include "common/wire/preamble.h"
#include "common/wire/stream_keys.h"
#include "common/wire/stream_messages.h"
#include "dataplane/engine/list.h"
#include "dataplane/engine/timers.h"
#include "dataplane/exit/dialer.h"
#include "dataplane/relay/lane.h"
#include "dataplane/relay/splice_mover.h"
#include "dataplane/socks5/server.h"
#include "dataplane/tunnel/chain.h"
#include "dataplane/tunnel/relay_members.h"

namespace qanat::dataplane {

struct KeptGroup;

enum class Phase : uint8_t {
    // client
    socks,         // SOCKS5 handshake with the application
    hop_wait,      // no usable session yet, but one is being made
    hop_connect,   // TCP connection to a node
    hop_response,  // first flight sent
    // exit
    first_flight,  // nothing proved yet
    parked,        // authenticated, waits for its REQUEST
    resolving,
    dialing,
    // connections that are kept ready (client: PARK; node: OFFER at a relay), without an application
    pool_connect,   // TCP connection
    pool_response,  // first flight sent
    pooled,         // ready; node: until the relay says TAKEN
    // relay
    offered,       // a member's OFFER, waits to be taken
    forward_wait,  // waits for an offered connection, or for the control plane's answer
    forward_dial,  // TCP connection to the next node
    splicing,
    // both
    relaying,
    discarding,  // everything is said; what still comes is read and thrown away until the deadline
    closing,     // waits for its last completions
};

// client: an application's stream, and connections kept ready for one. exit: a tunnel's stream. relay: a tunnel's
// stream that is carried on, or waits for that. offer: a connection kept ready at a relay.
enum class StreamSide : uint8_t { client, exit, relay, offer };

inline constexpr size_t kFlightMax = 2048;       // bytes of the other side's first flight that are read at once
inline constexpr size_t kPlainBufferMax = 1536;  // SOCKS5 messages, and early data behind them
inline constexpr size_t kTriesMax = 8;

// What a stream needs only until it relays.
struct Opening {
    // both: bytes from the tunnel, not yet digested
    std::array<uint8_t, kFlightMax> flight;
    uint32_t flight_size = 0;
    std::optional<wire::StreamKeySchedule> schedule;
    uint64_t asked_ns = 0;  // client: when the application made its request; exit: when the REQUEST came

    // client
    Socks5Server socks{nullptr};
    std::array<uint8_t, kPlainBufferMax> plain;  // from the application, not yet digested
    uint32_t plain_size = 0;
    Chain chain;                 // the relays in front of the node
    uint64_t connecting_ns = 0;  // when the TCP connection to the hop was begun
    uint64_t hop_by_ns = 0;      // when the hop in use is given up
    uint64_t give_up_ns = 0;     // when the application gets an answer at the latest
    std::array<uint32_t, kTriesMax> tried{};
    uint8_t tries = 0;
    uint8_t pauses = 0;             // after which all hops were tried again
    bool waiting_may_help = false;  // the last hop failed, rather than said no
    bool node_answered = false;     // its preamble has come: it is alive and works on the request
    bool over_capacity = false;     // accepted only to be refused by name
    bool asked_to_keep = false;     // the REQUEST said KEEP
    bool from_pool = false;         // the tunnel connection was kept ready: its preambles are exchanged
    bool announced = false;         // … and the node has said that it works on the request
    uint8_t stale_parked = 0;       // such connections that turned out to be dead

    // exit
    Dialer dialer;
    std::array<UniqueFd, Dialer::kAttemptsMax> attempts;
    std::array<uint8_t, Dialer::kAttemptsMax> attempt_lane{};  // tells the attempts of one slot apart
    uint8_t next_lane = 0;
    uint64_t resolve_by_ns = 0;
    uint64_t preamble_due_ns = 0;  // send it alone if the RESPONSE is not ready by then
    bool preamble_sent = false;
    bool was_parked = false;
    // the connection came through a relay: who is at its other end, as the relay tells them apart
    std::optional<std::array<uint8_t, 16>> source;

    // relay
    MemberId peer{};             // who opened this stream
    wire::NextNode next;         // whom to carry it to
    uint64_t forward_by_ns = 0;  // when that one is given up
    bool in_queue = false;       // waits in RelayMembers for a connection of `next`
};

// One direction of a stream that is spliced, and its wait for its member's byte rate.
struct RelayLane {
    SpliceLane lane;
    Timer throttle;
};
// They stand in the place of Lanes and are ended without a destructor.
static_assert(sizeof(RelayLane) <= sizeof(Lane) && std::is_trivially_destructible_v<RelayLane> &&
              std::is_trivially_destructible_v<Lane>);

struct Stream {
    Stream() {}  // = default is no choice where a union holds what has a constructor

    Phase phase = Phase::closing;
    StreamSide side = StreamSide::client;
    uint32_t in_flight = 0;
    uint8_t tunnel_try = 0;  // tells operations on an abandoned tunnel connection from current ones
    bool seal_armed = false;
    bool open_armed = false;
    uint8_t watch_armed = 0;   // bit per lane: its source is being watched
    uint8_t dial_armed = 0;    // bit per attempt slot
    uint8_t ready_lanes = 0;   // kSealLane | kOpenLane: run again soon
    uint8_t memory_lanes = 0;  // wait for chunks
    uint8_t sink_lanes = 0;    // wait for their sink, which is the other lane's source, through its watch
    bool counted_unauthenticated = false;
    bool counted = false;  // in streams_active and streams_total
    bool at_node = false;  // client: in flight in the statistics of `node`
    bool keep = false;     // KEEP and KEPT: the node may park the tunnel for another stream when this one has ended
    ring::EndReason reason = ring::EndReason::none;
    uint8_t status = 0;            // StreamStatus that the application or client was told
    uint32_t node = 0;             // client: the hop in use
    uint32_t path = 0;             // client: which path to it, as ClientPool numbers them
    KeptGroup* kept_in = nullptr;  // kept ready: in this group
    uint64_t session_id = 0;       // that the tunnel's keys come from
    uint64_t accepted_ns = 0;
    UniqueFd plain;   // application or target; relay: the next node
    UniqueFd tunnel;  // relay: who asked
    // The second of each instead of the first in Phase::splicing (StreamTable::begin_splicing).
    union {
        Lane seal{};       // plain → tunnel
        RelayLane answer;  // relay: next node → who asked
    };
    union {
        Lane open{};    // tunnel → plain
        RelayLane ask;  // relay: who asked → next node
    };
    RelayMember* member = nullptr;  // relay: whose stream or offered connection it is counted as
    Opening* opening = nullptr;
    Timer timer;
    ListHook<Stream> phase_hook;  // the list of its phase: unauthenticated, parked, opening; or of its KeptGroup
    ListHook<Stream> ready_hook;
    ListHook<Stream> memory_hook;
    ListHook<Stream> sweep_hook;
    wire::Target target;
};

// Its keys have had their share of bytes: another stream should not begin with them.
[[nodiscard]] inline bool worn(const Stream& stream) {
    return std::max(stream.seal.key.bytes, stream.open.key.bytes) > wire::kDirectionBytesMax / 2;
}

inline constexpr uint8_t kSealLane = 1;
inline constexpr uint8_t kOpenLane = 2;

}  // namespace qanat::dataplane
