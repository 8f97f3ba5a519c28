#include "dataplane/loop/listeners.h"

#include <sys/eventfd.h>
#include <sys/socket.h>

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
    ring::ListenResult result{};
    result.listener = command.listener;
    result.address = command.address;
    Listener* free = nullptr;
    for (Listener& listener : listeners_)
        if (!listener.fd && free == nullptr) free = &listener;
    if (free == nullptr) {
        result.error = ENOBUFS;
    } else {
        const PortCheck check = command.check_exclusive != 0 ? PortCheck::exclusive : PortCheck::shared;
        auto fd = listen_on(endpoint_from_ring(command.address), check);
        if (fd) {
            free->fd = std::move(*fd);
            free->id = command.listener;
            free->kind = command.kind;
            if (command.kind == ring::ListenerKind::socks) reset_on_close(free->fd.get());  // of what is accepted
            result.address = endpoint_to_ring(local_endpoint(free->fd.get()));
            accept(*free);
        } else {
            result.error = fd.error();
        }
    }
    services_.report(result);
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
