#include "controlplane/app/daemon.h"

#include <signal.h>

#include <algorithm>
#include <cerrno>
#include <utility>

#include "common/base/log.h"

namespace qanat::controlplane {
Daemon::Daemon(EventLoop& loop, Settings settings)
    : loop_(loop),
      settings_(std::move(settings)),
      started_at_(EventLoop::now()),
      live_(settings_.role, settings_.config, settings_.key_fingerprint, settings_.environment, settings_.read_config),
      listeners_(settings_.listeners),
      supervisor_(loop, settings_.data_plane_program, settings_.bootstrap,
                  {
                      .on_ready = [this] { on_ready(); },
                      .on_event = [this](uint32_t engine, const ring::MessageView& event) { on_event(engine, event); },
                      .on_lost = [this] { on_lost(); },
                      .on_start_failed = [this](std::string message) { abort_start(std::move(message)); },
                      .on_stopped =
                          [this](bool) {
                              drain_watchers_.finish(streams_cut_);
                              part_->finish([this] { loop_.stop(); });
                          },
                  }),
      listen_timer_(loop, [this] { send(std::exchange(listen_again_, {})); }),
      grace_timer_(loop,
                   [this] {
                       log_warn("streams are left after the grace time, cutting them", {{"streams", streams_active()}});
                       stop();
                   }),
      drain_timer_(loop, [this] { tell_drain_watchers(); }) {}

Daemon::~Daemon() = default;

StreamLoad Daemon::stream_load() const {
    StreamLoad load;
    for (uint32_t engine = 0; engine < supervisor_.engines(); ++engine) {
        const ring::EngineCounters& counters = supervisor_.counters(engine);
        load.active += counters.streams_active.load(std::memory_order_relaxed);
        load.max += counters.streams_max.load(std::memory_order_relaxed);
    }
    return load;
}

Result<void> Daemon::run(RolePart& part) {
    part_ = &part;
    auto file = SocketFile::open(settings_.config.admin, settings_.role, settings_.environment);
    if (!file) return tl::unexpected(file.error());
    admin_file_.emplace(std::move(*file));
    if (!admin_file_->warning().empty())
        log_warn("the default admin socket is taken", {{"detail", admin_file_->warning()}});
    admin_ = std::make_unique<AdminServer>(
        loop_, admin_file_->fd(),
        [this](const Json::Value& request, const AdminServer::Reply& reply) { answer(request, reply); });
    auto metrics = open_metrics(settings_.config);
    if (!metrics) return tl::unexpected(metrics.error());
    metrics_ = std::move(*metrics);

    signals_.push_back(std::make_unique<SignalWatch>(loop_, SIGTERM, [this] { on_signal("SIGTERM"); }));
    signals_.push_back(std::make_unique<SignalWatch>(loop_, SIGINT, [this] { on_signal("SIGINT"); }));
    signals_.push_back(std::make_unique<SignalWatch>(loop_, SIGHUP, [this] { (void)reload(); }));

    if (auto started = supervisor_.start(); !started) return started;
    loop_.run();
    metrics_.reset();
    admin_.reset();
    admin_file_.reset();
    signals_.clear();
    part_ = nullptr;
    if (error_) return tl::unexpected(*error_);
    log_info("stopped");
    return {};
}

void Daemon::on_ready() {
    ready_at_ = EventLoop::now();
    part_->send_state();
    send(listeners_.start(supervisor_.engines()));
}

void Daemon::on_event(uint32_t engine, const ring::MessageView& event) {
    if (event.type() == ring::MessageType::listen_result)
        on_listen_result(engine, event.get<ring::ListenResult>());
    else if (event.type() == ring::MessageType::drained)
        on_drained(engine);
    else
        part_->on_event(engine, event);
}

void Daemon::on_listen_result(uint32_t engine, const ring::ListenResult& result) {
    std::vector<Listeners::Command> commands;
    const Listeners::Progress progress = listeners_.on_result(engine, result, commands);
    send(commands);
    switch (progress) {
        case Listeners::Progress::waiting:
            return;
        case Listeners::Progress::stray:
            return supervisor_.end_data_plane("a listen result that nobody asked for");
        case Listeners::Progress::failed:
            return on_listen_failure();
        case Listeners::Progress::listening:
            break;
    }
    if (phase_ == Phase::starting) {
        phase_ = Phase::serving;
        log_info("data plane ready", {{"pid", supervisor_.pid()},
                                      {"engines", supervisor_.engines()},
                                      {"memory_budget_mib", supervisor_.memory_budget() >> 20},
                                      {"features", supervisor_.features()}});
    }
    listened_before_ = true;
    part_->on_listening();
}

void Daemon::on_listen_failure() {
    const Duration patience = listened_before_ ? kListenPatienceAtRestart : kListenPatienceAtStart;
    if (listeners_.failure()->error == EADDRINUSE && EventLoop::now() - ready_at_ < patience) {
        listen_again_.push_back(listeners_.retry());
        listen_timer_.start(kListenRetry);
        return;
    }
    const std::string message = listeners_.describe_failure();
    if (listened_before_)
        supervisor_.end_data_plane(message);
    else
        abort_start(message);
}

void Daemon::on_lost() {
    listen_timer_.cancel();
    listen_again_.clear();
    part_->on_lost();
    // Nothing is left that could be drained.
    if (phase_ == Phase::draining) {
        streams_cut_ = streams_left_;
        stop();
    }
}

void Daemon::on_drained(uint32_t engine) {
    if (phase_ != Phase::draining || engine >= drained_.size()) return;
    drained_[engine] = true;
    log_debug("engine drained", {{"engine", engine}});
    if (std::all_of(drained_.begin(), drained_.end(), [](bool drained) { return drained; })) stop();
}

void Daemon::on_signal(const char* name) {
    switch (phase_) {
        case Phase::starting:
            log_info("stopping", {{"signal", name}});
            return stop();
        case Phase::serving:
            log_info("draining", {{"signal", name}});
            drain_signalled_ = true;
            return begin_drain(live_.current().data_plane.shutdown_grace);
        case Phase::draining:
            if (!std::exchange(drain_signalled_, true)) {
                log_info("draining", {{"signal", name}});
                return shorten_drain(live_.current().data_plane.shutdown_grace);
            }
            log_warn("stopping at once", {{"signal", name}});
            return stop();
        case Phase::stopping:
            return supervisor_.stop_now();
    }
}

void Daemon::begin_drain(Duration grace) {
    if (supervisor_.engines() == 0) return stop();
    phase_ = Phase::draining;
    drain_deadline_ = EventLoop::now() + grace;
    streams_left_ = streams_active();
    drained_.assign(supervisor_.engines(), false);
    part_->on_draining();
    port().send_all(ring::Drain{});
    grace_timer_.start(grace);
    drain_timer_.start_every(DrainWatchers::kInterval);
}

void Daemon::shorten_drain(Duration grace) {
    drain_deadline_ = std::min(drain_deadline_, EventLoop::now() + grace);
    grace_timer_.start_at(drain_deadline_);
}

void Daemon::stop() {
    // Without an engine the data plane is lost, and on_lost() has counted.
    if (supervisor_.engines() != 0) streams_cut_ = streams_active();
    phase_ = Phase::stopping;
    grace_timer_.cancel();
    drain_timer_.cancel();
    listen_timer_.cancel();
    supervisor_.stop();
}

void Daemon::abort_start(std::string message) {
    if (!error_) error_ = Error{std::move(message)};
    stop();
}

void Daemon::send(const std::vector<Listeners::Command>& commands) {
    if (supervisor_.engines() == 0) return;
    for (const Listeners::Command& command : commands) port().send(command.engine, command.listen);
}

}  // namespace qanat::controlplane
