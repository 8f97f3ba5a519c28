// Engine: one core's loop. It owns an io_uring, the streams, the control connections and this core's end of the rings,
// and shares nothing with other engines on a stream's path but the sessions' stream numbers and replay windows.
//
// A turn: fire timers, run lanes that yielded, publish events, submit everything and reap a batch, apply commands,
// dispatch, release what ended.
#pragma once

#include <atomic>
#include <memory>

#include "common/ring/channel.h"
#include "dataplane/control/control_connections.h"
#include "dataplane/loop/listeners.h"
#include "dataplane/stream/client_opening.h"
#include "dataplane/stream/exit_opening.h"
#include "dataplane/stream/node_offers.h"
#include "dataplane/tunnel/session_registry.h"

namespace qanat::dataplane {

struct EngineOptions {
    uint32_t index = 0;
    ring::Role role = ring::Role::client;
    bool busy_poll = false;
    ring::DataPlaneLimits limits{};  // this engine's share
    uint32_t chunks = 0;
    uint64_t descriptors = UINT32_MAX;             // that it may have open
    uint64_t unauthenticated_timeout_ns = 0;       // PROTOCOL.md section 8: drawn once per process
    int lifeline = -1;                             // hangs up when the control plane is gone
    const std::atomic<bool>* terminate = nullptr;  // set by SIGTERM; obeyed only without a control plane
    RelayRole relay;
};

class Engine {
public:
    Engine(const EngineOptions& options, SessionRegistry& registry, ring::EngineSection& section,
           ring::Receiver commands, ring::EventSender events);

    // Everything that must happen on the engine's own thread before run().
    [[nodiscard]] Result<void> open();
    [[nodiscard]] std::string features() const;

    // Returns when the control plane said Stop, or when it is gone and the last stream has ended.
    void run();

private:
    void turn();
    void apply_commands();
    void apply(const ring::MessageView& message);
    void install(const ring::InstallSession& command);
    void set_relaying(const ring::RelaySettings& command);
    void fire_timers();
    void dispatch(const Completion& completion);
    void dispatch_stream(const Completion& completion);
    void on_stream_timer(Stream& stream);
    void accept(ring::ListenerKind kind, UniqueFd fd);
    void drain();
    void lose_control_plane();
    void publish_gauges();
    void report_node_stats();
    [[nodiscard]] bool finished() const;

    EngineOptions options_;
    SessionRegistry& registry_;
    ring::Receiver commands_;
    ring::EventSender events_;
    ring::EngineCounters& counters_;

    Uring io_;
    TimerWheel timers_;
    ChunkPool chunks_;
    PipePool pipes_;
    KeyCache keys_;
    BurstBuffer burst_;
    SessionTable sessions_;
    RoutingPlan plan_;
    NodeStats node_stats_;
    ExitPolicy policy_;
    Socks5Users users_;
    std::array<uint8_t, 32> header_key_{};
    EngineServices services_;

    StreamTable table_;
    LaneWaits waits_;
    Relaying relaying_;
    Discarding discarding_;
    Responding responding_;
    KeptConnections kept_;
    Punching punching_;
    PunchedPool punched_;
    ClientPool pool_;
    ClientOpening client_;
    ControlConnections control_;
    TargetDialing dialing_;
    Offered offered_;
    Splicing splicing_;
    Forwarding forwarding_;
    ExitOpening exit_;
    NodeOffers offers_;
    Listeners listeners_;

    uint64_t node_stats_due_ns_ = 0;  // not before
    bool stopping_ = false;
    bool orphaned_ = false;
    bool link_broken_ = false;
    bool drained_reported_ = false;
    bool applying_ = false;
};

}  // namespace qanat::dataplane
