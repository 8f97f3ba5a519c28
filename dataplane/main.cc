// qanat-dataplane: moves the bytes. Started by `qanat`, which tells it everything over descriptor 3; it reads no file,
// no argument and no environment.

#include <pthread.h>
#include <sched.h>
#include <sys/resource.h>
#include <sys/sysinfo.h>

#include <atomic>
#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstring>
#include <future>
#include <string>
#include <thread>
#include <vector>

#include "common/base/log.h"
#include "common/crypto/aead.h"
#include "common/crypto/random.h"
#include "common/ring/bootstrap.h"
#include "common/ring/region.h"
#include "dataplane/bootstrap/confinement.h"
#include "dataplane/bootstrap/privileges.h"
#include "dataplane/bootstrap/shares.h"
#include "dataplane/engine/inbox.h"
#include "dataplane/loop/engine.h"

namespace qanat::dataplane {
namespace {

// PROTOCOL.md section 8: between 5 and 10 s.
constexpr uint64_t kUnauthenticatedMinNs = 5'000'000'000;
constexpr uint64_t kUnauthenticatedSpanNs = 4'500'000'000;

std::atomic<bool> terminate_requested{false};

uint64_t random_u64() {
    uint64_t value = 0;
    crypto::random_bytes(MutableBytes(reinterpret_cast<uint8_t*>(&value), sizeof value));
    return value;
}

void set_up_signals() {
    // A terminal's Ctrl-C and a service manager's SIGTERM reach both planes; this one ends when the other says so, or,
    // if that one is gone, on SIGTERM.
    std::signal(SIGPIPE, SIG_IGN);
    std::signal(SIGHUP, SIG_IGN);
    std::signal(SIGINT, SIG_IGN);
    std::signal(SIGTERM, [](int) { terminate_requested.store(true, std::memory_order_relaxed); });
}

uint64_t descriptor_limit() {
    rlimit limit{};
    return ::getrlimit(RLIMIT_NOFILE, &limit) == 0 ? limit.rlim_cur : 1024;
}

uint64_t memory_bytes() {
    struct sysinfo info {};
    return ::sysinfo(&info) == 0 ? uint64_t{info.totalram} * info.mem_unit : 0;
}

Result<void> pin(int core) {
    if (core < 0) return {};
    cpu_set_t set;
    CPU_ZERO(&set);
    CPU_SET(static_cast<size_t>(core), &set);
    if (const int error = ::pthread_setaffinity_np(::pthread_self(), sizeof set, &set); error != 0)
        return fail("core " + std::to_string(core) + " cannot be used (" + std::strerror(error) +
                    "): choose from those that `nproc --all` and the process's CPU set allow (data_plane.cores)");
    return {};
}

// Gives the calling thread a descriptor table of its own. Engines share no socket, so they need not share the table:
// the kernel then looks descriptors up without counting references, new ones take no common lock, and RLIMIT_NOFILE
// counts for each engine instead of for all together.
Result<void> own_descriptors() {
    if (::unshare(CLONE_FILES) != 0) return fail(std::string("unshare(CLONE_FILES): ") + std::strerror(errno));
    return {};
}

// What one engine's thread needs to begin.
struct EngineStart {
    EngineOptions options;
    int core;
    SessionRegistry& registry;
    ring::EngineSection& section;
    UniqueFd command_event;
    UniqueFd event_event;
};

// One engine's thread, from beginning to end: the engine is made and destroyed here, because its descriptors are this
// thread's. Reports through `opened` the features that it found, or why it cannot run.
void run_engine(EngineStart start, std::promise<Result<std::string>> opened) {
    ::pthread_setname_np(::pthread_self(), ("engine-" + std::to_string(start.options.index)).c_str());
    Result<void> ready = own_descriptors();
    if (ready) ready = pin(start.core);
    if (!ready) return opened.set_value(tl::unexpected(ready.error()));
    Engine engine(start.options, start.registry, start.section,
                  ring::Receiver(ring::Direction::command, start.section.commands, std::move(start.command_event),
                                 start.options.role),
                  ring::EventSender(start.section.events, std::move(start.event_event)));
    if (ready = engine.open(); !ready) return opened.set_value(tl::unexpected(ready.error()));
    const auto confined = confine_thread();
    if (!confined) return opened.set_value(tl::unexpected(confined.error()));
    opened.set_value(engine.features() + (*confined ? " seccomp" : ""));
    engine.run();
}

struct Outcome {
    Result<std::string> features;  // of the engines; or why there are none
    std::vector<std::thread> threads;
    std::vector<UniqueFd> fds;  // to hand over: region, then eventfds
    Inboxes inboxes;            // open as long as the process: the engines' threads know them by number
    uint64_t memory_budget = 0;
};

Outcome start(const ring::Bootstrap& bootstrap, ring::Region& region, SessionRegistry& registry,
              RelayMembers& relay_members) {
    Outcome outcome;
    const bool relay = bootstrap.relay != 0;
    const Shares shares = divide(bootstrap.limits, bootstrap.engines, descriptor_limit(), memory_bytes(), relay);
    outcome.memory_budget = shares.memory_budget;
    if (shares.streams < bootstrap.limits.streams)
        log_warn("fewer streams than configured: not enough descriptors",
                 {{"streams", shares.streams},
                  {"max_streams", bootstrap.limits.streams},
                  {"descriptors", descriptor_limit()},
                  {"remedy", "raise LimitNOFILE= or ulimit -n"}});
    EngineOptions options;
    options.role = bootstrap.role;
    options.busy_poll = bootstrap.busy_poll != 0;
    options.limits = shares.engine;
    options.descriptors = descriptor_limit();
    options.chunks = shares.chunks;
    options.unauthenticated_timeout_ns = kUnauthenticatedMinNs + random_u64() % kUnauthenticatedSpanNs;
    options.lifeline = ring::kBootstrapFd;
    options.terminate = &terminate_requested;
    if (relay) {
        auto inboxes = Inboxes::make(bootstrap.engines);
        if (!inboxes) {
            outcome.features = tl::unexpected(inboxes.error());
            return outcome;
        }
        outcome.inboxes = std::move(*inboxes);
        options.relay.members = &relay_members;
        options.relay.pipes = shares.pipes;
        for (const UniqueFd& inbox : outcome.inboxes.send_ends) options.relay.inboxes.push_back(inbox.get());
    }

    for (uint32_t i = 0; i < bootstrap.engines; ++i) {
        auto command_event = ring::make_eventfd();
        auto event_event = ring::make_eventfd();
        if (!command_event || !event_event) {
            outcome.features = tl::unexpected((!command_event ? command_event : event_event).error());
            return outcome;
        }
        options.index = i;
        if (relay) {
            options.relay.engine = i;
            options.relay.inbox = outcome.inboxes.receive_ends[i].get();
        }
        EngineStart engine{.options = options,
                           .core = bootstrap.cores[i],
                           .registry = registry,
                           .section = region.engine(i),
                           .command_event = UniqueFd(::dup(command_event->get())),
                           .event_event = UniqueFd(::dup(event_event->get()))};
        outcome.fds.push_back(std::move(*command_event));
        outcome.fds.push_back(std::move(*event_event));
        std::promise<Result<std::string>> opened;
        auto future = opened.get_future();
        outcome.threads.emplace_back(run_engine, std::move(engine), std::move(opened));
        outcome.features = future.get();
        if (!outcome.features) return outcome;
    }
    return outcome;
}

ring::BootstrapReply reply_for(const ring::Bootstrap& bootstrap, const ring::Region& region, const Outcome& outcome) {
    ring::BootstrapReply reply{};
    reply.magic = ring::kBootstrapMagic;
    reply.abi_version = ring::kAbiVersion;
    reply.engines = bootstrap.engines;
    reply.region_size = region.size();
    reply.memory_budget = outcome.memory_budget;
    std::string message;
    if (outcome.features) {
        message = "io_uring " + *outcome.features + "; records " + crypto::Aead::provider_name();
    } else {
        reply.error = EIO;
        message = outcome.features.error().message;
    }
    std::snprintf(reply.message.data(), reply.message.size(), "%s", message.c_str());
    return reply;
}

int fail_start(const Error& error) {
    std::fprintf(stderr, "qanat-dataplane: %s\n", error.message.c_str());
    return 1;
}

int run() {
    set_up_signals();
    auto bootstrap = ring::receive_bootstrap(ring::kBootstrapFd);
    if (!bootstrap)
        return fail_start({bootstrap.error().message + " (this program is started by `qanat node` or `qanat client`)"});
    start_log({.component = "data",
               .level = static_cast<LogLevel>(bootstrap->log_level),
               .format = bootstrap->log_json != 0 ? LogFormat::json : LogFormat::text});

    auto region = ring::Region::create(bootstrap->engines);
    if (!region) return fail_start(region.error());
    SessionRegistry registry;
    RelayMembers relay_members;
    Outcome outcome;
    if (auto dropped = drop_privileges(bootstrap->run_as.data()); dropped)
        outcome = start(*bootstrap, *region, registry, relay_members);
    else
        outcome.features = tl::unexpected(dropped.error());

    std::vector<int> fds;
    if (outcome.features) {
        fds.push_back(region->fd());
        for (const UniqueFd& fd : outcome.fds) fds.push_back(fd.get());
    }
    const auto sent = ring::send_reply(ring::kBootstrapFd, reply_for(*bootstrap, *region, outcome), fds);
    outcome.fds.clear();
    if (!outcome.features || !sent) {
        // Engines that run already end with the process; nothing has been promised to anybody yet.
        std::_Exit(1);
    }
    // This thread only waits from here on. If it cannot be confined the engines could not either, and have said so.
    (void)confine_thread();
    for (std::thread& thread : outcome.threads) thread.join();
    return 0;
}

}  // namespace
}  // namespace qanat::dataplane

int main() {
    return qanat::dataplane::run();
}
