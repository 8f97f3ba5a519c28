#include "tests/support/engine_pair.h"

#include <poll.h>
#include <sched.h>
#include <sys/socket.h>

#include <future>
#include <stdexcept>

#include "dataplane/bootstrap/confinement.h"

namespace qanat::dataplane::testing {

namespace {

// ThreadSanitizer knows one descriptor table per process: it takes equal numbers in two tables for one descriptor, and
// their use for a race. With it the threads share a table; everything else is as in the program.
#ifdef __SANITIZE_THREAD__
constexpr bool kOwnDescriptors = false;
#else
constexpr bool kOwnDescriptors = true;
#endif

}  // namespace

ring::DataPlaneLimits small_limits() {
    return {.streams = 256,
            .sessions = 16,
            .unauthenticated = 64,
            .buffer_memory_mb = 0,
            .handshake_timeout_ms = 3000,
            .connect_timeout_ms = 2000,
            .resolve_timeout_ms = 2000};
}

ring::RingEndpoint loopback(uint16_t port) {
    return {.ip = {127, 0, 0, 1}, .port = port, .family = 4, .zero = 0};
}

LoneEngine::LoneEngine(ring::Role role, ring::DataPlaneLimits limits, uint32_t chunks) {
    start(role, limits, chunks, registry_, RelayRole{});
}

LoneEngine::LoneEngine(ring::DataPlaneLimits limits, uint32_t chunks, SessionRegistry& registry,
                       const RelayRole& relay) {
    start(ring::Role::node, limits, chunks, registry, relay);
}

void LoneEngine::start(ring::Role role, ring::DataPlaneLimits limits, uint32_t chunks, SessionRegistry& registry,
                       const RelayRole& relay) {
    region_ = std::make_unique<ring::Region>(std::move(*ring::Region::create(1)));
    int lifeline[2];
    if (::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, lifeline) != 0) throw std::runtime_error("socketpair");
    lifeline_near_.reset(lifeline[0]);
    lifeline_far_.reset(lifeline[1]);
    UniqueFd command_event = std::move(*ring::make_eventfd());
    UniqueFd event_event = std::move(*ring::make_eventfd());
    ring::EngineSection& section = region_->engine(0);
    EngineOptions options;
    options.role = role;
    options.limits = limits;
    options.chunks = chunks;
    options.unauthenticated_timeout_ns = 1'000'000'000;
    options.lifeline = lifeline_near_.get();
    options.terminate = &terminate_;
    options.relay = relay;
    const int command_fd = command_event.get();
    const int event_fd = event_event.get();
    commands_ = std::make_unique<ring::CommandSender>(section.commands, std::move(command_event));
    events_ = std::make_unique<ring::Receiver>(ring::Direction::event, section.events, std::move(event_event), role);

    // Made and destroyed on its own thread, like those of the program: its descriptors are that thread's.
    std::promise<Result<void>> opened;
    auto ready = opened.get_future();
    thread_ = std::thread([&, options, as_in_program = relay.members != nullptr] {
        if (as_in_program && kOwnDescriptors && ::unshare(CLONE_FILES) != 0) throw std::runtime_error("unshare");
        Engine engine(options, registry, section,
                      ring::Receiver(ring::Direction::command, section.commands, UniqueFd(::dup(command_fd)), role),
                      ring::EventSender(section.events, UniqueFd(::dup(event_fd))));
        auto result = engine.open();
        if (result && as_in_program)
            if (auto confined = confine_thread(); !confined) result = tl::unexpected(confined.error());
        const bool good = result.has_value();
        opened.set_value(std::move(result));
        if (good) engine.run();
    });
    if (auto result = ready.get(); !result) throw std::runtime_error(result.error().message);
}

LoneEngine::~LoneEngine() {
    stop();
}

void LoneEngine::stop() {
    if (!thread_.joinable()) return;
    tell(ring::Stop{});
    thread_.join();
}

std::optional<ring::MessageView> LoneEngine::next_event() {
    for (int attempt = 0; attempt < 2; ++attempt) {
        auto message = events_->next();
        if (!message) throw std::runtime_error(ring::describe(message.error()));
        if (*message) return **message;
        if (attempt == 0 && events_->prepare_to_sleep()) {
            pollfd wait{.fd = events_->event_fd(), .events = POLLIN, .revents = 0};
            if (::poll(&wait, 1, 10'000) != 1) throw std::runtime_error("no event within ten seconds");
            events_->drain_eventfd();
        }
    }
    return std::nullopt;
}

uint16_t LoneEngine::listen(ring::ListenerKind kind) {
    tell(ring::Listen{.listener = 1, .kind = kind, .check_exclusive = 1, .zero = 0, .address = loopback(0)});
    const auto result = expect<ring::ListenResult>();
    if (result.error != 0) throw std::runtime_error("listen");
    return result.address.port;
}

EnginePair::EnginePair(crypto::Suite suite, ring::DataPlaneLimits limits, uint32_t chunks)
    : client(ring::Role::client, limits, chunks), exit(ring::Role::node, limits, chunks), suite_(suite) {
    ring::NodeKeys keys{};
    keys.header_key.fill(0x5a);
    exit.tell(keys);
    tunnel_port = exit.listen(ring::ListenerKind::tunnel);
    ring::PolicyPart policy{};
    policy.version = 1;
    policy.total = 1;
    policy.count = 1;
    policy.rules[0] = {.ip = {},
                       .family = 4,
                       .bits = 0,
                       .action = ring::PolicyAction::allow,
                       .origin = ring::PolicyOrigin::config,
                       .number = 0};
    exit.tell(policy);
    install_session(1001);
    route_to(tunnel_port);
    socks_port = client.listen(ring::ListenerKind::socks);
}

void EnginePair::install_session(uint64_t id) {
    ring::InstallSession install{};
    install.session_id = id;
    install.window = 8192;
    install.suite = static_cast<uint8_t>(suite_);
    install.data_secret.fill(static_cast<uint8_t>(id));
    install.side = ring::SessionSide::node;
    exit.tell(install);
    install.side = ring::SessionSide::client;
    install.node = 7;
    install.header_key.fill(0x5a);
    client.tell(install);
}

void EnginePair::route_to(uint16_t port) {
    ring::PlanPart plan{};
    plan.version = ++plan_version_;
    plan.total = 1;
    plan.count = 1;
    plan.rule = ring::PlanRule::random;
    plan.response_timeout_ms = 3000;
    plan.tries_max = 2;
    plan.hops[0].node = 7;
    plan.hops[0].weight = 1;
    plan.hops[0].address = loopback(port);
    plan.hops[0].state = ring::HopState::up;
    client.tell(plan);
}

}  // namespace qanat::dataplane::testing
