#include "controlplane/app/daemon.h"

#include <json/json.h>
#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <utility>

#include "common/base/log.h"
#include "controlplane/app/engine_report.h"
#include "controlplane/app/process_limits.h"

namespace qanat::controlplane {
namespace {

uint64_t seconds_since(Instant then) {
    return static_cast<uint64_t>(std::chrono::duration_cast<std::chrono::seconds>(EventLoop::now() - then).count());
}

std::string to_line(const Json::Value& value) {
    Json::StreamWriterBuilder builder;
    builder["indentation"] = "";
    builder["precisionType"] = "decimal";
    builder["precision"] = 3;
    return Json::writeString(builder, value);
}

}  // namespace

Daemon::Daemon(EventLoop& loop, Settings settings)
    : loop_(loop),
      settings_(std::move(settings)),
      started_at_(EventLoop::now()),
      listeners_(settings_.listeners),
      supervisor_(loop, settings_.data_plane_program, settings_.bootstrap,
                  {
                      .on_ready = [this] { on_ready(); },
                      .on_event = [this](uint32_t engine, const ring::MessageView& event) { on_event(engine, event); },
                      .on_lost = [this] { on_lost(); },
                      .on_start_failed = [this](std::string message) { abort_start(std::move(message)); },
                      .on_stopped = [this](bool) { loop_.stop(); },
                  }),
      listen_timer_(loop, [this] { send(std::exchange(listen_again_, {})); }),
      grace_timer_(loop, [this] {
          log_warn("streams are left after the grace time, cutting them", {});
          stop();
      }) {}

Daemon::~Daemon() = default;

Result<void> Daemon::run(RolePart& part) {
    part_ = &part;
    auto file = SocketFile::open(settings_.config.admin, settings_.role, settings_.environment);
    if (!file) return tl::unexpected(file.error());
    admin_file_.emplace(std::move(*file));
    if (!admin_file_->warning().empty())
        log_warn("the default admin socket is taken", {{"detail", admin_file_->warning()}});
    admin_ = std::make_unique<AdminServer>(loop_, admin_file_->fd(),
                                           [this](const std::string& command) { return answer(command); });

    signals_.push_back(std::make_unique<SignalWatch>(loop_, SIGTERM, [this] { on_signal("SIGTERM"); }));
    signals_.push_back(std::make_unique<SignalWatch>(loop_, SIGINT, [this] { on_signal("SIGINT"); }));
    signals_.push_back(std::make_unique<SignalWatch>(
        loop_, SIGHUP, [] { log_warn("SIGHUP is ignored: this version reads its configuration at start only"); }));

    if (auto started = supervisor_.start(); !started) return started;
    loop_.run();
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
    if (phase_ == Phase::draining) stop();
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
            return begin_drain();
        case Phase::draining:
            log_warn("stopping at once", {{"signal", name}});
            return stop();
        case Phase::stopping:
            return supervisor_.stop_now();
    }
}

void Daemon::begin_drain() {
    if (supervisor_.engines() == 0) return stop();
    phase_ = Phase::draining;
    drained_.assign(supervisor_.engines(), false);
    part_->on_draining();
    port().send_all(ring::Drain{});
    grace_timer_.start(settings_.config.data_plane.shutdown_grace);
}

void Daemon::stop() {
    phase_ = Phase::stopping;
    grace_timer_.cancel();
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

std::string Daemon::answer(const std::string& command) const {
    if (command == "status") return to_line(status());
    Json::Value error;
    error["error"] = "unknown command: this version knows \"status\"";
    return to_line(error);
}

Json::Value Daemon::status() const {
    Json::Value status;
    status["role"] = std::string(name_of(settings_.role));
    status["ready"] = phase_ == Phase::serving && supervisor_.engines() > 0 && listeners_.listening();
    status["draining"] = phase_ == Phase::draining || phase_ == Phase::stopping;
    status["id"] = settings_.id;
    status["version"] = QANAT_VERSION;
    status["pid"] = Json::Int64{::getpid()};
    status["uptime_seconds"] = Json::UInt64{seconds_since(started_at_)};
    Json::Value& listen = status["listen"] = Json::Value(Json::arrayValue);
    for (const wire::Endpoint& address : listeners_.addresses()) listen.append(address.format());
    status["admin"] = admin_file_ ? admin_file_->path() : "";

    Json::Value& data_plane = status["data_plane"];
    data_plane["pid"] = Json::Int64{supervisor_.pid()};
    data_plane["restarts"] = Json::UInt64{supervisor_.restarts()};
    data_plane["engines"] = supervisor_.engines();
    data_plane["features"] = supervisor_.features();
    data_plane["memory_budget_bytes"] = Json::UInt64{supervisor_.memory_budget()};

    Json::Value& engines = status["engines"] = Json::Value(Json::arrayValue);
    for (uint32_t i = 0; i < supervisor_.engines(); ++i) engines.append(report_engine(supervisor_.counters(i)));
    report_totals(engines, status);

    const ring::DataPlaneLimits& limits = settings_.bootstrap.limits;
    status["limits"]["streams"] = limits.streams;
    status["limits"]["sessions"] = limits.sessions;
    status["limits"]["unauthenticated"] = limits.unauthenticated;
    status["limits"]["resolver_queries"] = settings_.config.limits.resolver_queries;

    Json::Value& descriptors = status["file_descriptors"];
    descriptors["limit"] = Json::UInt64{descriptor_limit()};
    if (const auto used = count_descriptors(::getpid())) descriptors["control_plane"] = Json::UInt64{*used};
    if (const auto used = supervisor_.pid() != 0 ? count_descriptors(supervisor_.pid()) : std::nullopt)
        descriptors["data_plane"] = Json::UInt64{*used};
    if (part_ != nullptr) part_->report(status);
    return status;
}

}  // namespace qanat::controlplane
