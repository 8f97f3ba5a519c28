// NodeAnnouncer: keeps this node's entry in Redis: announces it, renews it, publishes changes, and withdraws it at the
// end. Redis may be down, slow or full at any time; the node itself is not affected.
#pragma once

#include <json/forwards.h>

#include <cstdint>
#include <functional>
#include <optional>
#include <string>

#include "controlplane/discovery/announcement.h"
#include "controlplane/discovery/settings.h"

namespace qanat::controlplane {

class NodeAnnouncer {
public:
    // `current` tells what is to be announced now; sequence, validity and leaving are filled in here.
    NodeAnnouncer(EventLoop& loop, DiscoverySettings settings, AnnouncementKeys keys,
                  std::function<Announcement()> current, HostLookup lookup, RandomBytes random);
    ~NodeAnnouncer();
    NodeAnnouncer(const NodeAnnouncer&) = delete;
    NodeAnnouncer& operator=(const NodeAnnouncer&) = delete;

    void start();

    // What `current` tells has changed. Cheap: many changes become one announcement.
    void changed();

    // Tells that the node leaves, and stops. `done` is called once, not from inside: when Redis has taken it, when it
    // is clear that it will not, or after `limit`. Call it once.
    void withdraw(Callback done, Duration limit = std::chrono::seconds(1));

    // Fills an object; never with the password.
    void report(Json::Value& out) const;

private:
    void on_ready();
    void on_lost();
    void on_own_entry(const RedisReply& reply);
    void schedule(Instant when);
    void announce();
    void publish(bool leaving);
    void on_stored(const RedisReply& reply);
    void on_published(const RedisReply& reply);
    void finish_withdrawal();

    EventLoop& loop_;
    DiscoverySettings settings_;
    AnnouncementKeys keys_;
    std::function<Announcement()> current_;
    RandomBytes random_;
    RedisConnection redis_;
    bool ready_to_announce_ = false;  // connected, and our own entry has been looked at
    bool leaving_ = false;
    Callback withdrawn_;
    uint64_t sequence_ = 0;  // of the last announcement
    Instant announced_at_{};
    std::optional<Instant> due_;
    std::string set_error_;  // of the announcement that is being answered
    std::string error_;      // of the last one
    uint64_t announced_ = 0;
    uint64_t refused_ = 0;
    Backoff refusals_;
    Timer timer_;
    Timer withdrawal_limit_;
};

}  // namespace qanat::controlplane
