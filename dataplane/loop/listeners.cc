#include "dataplane/loop/listeners.h"

#include <sys/eventfd.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>

#include "dataplane/engine/socket.h"
#include "dataplane/stream/ring_endpoint.h"

namespace qanat::dataplane {
namespace {

constexpr uint64_t kPauseNs = 50'000'000;
constexpr int kShedPerPause = 64;

UniqueFd open_reserve() {
    return UniqueFd(::eventfd(0, EFD_CLOEXEC));
}

}  // namespace

Listeners::Listeners(EngineServices& services, OnAccept on_accept)
    : services_(services), on_accept_(std::move(on_accept)), reserve_(open_reserve()) {
    for (Listener& listener : listeners_) listener.timer.own(Timer::Kind::listener, &listener);
}

Token Listeners::token(const Listener& listener) const {
    return {.kind = OpKind::accept,
            .lane = 0,
            .generation = listener.generation,
            .slot = static_cast<uint32_t>(&listener - listeners_.data())};
}

void Listeners::open(const ring::Listen& command) {
    const wire::Endpoint address = endpoint_from_ring(command.address);
    const auto listening =
        open_at(address, command.check_exclusive != 0 ? PortCheck::exclusive : PortCheck::shared, command);
    ring::ListenResult result{};
    result.listener = command.listener;
    result.address = listening ? endpoint_to_ring(*listening) : command.address;
    result.error = listening ? 0 : listening.error();
    // The kernel prefers the listener with the more special address. One that cannot be had is not missed.
    if (listening && address.ip.is_wildcard()) {
        (void)open_at({wire::IpAddress::v4(127, 0, 0, 1), listening->port}, PortCheck::shared, command);
        if (!address.ip.is_v4())
            (void)open_at({*wire::IpAddress::parse("::1"), listening->port}, PortCheck::shared, command);
    }
    services_.report(result);
}

Result<wire::Endpoint, int> Listeners::open_at(const wire::Endpoint& address, PortCheck check,
                                               const ring::Listen& command) {
    const auto free = std::ranges::find_if(listeners_, [](const Listener& listener) { return !listener.fd; });
    if (free == listeners_.end()) return fail_with(ENOBUFS);
    auto fd = listen_on(address, check);
    if (!fd) return fail_with(fd.error());
    free->fd = std::move(*fd);
    free->id = command.listener;
    free->kind = command.kind;
    if (command.kind == ring::ListenerKind::socks) reset_on_close(free->fd.get());  // of what is accepted
    accept(*free);
    return local_endpoint(free->fd.get());
}

void Listeners::accept(Listener& listener) {
    services_.io.accept_multishot(listener.fd.get(), token(listener));
}

void Listeners::on_completion(const Completion& completion) {
    UniqueFd fd(completion.result);
    if (completion.token.slot >= listeners_.size()) return;
    Listener& listener = listeners_[completion.token.slot];
    if (!listener.fd || listener.generation != completion.token.generation) return;  // closed meanwhile
    if (fd) {
        ring::add(services_.counters.connections_accepted);
        on_accept_(listener.kind, std::move(fd));
        if (!completion.more) accept(listener);
        return;
    }
    if (completion.more) return;
    switch (-completion.result) {
        case EMFILE:
        case ENFILE:
        case ENOBUFS:
        case ENOMEM:
            // Accepting again at once would fail again at once, for ever.
            ring::add(services_.counters.accept_errors);
            shed(listener);
            return services_.timers.arm(listener.timer, services_.now_ns + kPauseNs);
        default:
            return accept(listener);  // of one connection only (ECONNABORTED, EPERM, …)
    }
}

void Listeners::shed(Listener& listener) {
    reserve_.reset();
    for (int i = 0; i < kShedPerPause; ++i) {
        const UniqueFd refused(::accept4(listener.fd.get(), nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC));
        if (!refused) break;
        ring::add(services_.counters.connections_refused);
    }
    reserve_ = open_reserve();
}

void Listeners::on_timer(Timer& timer) {
    Listener& listener = *static_cast<Listener*>(timer.owner);
    if (listener.fd) accept(listener);
}

void Listeners::close_all() {
    for (Listener& listener : listeners_) {
        if (!listener.fd) continue;
        services_.io.cancel(token(listener));
        services_.timers.disarm(listener.timer);
        ++listener.generation;
        listener.fd.reset();
    }
}

}  // namespace qanat::dataplane
