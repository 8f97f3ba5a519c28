// Stream: one connection of an application (client) or to a target (exit), joined to one tunnel connection.
//
// A stream is in one phase at a time. Opening phases borrow an Opening (buffers, half-done messages) and give it back
// when the relay begins, so that an open stream costs only this struct. At most one operation per OpKind is under way;
// `in_flight` counts them, and a slot is given away only when it is zero.
#pragma once

#include <array>
#include <cstdint>
#include <optional>

#include "common/base/unique_fd.h"
#include "common/ring/end_reason.h"
#include "common/wire/address.h"
#include "common/wire/preamble.h"
#include "common/wire/stream_keys.h"
#include "dataplane/engine/list.h"
#include "dataplane/engine/timers.h"
#include "dataplane/exit/dialer.h"
#include "dataplane/relay/lane.h"
#include "dataplane/socks5/server.h"

namespace qanat::dataplane {

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
    // both
    relaying,
    discarding,  // everything is said; what still comes is read and thrown away until the deadline
    closing,     // waits for its last completions
};

enum class StreamSide : uint8_t { client, exit };

inline constexpr size_t kFlightMax = 2048;       // bytes of the other side's first flight that are read at once
inline constexpr size_t kPlainBufferMax = 1536;  // SOCKS5 messages, and early data behind them
inline constexpr size_t kTriesMax = 8;

// What a stream needs only until it relays.
struct Opening {
    // both: bytes from the tunnel, not yet digested
    std::array<uint8_t, kFlightMax> flight;
    uint32_t flight_size = 0;
    std::optional<wire::StreamKeySchedule> schedule;

    // client
    Socks5Server socks{nullptr};
    std::array<uint8_t, kPlainBufferMax> plain;  // from the application, not yet digested
    uint32_t plain_size = 0;
    uint64_t session_id = 0;
    uint64_t asked_ns = 0;    // when the application made its request
    uint64_t hop_by_ns = 0;   // when the hop in use is given up
    uint64_t give_up_ns = 0;  // when the application gets an answer at the latest
    std::array<uint32_t, kTriesMax> tried{};
    uint8_t tries = 0;
    bool node_answered = false;  // its preamble has come: it is alive and works on the request
    bool over_capacity = false;  // accepted only to be refused by name

    // exit
    Dialer dialer;
    std::array<UniqueFd, Dialer::kAttemptsMax> attempts;
    std::array<uint8_t, Dialer::kAttemptsMax> attempt_lane{};  // tells the attempts of one slot apart
    uint8_t next_lane = 0;
    uint64_t resolve_by_ns = 0;
    uint64_t preamble_due_ns = 0;  // send it alone if the RESPONSE is not ready by then
    bool preamble_sent = false;
    bool was_parked = false;
};

struct Stream {
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
    ring::EndReason reason = ring::EndReason::none;
    uint8_t status = 0;  // StreamStatus that the application or client was told
    uint32_t node = 0;   // client: the hop in use
    uint64_t accepted_ns = 0;
    UniqueFd plain;  // application or target
    UniqueFd tunnel;
    Lane seal;  // plain → tunnel
    Lane open;  // tunnel → plain
    Opening* opening = nullptr;
    Timer timer;
    ListHook<Stream> phase_hook;  // the list of its phase: unauthenticated, opening
    ListHook<Stream> ready_hook;
    ListHook<Stream> memory_hook;
    ListHook<Stream> sweep_hook;
    wire::Target target;
};

inline constexpr uint8_t kSealLane = 1;
inline constexpr uint8_t kOpenLane = 2;

}  // namespace qanat::dataplane
