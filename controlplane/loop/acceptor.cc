#include "controlplane/loop/acceptor.h"

#include <sys/socket.h>

#include <cerrno>
#include <system_error>
#include <utility>

#include "common/base/log.h"

namespace qanat::controlplane {

Acceptor::Acceptor(EventLoop& loop, std::string name, int listener, OnConnection on_connection)
    : name_(std::move(name)),
      listener_(listener),
      on_connection_(std::move(on_connection)),
      watch_(loop, listener, {.readable = true}, [this](Readiness) { accept(); }),
      resume_(loop, [this] { watch_.set_interest({.readable = true}); }) {}

void Acceptor::accept() {
    UniqueFd fd(::accept4(listener_, nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
    if (!fd) {
        const int error = errno;
        if (error == EMFILE || error == ENFILE || error == ENOBUFS || error == ENOMEM) pause(error);
        return;
    }
    exhausted_ = false;
    on_connection_(std::move(fd));
}

void Acceptor::pause(int error) {
    ++pauses_;
    if (!std::exchange(exhausted_, true))
        log_warn("connections have to wait", {{"at", name_}, {"error", std::generic_category().message(error)}});
    watch_.set_interest({});
    resume_.start(kPause);
}

}  // namespace qanat::controlplane
