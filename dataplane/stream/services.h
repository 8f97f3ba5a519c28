// EngineServices: what an engine lends to its streams. One per engine; everything in it belongs to that engine's
// thread, except SharedSession objects behind `sessions`.
#pragma once

#include <cstdint>
#include <functional>
#include <vector>

#include "common/ring/bootstrap.h"
#include "common/ring/channel.h"
#include "common/ring/counters.h"
#include "dataplane/engine/chunks.h"
#include "dataplane/engine/pipe_pool.h"
#include "dataplane/engine/timers.h"
#include "dataplane/engine/uring.h"
#include "dataplane/exit/policy.h"
#include "dataplane/relay/lane.h"
#include "dataplane/relay/splice_mover.h"
#include "dataplane/route/node_stats.h"
#include "dataplane/route/plan.h"
#include "dataplane/socks5/users.h"
#include "dataplane/tunnel/key_cache.h"
#include "dataplane/tunnel/relay_members.h"
#include "dataplane/tunnel/session_table.h"

namespace qanat::dataplane {

// What an engine needs to carry streams for other members.
struct RelayRole {
    static constexpr uint32_t kPipeBytes = 256 * 1024;

    RelayMembers* members = nullptr;  // null: this process was not started as a relay
    uint32_t pipes = 0;               // that an engine splices with
    uint32_t engine = 0;              // which one this is
    std::vector<int> inboxes;         // send ends of all engines' inboxes, this one's included
    int inbox = -1;                   // receive end of this one's
};

struct EngineServices {
    Uring& io;
    TimerWheel& timers;
    ChunkPool& chunks;
    PipePool& pipes;
    KeyCache& keys;
    BurstBuffer& burst;
    ring::EventSender& events;
    ring::EngineCounters& counters;
    SessionTable& sessions;
    RoutingPlan& plan;
    NodeStats& node_stats;  // client
    ExitPolicy& policy;
    Socks5Users& users;
    const ring::DataPlaneLimits& limits;  // this engine's share
    const RelayRole& relay;
    std::array<uint8_t, 32>& header_key;   // exit: K_hdr
    std::function<void()> drain_commands;  // applies commands that wait in the ring, now
    uint64_t now_ns = 0;                   // of this turn
    uint64_t next_key_tag = 1;
    bool stream_events = false;
    bool draining = false;
    bool relaying = false;         // the control plane wants streams carried for other members
    uint64_t relay_byte_rate = 0;  // of each member; 0 = none

    [[nodiscard]] MoverResources mover() { return {chunks, keys, burst}; }
    // For a member that holds that much in this engine.
    [[nodiscard]] SpliceResources splicer(const PoolShare& held) {
        return {pipes,
                chunks,
                burst,
                {.pipes = PoolShare::room(held.pipes, pipes.available()),
                 .chunks = PoolShare::room(held.chunks, chunks.available())}};
    }

    // A stream that was asked for at `asked_ns` is open now.
    void count_open_latency(uint64_t asked_ns) {
        const uint64_t us = (now_ns - asked_ns) / 1000;
        ring::add(counters.open_latency_sum_us, us);
        ring::add(counters.open_latency[ring::latency_bucket(us)]);
    }

    // Events are facts for the other plane; a full ring loses one and counts it. False if it was lost.
    template <class M>
    bool report(const M& event) {
        if (events.send(event)) return true;
        ring::add(counters.events_dropped);
        return false;
    }
};

}  // namespace qanat::dataplane
