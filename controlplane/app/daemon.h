// Daemon: what `qanat node` and `qanat client` have in common, from start to exit status: the data plane and its
// listeners, the admin socket, metrics, signals, reloading and shutdown.
//
// Shutdown on SIGTERM, SIGINT or `qanat drain`: say goodbye, Drain, wait for the last stream or the grace time, Stop,
// wait for the data plane to leave, remove the admin socket, exit 0. A second signal ends the waiting; the first one
// after `qanat drain` allows the streams the usual grace time, and no more than the command did.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "controlplane/admin/server.h"
#include "controlplane/admin/socket_file.h"
#include "controlplane/app/drain.h"
#include "controlplane/app/live_config.h"
#include "controlplane/app/role_part.h"
#include "controlplane/app/stream_load.h"
#include "controlplane/config/config.h"
#include "controlplane/config/paths.h"
#include "controlplane/loop/signal_watch.h"
#include "controlplane/loop/timer.h"
#include "controlplane/metrics/metrics_server.h"
#include "controlplane/plane_link/listeners.h"
#include "controlplane/plane_link/supervisor.h"

namespace qanat::controlplane {

class Daemon {
public:
    // An address in use is tried again for this long: at start because the sockets of a data plane that has just ended
    // may be open for a moment still (io_uring closes them after the exit), at a restart for the same reason.
    static constexpr Duration kListenPatienceAtStart = std::chrono::milliseconds(500);
    static constexpr Duration kListenPatienceAtRestart = std::chrono::seconds(5);
    static constexpr Duration kListenRetry = std::chrono::milliseconds(50);

    struct Settings {
        Role role = Role::node;
        Config config;
        LiveConfig::Read read_config;  // for a reload
        std::string id;                // of the identity
        std::string key_fingerprint;   // of the network key
        std::vector<ListenerSpec> listeners;
        std::string data_plane_program;
        ring::Bootstrap bootstrap{};
        Environment environment;
    };

    Daemon(EventLoop& loop, Settings settings);
    ~Daemon();
    Daemon(const Daemon&) = delete;
    Daemon& operator=(const Daemon&) = delete;

    // For the parts that talk to the data plane.
    [[nodiscard]] CommandPort& port() { return supervisor_; }
    // With real ports, once every engine listens.
    [[nodiscard]] std::vector<wire::Endpoint> addresses() const { return listeners_.addresses(); }
    // Of all engines together, now.
    [[nodiscard]] StreamLoad stream_load() const;

    // Runs until shutdown; `part` outlives the call. Returns how the program has to end: nothing, or the one line that
    // says why it could not start.
    [[nodiscard]] Result<void> run(RolePart& part);

private:
    enum class Phase : uint8_t { starting, serving, draining, stopping };

    void on_ready();
    void on_event(uint32_t engine, const ring::MessageView& event);
    void on_listen_result(uint32_t engine, const ring::ListenResult& result);
    void on_listen_failure();
    void on_lost();
    void on_drained(uint32_t engine);
    void on_signal(const char* name);
    void begin_drain(Duration grace);
    void shorten_drain(Duration grace);
    void stop();
    void abort_start(std::string message);
    void send(const std::vector<Listeners::Command>& commands);

    // daemon_answers.cc: what operators ask.
    void answer(const Json::Value& request, const AdminServer::Reply& reply);
    void answer_peers(const AdminServer::Reply& reply) const;
    void answer_explain(const Json::Value& request, const AdminServer::Reply& reply);
    void answer_drain(const Json::Value& request, const AdminServer::Reply& reply);
    void tell_drain_watchers();
    [[nodiscard]] Json::Value status() const;
    [[nodiscard]] uint64_t streams_active() const;
    [[nodiscard]] std::optional<uint64_t> drain_seconds_left() const;
    void collect(MetricsPage& page) const;
    [[nodiscard]] Result<std::unique_ptr<MetricsServer>> open_metrics(const Config& config);
    // Logs how it went. {"applied": […], "needs_restart": […]}
    [[nodiscard]] Result<Json::Value> reload();
    [[nodiscard]] Result<ReloadOutcome> apply_new_config();

    EventLoop& loop_;
    Settings settings_;
    RolePart* part_ = nullptr;
    Phase phase_ = Phase::starting;
    Instant started_at_;
    Instant ready_at_{};
    bool listened_before_ = false;
    std::optional<Error> error_;
    std::vector<bool> drained_;
    std::vector<Listeners::Command> listen_again_;
    std::optional<SocketFile> admin_file_;
    std::unique_ptr<AdminServer> admin_;
    std::unique_ptr<MetricsServer> metrics_;
    LiveConfig live_;
    DrainWatchers drain_watchers_;
    Instant drain_deadline_{};
    bool drain_signalled_ = false;
    uint64_t streams_left_ = 0;  // when it was last looked while draining
    uint64_t streams_cut_ = 0;
    Listeners listeners_;
    Supervisor supervisor_;
    Timer listen_timer_;
    Timer grace_timer_;
    Timer drain_timer_;
    std::vector<std::unique_ptr<SignalWatch>> signals_;
};

}  // namespace qanat::controlplane
