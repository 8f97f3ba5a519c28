// Presence: where this node is announced: nowhere, or in one topic of one Redis server, as the configuration says now.
// A place that it leaves is told so first, and the next one comes after that: if both were the same under two names, a
// farewell that comes last would hide the node.
#pragma once

#include <json/value.h>

#include <functional>
#include <memory>
#include <optional>
#include <utility>

#include "controlplane/discovery/announcer.h"

namespace qanat::controlplane {

class Presence {
public:
    // As NodeAnnouncer's, for a place.
    using Make = std::function<std::unique_ptr<NodeAnnouncer>(const DiscoveryConfig& config)>;

    Presence(EventLoop& loop, Make make) : loop_(loop), make_(std::move(make)) {}

    // From now on the node is announced where `config` says, or nowhere. After withdraw() it does nothing.
    void configure(const DiscoveryConfig& config);

    // What is announced has changed.
    void changed();

    // Tells that the node leaves, for good. `done` is called once, not from inside, within about a second. Call it
    // once.
    void withdraw(Callback done);

    // Sets status["discovery"], unless the node is announced nowhere.
    void report(Json::Value& status) const;

private:
    void leave();
    void on_left();

    EventLoop& loop_;
    Make make_;
    std::optional<DiscoveryConfig> place_;      // of the announcer
    std::optional<DiscoveryConfig> next_;       // once it has left; only while `leaving_`
    std::unique_ptr<NodeAnnouncer> announcer_;  // null: the node is announced nowhere
    bool leaving_ = false;
    bool ended_ = false;  // withdraw() was called
    Callback withdrawn_;
};

}  // namespace qanat::controlplane
