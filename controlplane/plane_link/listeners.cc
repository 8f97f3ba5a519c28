#include "controlplane/plane_link/listeners.h"

#include <cerrno>
#include <cstring>

#include "common/base/assert.h"
#include "controlplane/plane_link/command_port.h"

namespace qanat::controlplane {
namespace {

std::string remedy(int error, const ListenerSpec& spec) {
    switch (error) {
        case EADDRINUSE:
            return "stop the program that uses it, or change " + spec.origin;
        case EADDRNOTAVAIL:
            return "no interface of this machine has that address: change " + spec.origin;
        case EACCES:
            return "ports below 1024 need privileges: change " + spec.origin;
        case EMFILE:
        case ENFILE:
            return "raise the limit of open files (ulimit -n)";
        default:
            return "change " + spec.origin;
    }
}

}  // namespace

Listeners::Listeners(std::vector<ListenerSpec> specs) : specs_(std::move(specs)) {
    for (const ListenerSpec& spec : specs_) states_.push_back({spec.address, {}});
}

std::vector<Listeners::Command> Listeners::start(uint32_t engines) {
    QANAT_ASSERT(engines > 0);
    engines_ = engines;
    open_ = states_.size() * engines;
    failure_.reset();
    std::vector<Command> commands;
    for (uint32_t listener = 0; listener < states_.size(); ++listener) {
        states_[listener].waiting.assign(engines, false);
        states_[listener].waiting[0] = true;
        commands.push_back(make(listener, 0));
    }
    return commands;
}

Listeners::Progress Listeners::on_result(uint32_t engine, const ring::ListenResult& result,
                                         std::vector<Command>& commands) {
    if (engine >= engines_ || result.listener >= states_.size()) return Progress::stray;
    State& state = states_[result.listener];
    if (!state.waiting[engine]) return Progress::stray;
    if (result.error != 0) {
        failure_ = Failure{result.listener, engine, result.error};
        return Progress::failed;
    }
    state.waiting[engine] = false;
    --open_;
    if (engine == 0) {
        state.address.port = result.address.port;
        for (uint32_t other = 1; other < engines_; ++other) {
            state.waiting[other] = true;
            commands.push_back(make(result.listener, other));
        }
    }
    return open_ == 0 ? Progress::listening : Progress::waiting;
}

Listeners::Command Listeners::retry() const {
    QANAT_ASSERT(failure_.has_value());
    return make(failure_->listener, failure_->engine);
}

std::string Listeners::describe_failure() const {
    QANAT_ASSERT(failure_.has_value());
    const ListenerSpec& spec = specs_[failure_->listener];
    const std::string why = failure_->error == EADDRINUSE ? "the address is in use" : std::strerror(failure_->error);
    return "cannot listen on " + states_[failure_->listener].address.format() + ": " + why + " (" +
           remedy(failure_->error, spec) + ")";
}

std::vector<wire::Endpoint> Listeners::addresses() const {
    std::vector<wire::Endpoint> addresses;
    for (const State& state : states_) addresses.push_back(state.address);
    return addresses;
}

Listeners::Command Listeners::make(uint32_t listener, uint32_t engine) const {
    Command command;
    command.engine = engine;
    command.listen.listener = listener;
    command.listen.kind = specs_[listener].kind;
    command.listen.check_exclusive = engine == 0 ? 1 : 0;
    command.listen.address = to_ring(states_[listener].address);
    return command;
}

}  // namespace qanat::controlplane
