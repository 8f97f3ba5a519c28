#include "dataplane/loop/engine.h"

#include <poll.h>
#include <sched.h>
#include <time.h>

#include <algorithm>
#include <array>
#include <string>
#include <utility>

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

constexpr uint64_t kNodeStatsEveryNs = 1'000'000'000;
// Statistics leave this much of the ring to what cannot wait.
constexpr uint32_t kNodeStatsRingReserve = 256;

constexpr Token kCommandsToken{.kind = OpKind::commands, .lane = 0, .generation = 0, .slot = 0};
constexpr Token kInboxToken{.kind = OpKind::inbox, .lane = 0, .generation = 0, .slot = 0};
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
      pipes_(options.relay.pipes, RelayRole::kPipeBytes),
      sessions_(options.limits.sessions),
      services_{.io = io_,
                .timers = timers_,
                .chunks = chunks_,
                .pipes = pipes_,
                .keys = keys_,
                .burst = burst_,
                .events = events_,
                .counters = counters_,
                .sessions = sessions_,
                .plan = plan_,
                .node_stats = node_stats_,
                .policy = policy_,
                .users = users_,
                .limits = options_.limits,
                .relay = options_.relay,
                .header_key = header_key_,
                .drain_commands = [this] { apply_commands(); },
                .now_ns = monotonic_ns()},
      table_(services_),
      waits_(services_, table_),
      relaying_(services_, table_, waits_,
                [this](Stream& stream) {
                    stream.side == StreamSide::client ? pool_.take_back(stream) : exit_.take_back(stream);
                }),
      discarding_(services_, table_),
      responding_(services_, table_, discarding_),
      kept_(services_, table_, options.descriptors),
      punching_(services_,
                {.on_punched = [this](uint32_t node, UniqueFd fd,
                                      uint64_t begun_ns) { punched_.on_punched(node, std::move(fd), begun_ns); },
                 .on_failed = [this](uint32_t node, PunchFailure why) { punched_.on_punch_failed(node, why); },
                 .accept = [this](UniqueFd fd) { exit_.on_accept(std::move(fd)); }}),
      punched_(services_, kept_, punching_),
      pool_(services_, kept_, punched_),
      client_(services_, table_, relaying_, discarding_, pool_),
      control_(services_, options.limits.sessions, options.limits.unauthenticated),
      dialing_(services_, table_, relaying_, responding_),
      offered_(services_, table_, responding_),
      splicing_(services_, table_, waits_),
      forwarding_(services_, table_, responding_, offered_, splicing_),
      exit_(services_, table_, discarding_, responding_, dialing_, forwarding_, offered_,
            options.unauthenticated_timeout_ns,
            [this](UniqueFd fd, Bytes first_message, uint64_t deadline_ns, const ring::RingEndpoint& peer) {
                return control_.adopt(std::move(fd), first_message, deadline_ns, peer);
            }),
      offers_(services_, table_, kept_,
              [this](UniqueFd fd, const std::array<uint8_t, 16>& source, Bytes received) {
                  exit_.adopt(std::move(fd), source, received);
              }),
      listeners_(services_, [this](ring::ListenerKind kind, UniqueFd fd) { accept(kind, std::move(fd)); }) {
    counters_.streams_max.store(options.limits.streams, std::memory_order_relaxed);
    counters_.unauthenticated_max.store(options.limits.unauthenticated, std::memory_order_relaxed);
    counters_.sessions_max.store(options.limits.sessions, std::memory_order_relaxed);
    counters_.buffers_max.store(options.chunks, std::memory_order_relaxed);
    counters_.pipes_max.store(pipes_.capacity(), std::memory_order_relaxed);
}

Result<void> Engine::open() {
    if (auto opened = io_.open(); !opened) return opened;
    io_.poll_multishot(commands_.event_fd(), kCommandsToken);
    io_.poll(options_.lifeline, POLLHUP | POLLRDHUP, kLifelineToken);
    if (options_.relay.members != nullptr) io_.poll_multishot(options_.relay.inbox, kInboxToken);
    return {};
}

std::string Engine::features() const {
    return options_.relay.pipes == 0 ? io_.features() : io_.features() + ", " + pipes_.describe();
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
    bool more = waits_.run_ready([this](Stream& stream, uint8_t lane) {
        stream.phase == Phase::splicing ? splicing_.run(stream, lane) : relaying_.run(stream, lane);
    });
    if (table_.sweep()) more = true;  // its cancellations and closes should not wait

    if (services_.draining && !drained_reported_ && table_.active() == 0)
        drained_reported_ = services_.report(ring::Drained{});
    report_node_stats();
    events_.flush();

    uint64_t timeout_ns = 0;
    if (!more && !options_.busy_poll && (link_broken_ || commands_.prepare_to_sleep())) {
        uint64_t next = timers_.next_ns();
        if (node_stats_.changed()) next = std::min(next, node_stats_due_ns_);
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
    pool_.refill();
    punched_.refill();
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
            const auto& removed = message.get<ring::RemoveSession>();
            const uint64_t id = removed.session_id;
            const bool node_lost = removed.node_lost != 0;
            if (!sessions_.remove(id)) return;
            punched_.on_session_removed(id);
            pool_.on_session_removed(id);  // first: no stream may take what is about to be closed
            client_.on_session_removed(id, node_lost);
            offers_.on_session_removed(id);
            return exit_.on_session_removed(id);
        }
        case MessageType::node_keys:
            header_key_ = message.get<ring::NodeKeys>().header_key;
            return;
        case MessageType::plan_part:
            if (plan_.apply(message.get<ring::PlanPart>()) != PartOutcome::complete) return;
            pool_.on_plan_changed();
            punched_.on_plan_changed();
            return client_.on_routes_changed();
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
            return pool_.set_limits(message.get<ring::Settings>().pool_max,
                                    message.get<ring::Settings>().pool_min_rtt_us);
        case MessageType::offer:
            return offers_.apply(message.get<ring::Offer>());
        case MessageType::relay_settings:
            return set_relaying(message.get<ring::RelaySettings>());
        case MessageType::member_result:
            return forwarding_.on_member(message.get<ring::MemberResult>());
        case MessageType::punch:
            return punching_.apply(message.get<ring::Punch>());
        case MessageType::punch_peer:
            return punching_.apply(message.get<ring::PunchPeer>());
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
    if (command.side == ring::SessionSide::client) node_stats_.identify(command.node, command.peer);
    client_.on_routes_changed();
    pool_.on_session_installed();
    offers_.on_session_installed();
}

void Engine::set_relaying(const ring::RelaySettings& command) {
    const RelayRole& relay = options_.relay;
    services_.relaying = command.enabled != 0 && relay.members != nullptr;
    const bool other_rate =
        std::exchange(services_.relay_byte_rate, command.bytes_per_second) != command.bytes_per_second;
    if (other_rate && relay.members != nullptr) relay.members->forget_rates();
    if (command.enabled != 0 && relay.members == nullptr)
        log_warn("relaying begins when this program is started again: it was not started as a relay", {});
    if (relay.members != nullptr)
        relay.members->set_limits({.streams_max = command.streams_max,
                                   .offers_max = command.offers_max,
                                   .offerers_max = command.members_max});
    if (!services_.relaying) offered_.end_all();
}

void Engine::fire_timers() {
    services_.now_ns = monotonic_ns();
    while (Timer* timer = timers_.expired(services_.now_ns)) {
        switch (timer->kind) {
            case Timer::Kind::stream:
                on_stream_timer(*static_cast<Stream*>(timer->owner));
                break;
            case Timer::Kind::throttle:
                splicing_.on_throttle(*timer);
                break;
            case Timer::Kind::control:
                control_.on_timer(*timer);
                break;
            case Timer::Kind::listener:
                listeners_.on_timer(*timer);
                break;
            case Timer::Kind::pool:
                pool_.on_timer();
                break;
            case Timer::Kind::punched:
                punched_.on_timer();
                break;
            case Timer::Kind::punch:
                punching_.on_timer(*timer);
                break;
            case Timer::Kind::offers:
                offers_.on_timer();
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
        case Phase::pool_connect:
        case Phase::pool_response:
        case Phase::pooled:
            return kept_.on_timer(stream);
        case Phase::forward_wait:
        case Phase::forward_dial:
            return forwarding_.on_timer(stream);
        case Phase::relaying:
            return relaying_.on_timer(stream);
        case Phase::splicing:
            return splicing_.on_timer(stream);
        case Phase::discarding:
            return discarding_.on_timer(stream);
        default:
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
        case OpKind::inbox:
            if (!completion.more) io_.poll_multishot(options_.relay.inbox, kInboxToken);
            return forwarding_.on_inbox();
        case OpKind::punch:
            return punching_.on_ready(completion);
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
        case Phase::pool_connect:
        case Phase::pool_response:
        case Phase::pooled:
            return kept_.on_tunnel_ready(*stream);
        case Phase::relaying:
            if (kind == OpKind::watch) return relaying_.on_watch(*stream, completion.token.lane, completion.result);
            return relaying_.on_ready(*stream, kind == OpKind::seal ? kSealLane : kOpenLane, completion.result);
        case Phase::discarding:
            if (kind == OpKind::watch) return;  // it reads now
            return kind == OpKind::seal ? discarding_.on_plain_ready(*stream) : discarding_.on_tunnel_ready(*stream);
        case Phase::resolving:
        case Phase::dialing:
            return dialing_.on_watch(*stream, completion.result);
        case Phase::offered:
            return offered_.on_ready(*stream);
        case Phase::forward_wait:
        case Phase::forward_dial:
            if (kind == OpKind::watch) return forwarding_.on_watch(*stream, completion.result);
            return forwarding_.on_dial_ready(*stream);
        case Phase::splicing:
            if (kind == OpKind::watch) return splicing_.on_watch(*stream, completion.token.lane, completion.result);
            return splicing_.on_ready(*stream, kind == OpKind::seal ? kSealLane : kOpenLane, completion.result);
        default:
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
    pool_.close_all();
    punched_.close_all();
    offers_.close_all();
    forwarding_.end_waiting();
    offered_.end_all();
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

void Engine::report_node_stats() {
    if (!node_stats_.changed() || services_.now_ns < node_stats_due_ns_) return;
    node_stats_due_ns_ = services_.now_ns + kNodeStatsEveryNs;
    node_stats_.report([&](const ring::NodeStats& part) {
        return events_.free_slots() > kNodeStatsRingReserve && events_.send(part);
    });
}

void Engine::publish_gauges() {
    counters_.buffers_used.store(chunks_.used(), std::memory_order_relaxed);
    counters_.pipes_used.store(pipes_.capacity() - pipes_.available(), std::memory_order_relaxed);
    counters_.sessions_active.store(sessions_.size(), std::memory_order_relaxed);
    ring::add(counters_.loops);
}

}  // namespace qanat::dataplane
