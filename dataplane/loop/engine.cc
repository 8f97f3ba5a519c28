#include "dataplane/loop/engine.h"

#include <poll.h>
#include <sched.h>
#include <time.h>

#include <algorithm>
#include <array>
#include <string>

#include "common/base/log.h"

namespace qanat::dataplane {
namespace {

constexpr size_t kBatch = 256;
// Upper bound of a sleep: a look at the ring even if a wake-up were lost, and at the termination flag.
constexpr uint64_t kSleepMaxNs = 1'000'000'000;

uint64_t monotonic_ns() {
    timespec now{};
    ::clock_gettime(CLOCK_MONOTONIC, &now);
    return static_cast<uint64_t>(now.tv_sec) * 1'000'000'000 + static_cast<uint64_t>(now.tv_nsec);
}

constexpr Token kCommandsToken{.kind = OpKind::commands, .lane = 0, .generation = 0, .slot = 0};
constexpr Token kLifelineToken{.kind = OpKind::commands, .lane = 1, .generation = 0, .slot = 0};

}  // namespace

Engine::Engine(const EngineOptions& options, SessionRegistry& registry, ring::EngineSection& section,
               ring::Receiver commands, ring::EventSender events)
    : options_(options),
      registry_(registry),
      commands_(std::move(commands)),
      events_(std::move(events)),
      counters_(section.counters),
      timers_(monotonic_ns()),
      chunks_(options.chunks),
      sessions_(options.limits.sessions),
      services_{.io = io_,
                .timers = timers_,
                .chunks = chunks_,
                .keys = keys_,
                .burst = burst_,
                .events = events_,
                .counters = counters_,
                .sessions = sessions_,
                .plan = plan_,
                .policy = policy_,
                .users = users_,
                .limits = options_.limits,
                .header_key = header_key_,
                .drain_commands = [this] { apply_commands(); },
                .now_ns = monotonic_ns()},
      table_(services_),
      relaying_(services_, table_),
      discarding_(services_, table_),
      client_(services_, table_, relaying_, discarding_),
      control_(services_, options.limits.sessions, options.limits.unauthenticated),
      dialing_(services_, table_, relaying_, discarding_),
      exit_(services_, table_, discarding_, dialing_, options.unauthenticated_timeout_ns,
            [this](UniqueFd fd, Bytes first_message, uint64_t deadline_ns) {
                return control_.adopt(std::move(fd), first_message, deadline_ns);
            }),
      listeners_(services_, [this](ring::ListenerKind kind, UniqueFd fd) { accept(kind, std::move(fd)); }) {
    counters_.streams_max.store(options.limits.streams, std::memory_order_relaxed);
    counters_.unauthenticated_max.store(options.limits.unauthenticated, std::memory_order_relaxed);
    counters_.sessions_max.store(options.limits.sessions, std::memory_order_relaxed);
    counters_.buffers_max.store(options.chunks, std::memory_order_relaxed);
}

Result<void> Engine::open() {
    if (auto opened = io_.open(); !opened) return opened;
    io_.poll_multishot(commands_.event_fd(), kCommandsToken);
    io_.poll(options_.lifeline, POLLHUP | POLLRDHUP, kLifelineToken);
    return {};
}

void Engine::run() {
    while (!finished()) turn();
    // Streams that are left (SIGTERM without a control plane) must not look as if they had come to their end.
    table_.finish_all(ring::EndReason::drained);
    table_.sweep();
    // Cancellations that were asked for in the last turn go out, or the kernel would keep listeners alive.
    std::array<Completion, kBatch> completions;
    io_.wait(completions, 0);
}

bool Engine::finished() const {
    if (stopping_) return table_.active() == 0 && control_.active() == 0;
    if (!orphaned_) return false;
    return table_.active() == 0 || options_.terminate->load(std::memory_order_relaxed);
}

void Engine::turn() {
    fire_timers();
    bool more = relaying_.run_ready();
    if (table_.sweep()) more = true;  // its cancellations and closes should not wait

    if (services_.draining && !drained_reported_ && table_.active() == 0)
        drained_reported_ = services_.report(ring::Drained{});
    events_.flush();

    uint64_t timeout_ns = 0;
    if (!more && !options_.busy_poll && (link_broken_ || commands_.prepare_to_sleep())) {
        const uint64_t next = timers_.next_ns();
        const uint64_t now = monotonic_ns();
        timeout_ns = next > now ? std::min(next - now, kSleepMaxNs) : 0;
    }
    std::array<Completion, kBatch> completions;
    const size_t count = io_.wait(completions, timeout_ns);
    // Whoever shares this core (the other end of a chain, in a test) gets it between two looks.
    if (options_.busy_poll && count == 0) ::sched_yield();
    services_.now_ns = monotonic_ns();
    apply_commands();  // first: a stream that arrives after a new plan must be routed by it
    for (size_t i = 0; i < count; ++i) dispatch(completions[i]);
    table_.sweep();
    publish_gauges();
}

void Engine::apply_commands() {
    if (applying_ || link_broken_) return;  // asked for by a stream that a command has just moved
    applying_ = true;
    while (true) {
        auto message = commands_.next();
        if (!message) {
            // A control plane that breaks the contract is not obeyed any further; streams go on.
            link_broken_ = true;
            log_error("the control plane broke the ring contract", {{"fault", ring::describe(message.error())}});
            lose_control_plane();
            break;
        }
        if (!*message) break;
        apply(**message);
    }
    applying_ = false;
}

void Engine::apply(const ring::MessageView& message) {
    using ring::MessageType;
    switch (message.type()) {
        case MessageType::listen:
            return listeners_.open(message.get<ring::Listen>());
        case MessageType::install_session:
            return install(message.get<ring::InstallSession>());
        case MessageType::remove_session: {
            const uint64_t id = message.get<ring::RemoveSession>().session_id;
            if (sessions_.remove(id)) client_.on_session_removed(id);
            return;
        }
        case MessageType::node_keys:
            header_key_ = message.get<ring::NodeKeys>().header_key;
            return;
        case MessageType::plan_part:
            if (plan_.apply(message.get<ring::PlanPart>()) == PartOutcome::complete) client_.on_routes_changed();
            return;
        case MessageType::policy_part:
            policy_.apply(message.get<ring::PolicyPart>());
            return;
        case MessageType::users:
            users_ = Socks5Users(message.get<ring::Users>());
            return;
        case MessageType::resolve_result:
            return dialing_.on_resolved(message.get<ring::ResolveResult>());
        case MessageType::control_connect:
            return control_.connect(message.get<ring::ControlConnect>());
        case MessageType::control_send:
            return control_.send(message.get<ring::ControlSend>());
        case MessageType::control_close:
            return control_.close(message.get<ring::ControlClose>());
        case MessageType::drain:
            return drain();
        case MessageType::stop:
            stopping_ = true;
            drain();
            control_.close_all();
            return table_.finish_all(ring::EndReason::drained);
        case MessageType::settings:
            services_.stream_events = message.get<ring::Settings>().stream_events != 0;
            return;
        default:
            return;  // events do not come this way; the receiver has refused them
    }
}

void Engine::install(const ring::InstallSession& command) {
    auto session = registry_.acquire(command);
    if (session == nullptr || !sessions_.install(std::move(session))) {
        log_warn("a session was not installed", {{"sessions", sessions_.size()}, {"limit", sessions_.capacity()}});
        return;
    }
    client_.on_routes_changed();
}

void Engine::fire_timers() {
    services_.now_ns = monotonic_ns();
    while (Timer* timer = timers_.expired(services_.now_ns)) {
        switch (timer->kind) {
            case Timer::Kind::stream:
                on_stream_timer(*static_cast<Stream*>(timer->owner));
                break;
            case Timer::Kind::control:
                control_.on_timer(*timer);
                break;
            case Timer::Kind::listener:
                listeners_.on_timer(*timer);
                break;
        }
    }
}

void Engine::on_stream_timer(Stream& stream) {
    switch (stream.phase) {
        case Phase::socks:
        case Phase::hop_wait:
        case Phase::hop_connect:
        case Phase::hop_response:
            return client_.on_timer(stream);
        case Phase::first_flight:
        case Phase::parked:
            return exit_.on_timer(stream);
        case Phase::resolving:
        case Phase::dialing:
            return dialing_.on_timer(stream);
        case Phase::relaying:
            return relaying_.on_timer(stream);
        case Phase::discarding:
            return discarding_.on_timer(stream);
        case Phase::closing:
            return;
    }
}

void Engine::dispatch(const Completion& completion) {
    switch (completion.token.kind) {
        case OpKind::accept:
            return listeners_.on_completion(completion);
        case OpKind::commands:
            if (completion.token.lane == kLifelineToken.lane) return lose_control_plane();
            commands_.drain_eventfd();
            if (!completion.more) io_.poll_multishot(commands_.event_fd(), kCommandsToken);
            return;
        case OpKind::control_in:
            return control_.on_in(completion);
        case OpKind::control_out:
            return control_.on_out(completion);
        case OpKind::seal:
        case OpKind::open:
        case OpKind::watch:
        case OpKind::dial:
            return dispatch_stream(completion);
        case OpKind::none:
            return;
    }
}

void Engine::dispatch_stream(const Completion& completion) {
    Stream* stream = table_.find(completion.token.slot, completion.token.generation);
    if (stream == nullptr || !table_.take(*stream, completion)) return;
    const OpKind kind = completion.token.kind;
    if (kind == OpKind::dial) return dialing_.on_dial_ready(*stream, completion.token.lane);
    switch (stream->phase) {
        case Phase::socks:
            return client_.on_plain_ready(*stream);
        case Phase::hop_wait:
        case Phase::hop_connect:
        case Phase::hop_response:
            if (kind == OpKind::watch) return client_.on_watch(*stream, completion.result);
            return client_.on_tunnel_ready(*stream);
        case Phase::first_flight:
        case Phase::parked:
            return exit_.on_tunnel_ready(*stream);
        case Phase::relaying:
            if (kind == OpKind::watch) return relaying_.on_watch(*stream, completion.token.lane, completion.result);
            return relaying_.on_ready(*stream, kind == OpKind::seal ? kSealLane : kOpenLane, completion.result);
        case Phase::discarding:
            if (kind == OpKind::watch) return;  // it reads now
            return kind == OpKind::seal ? discarding_.on_plain_ready(*stream) : discarding_.on_tunnel_ready(*stream);
        case Phase::resolving:
        case Phase::dialing:
            return dialing_.on_watch(*stream, completion.result);
        case Phase::closing:
            return;
    }
}

void Engine::accept(ring::ListenerKind kind, UniqueFd fd) {
    kind == ring::ListenerKind::socks ? client_.on_accept(std::move(fd)) : exit_.on_accept(std::move(fd));
}

void Engine::drain() {
    services_.draining = true;
    listeners_.close_all();
    // Connections that have not said who they are have no stream to finish.
    while (Stream* stream = table_.unauthenticated.front())
        table_.finish(*stream, ring::EndReason::unauthenticated, PlainEnd::close);
    exit_.end_parked();
}

void Engine::lose_control_plane() {
    if (orphaned_ || stopping_) return;
    orphaned_ = true;
    // The ports must be free for the next control plane's engines; established streams go on to their end.
    drain();
    control_.close_all();
    log_warn("the control plane is gone: finishing the streams that are open",
             {{"engine", options_.index}, {"streams", table_.active()}});
}

void Engine::publish_gauges() {
    counters_.buffers_used.store(chunks_.used(), std::memory_order_relaxed);
    counters_.sessions_active.store(sessions_.size(), std::memory_order_relaxed);
    ring::add(counters_.loops);
}

}  // namespace qanat::dataplane
