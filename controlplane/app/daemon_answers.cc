// What operators ask of a running daemon: status, peers, explain, reload, drain, and its metrics.
#include <unistd.h>

#include <algorithm>
#include <utility>

#include "common/base/log.h"
#include "controlplane/admin/operator_commands.h"
#include "controlplane/app/daemon.h"
#include "controlplane/app/engine_report.h"
#include "controlplane/app/json_line.h"
#include "controlplane/app/process_limits.h"
#include "controlplane/config/addresses.h"
#include "controlplane/config/checks.h"
#include "controlplane/metrics/engine_metrics.h"
#include "controlplane/metrics/process_metrics.h"

namespace qanat::controlplane {
namespace {

uint64_t seconds_since(Instant then) {
    return static_cast<uint64_t>(std::chrono::duration_cast<std::chrono::seconds>(EventLoop::now() - then).count());
}

Json::Value list_of_names(const std::vector<std::string>& names) {
    Json::Value list(Json::arrayValue);
    for (const std::string& name : names) list.append(name);
    return list;
}

}  // namespace

void Daemon::answer(const Json::Value& request, const AdminServer::Reply& reply) {
    const std::string command = request["cmd"].asString();
    log_debug("asked on the admin socket", {{"command", command}});
    if (command == "status") return reply.finish(to_line(status()));
    if (command == "peers") return answer_peers(reply);
    if (command == "explain") return answer_explain(request, reply);
    if (command == "drain") return answer_drain(request, reply);
    if (command == "reload") {
        const auto reloaded = reload();
        return reply.finish(reloaded ? to_line(*reloaded) : error_line_of(reloaded.error().message));
    }
    reply.finish(error_line_of("unknown command: this version knows status, peers, explain, reload and drain"));
}

void Daemon::answer_peers(const AdminServer::Reply& reply) const {
    Json::Value answer;
    answer["role"] = std::string(name_of(settings_.role));
    answer["id"] = settings_.id;
    Json::Value& peers = answer["peers"] = Json::Value(Json::arrayValue);
    part_->list_peers(peers);
    reply.finish(to_line(answer));
}

void Daemon::answer_explain(const Json::Value& request, const AdminServer::Reply& reply) {
    if (!request["target"].isString()) return reply.finish(error_line_of("target: write HOST:PORT"));
    const auto target = parse_target(request["target"].asString());
    if (!target) return reply.finish(error_line_of("target: " + target.error().message));
    part_->explain(*target, [reply, name = target->format()](Json::Value answer) {
        if (!answer.isMember("target")) answer["target"] = name;
        reply.finish(to_line(answer));
    });
}

void Daemon::answer_drain(const Json::Value& request, const AdminServer::Reply& reply) {
    const Json::Value& timeout = request["timeout_ms"];
    const auto longest = Json::Int64{std::chrono::duration_cast<Duration>(kDrainTimeMax).count()};
    if (!timeout.isNull() && (!timeout.isInt64() || timeout.asInt64() < 0 || timeout.asInt64() > longest))
        return reply.finish(error_line_of("timeout_ms: write a number from 0 to " + std::to_string(longest)));
    drain_watchers_.add(reply);
    switch (phase_) {
        case Phase::starting:
            log_info("stopping", {{"reason", "qanat drain"}});
            return stop();
        case Phase::serving: {
            const Duration grace =
                timeout.isNull() ? live_.current().data_plane.shutdown_grace : Duration(timeout.asInt64());
            log_info("draining", {{"reason", "qanat drain"}, {"timeout", format_duration(grace)}});
            begin_drain(grace);
            break;
        }
        case Phase::draining:
        case Phase::stopping:
            break;
    }
    if (phase_ == Phase::draining) tell_drain_watchers();
}

void Daemon::tell_drain_watchers() {
    // While the data plane is lost, what was known before is what will be cut.
    if (supervisor_.engines() != 0) streams_left_ = streams_active();
    drain_watchers_.tell(streams_left_, drain_seconds_left());
}

uint64_t Daemon::streams_active() const {
    uint64_t active = 0;
    for (uint32_t i = 0; i < supervisor_.engines(); ++i)
        active += supervisor_.counters(i).streams_active.load(std::memory_order_relaxed);
    return active;
}

std::optional<uint64_t> Daemon::drain_seconds_left() const {
    if (phase_ != Phase::draining) return std::nullopt;
    const auto left = std::chrono::ceil<std::chrono::seconds>(drain_deadline_ - EventLoop::now());
    return static_cast<uint64_t>(std::max<int64_t>(left.count(), 0));
}

Result<Json::Value> Daemon::reload() {
    const auto outcome = apply_new_config();
    if (!outcome) {
        log_error("not reloaded, everything stays as it was", {{"error", outcome.error().message}});
        return tl::unexpected(outcome.error());
    }
    Json::Value answer;
    answer["applied"] = list_of_names(outcome->applied);
    answer["needs_restart"] = list_of_names(outcome->needs_restart);
    log_info(describe_reload(answer));
    return answer;
}

Result<ReloadOutcome> Daemon::apply_new_config() {
    if (phase_ == Phase::draining || phase_ == Phase::stopping)
        return fail("this program is about to end: its configuration is not read any more");
    auto candidate = live_.read();
    if (!candidate) return tl::unexpected(candidate.error());
    const Config& next = candidate->config;
    // What can fail comes first.
    const bool moves_metrics = next.metrics != live_.current().metrics;
    if (moves_metrics) {
        auto opened = open_metrics(next);
        if (!opened) return tl::unexpected(opened.error());
        metrics_ = std::move(*opened);
    }
    if (next.log != live_.current().log) {
        start_log({.component = "control", .level = next.log.level, .format = next.log.format});
        supervisor_.set_log(next.log.level, next.log.format);
    }
    const std::vector<std::string> later = part_->reload(next);
    for (const std::string& warning : config_warnings(next, settings_.role))
        log_warn("check the configuration", {{"detail", warning}});
    return live_.adopt(std::move(*candidate), later);
}

Result<std::unique_ptr<MetricsServer>> Daemon::open_metrics(const Config& config) {
    if (!config.metrics.listen) return std::unique_ptr<MetricsServer>();
    auto server = MetricsServer::open(loop_, *config.metrics.listen, [this](MetricsPage& page) { collect(page); });
    if (server) log_info("serving metrics", {{"url", "http://" + (*server)->address().format() + "/metrics"}});
    return server;
}

void Daemon::collect(MetricsPage& page) const {
    ProcessSample process;
    process.version = QANAT_VERSION;
    process.role = name_of(settings_.role);
    process.uptime_seconds = seconds_since(started_at_);
    process.ready = phase_ == Phase::serving && supervisor_.engines() > 0 && listeners_.listening();
    process.draining = phase_ == Phase::draining || phase_ == Phase::stopping;
    process.data_plane_restarts = supervisor_.restarts();
    process.memory_budget_bytes = supervisor_.memory_budget();
    process.descriptors_max = descriptor_limit();
    process.control_plane_descriptors = count_descriptors(::getpid());
    if (supervisor_.pid() != 0) process.data_plane_descriptors = count_descriptors(supervisor_.pid());
    add_process_metrics(page, process);

    std::vector<EngineSample> engines;
    for (uint32_t i = 0; i < supervisor_.engines(); ++i) {
        const RingDepths depths = supervisor_.depths(i);
        engines.push_back({&supervisor_.counters(i), depths.commands, depths.events});
    }
    add_engine_metrics(page, engines);
    if (part_ != nullptr) part_->collect(page);
}

Json::Value Daemon::status() const {
    Json::Value status;
    status["role"] = std::string(name_of(settings_.role));
    status["ready"] = phase_ == Phase::serving && supervisor_.engines() > 0 && listeners_.listening();
    status["draining"] = phase_ == Phase::draining || phase_ == Phase::stopping;
    if (const auto left = drain_seconds_left()) {
        status["drain"]["seconds_left"] = Json::UInt64{*left};
        status["drain"]["streams"] = Json::UInt64{streams_active()};
    }
    status["id"] = settings_.id;
    status["version"] = QANAT_VERSION;
    status["pid"] = Json::Int64{::getpid()};
    status["uptime_seconds"] = Json::UInt64{seconds_since(started_at_)};
    Json::Value& listen = status["listen"] = Json::Value(Json::arrayValue);
    for (const wire::Endpoint& address : listeners_.addresses()) listen.append(address.format());
    status["admin"] = admin_file_ ? admin_file_->path() : "";
    if (metrics_) status["metrics"] = metrics_->address().format();

    Json::Value& data_plane = status["data_plane"];
    data_plane["pid"] = Json::Int64{supervisor_.pid()};
    data_plane["restarts"] = Json::UInt64{supervisor_.restarts()};
    data_plane["engines"] = supervisor_.engines();
    data_plane["features"] = supervisor_.features();
    data_plane["memory_budget_bytes"] = Json::UInt64{supervisor_.memory_budget()};

    Json::Value& engines = status["engines"] = Json::Value(Json::arrayValue);
    OpenLatency latency;
    for (uint32_t i = 0; i < supervisor_.engines(); ++i) {
        engines.append(report_engine(supervisor_.counters(i)));
        latency.add(supervisor_.counters(i));
    }
    report_totals(engines, status);
    latency.report(status["open_latency"]);

    const ring::DataPlaneLimits& limits = settings_.bootstrap.limits;
    status["limits"]["streams"] = limits.streams;
    status["limits"]["sessions"] = limits.sessions;
    status["limits"]["unauthenticated"] = limits.unauthenticated;
    status["limits"]["resolver_queries"] = live_.current().limits.resolver_queries;

    Json::Value& descriptors = status["file_descriptors"];
    descriptors["limit"] = Json::UInt64{descriptor_limit()};
    if (const auto used = count_descriptors(::getpid())) descriptors["control_plane"] = Json::UInt64{*used};
    if (const auto used = supervisor_.pid() != 0 ? count_descriptors(supervisor_.pid()) : std::nullopt)
        descriptors["data_plane"] = Json::UInt64{*used};
    if (part_ != nullptr) part_->report(status);
    return status;
}

}  // namespace qanat::controlplane
