#include "controlplane/discovery/presence.h"

#include <utility>

#include "common/base/assert.h"

namespace qanat::controlplane {
namespace {

bool same_place(const DiscoveryConfig& a, const DiscoveryConfig& b) {
    return a.enabled == b.enabled && a.address == b.address && a.topic == b.topic;
}

}  // namespace

void Presence::configure(const DiscoveryConfig& config) {
    if (ended_) return;
    if (leaving_) {
        next_ = config;
        return;
    }
    if (place_ == config) return;
    if (announcer_ != nullptr && !same_place(*place_, config)) {
        next_ = config;
        return leave();
    }
    place_ = config;
    announcer_.reset();
    if (!config.enabled) return;
    announcer_ = make_(config);
    announcer_->start();
}

void Presence::changed() {
    if (announcer_ != nullptr) announcer_->changed();
}

void Presence::withdraw(Callback done) {
    QANAT_ASSERT(!std::exchange(ended_, true));
    if (announcer_ == nullptr) return loop_.defer(std::move(done));
    withdrawn_ = std::move(done);
    if (!leaving_) leave();
}

void Presence::leave() {
    leaving_ = true;
    announcer_->withdraw([this] { on_left(); });
}

void Presence::on_left() {
    leaving_ = false;
    announcer_.reset();
    place_.reset();
    if (ended_) return std::exchange(withdrawn_, nullptr)();
    configure(*std::exchange(next_, std::nullopt));
}

void Presence::report(Json::Value& status) const {
    if (announcer_ != nullptr) announcer_->report(status["discovery"]);
}

}  // namespace qanat::controlplane
