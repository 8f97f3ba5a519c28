// EngineServices: what an engine lends to its streams. One per engine; everything in it belongs to that engine's
// thread, except SharedSession objects behind `sessions`.
#pragma once

#include <cstdint>
#include <functional>

#include "common/ring/bootstrap.h"
#include "common/ring/channel.h"
#include "common/ring/counters.h"
#include "dataplane/engine/chunks.h"
#include "dataplane/engine/timers.h"
#include "dataplane/engine/uring.h"
#include "dataplane/exit/policy.h"
#include "dataplane/relay/lane.h"
#include "dataplane/route/plan.h"
#include "dataplane/socks5/users.h"
#include "dataplane/tunnel/key_cache.h"
#include "dataplane/tunnel/session_table.h"

namespace qanat::dataplane {

struct EngineServices {
    Uring& io;
    TimerWheel& timers;
    ChunkPool& chunks;
    KeyCache& keys;
    BurstBuffer& burst;
    ring::EventSender& events;
    ring::EngineCounters& counters;
    SessionTable& sessions;
    RoutingPlan& plan;
    ExitPolicy& policy;
    Socks5Users& users;
    const ring::DataPlaneLimits& limits;   // this engine's share
    std::array<uint8_t, 32>& header_key;   // exit: K_hdr
    std::function<void()> drain_commands;  // applies commands that wait in the ring, now
    uint64_t now_ns = 0;                   // of this turn
    uint64_t next_key_tag = 1;
    bool stream_events = false;
    bool draining = false;

    [[nodiscard]] MoverResources mover() { return {chunks, keys, burst}; }

    // Events are facts for the other plane; a full ring loses one and counts it. False if it was lost.
    template <class M>
    bool report(const M& event) {
        if (events.send(event)) return true;
        ring::add(counters.events_dropped);
        return false;
    }
};

}  // namespace qanat::dataplane
