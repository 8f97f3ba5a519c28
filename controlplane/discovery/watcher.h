// NodeWatcher: keeps the list of nodes that announce themselves in Redis: listens for news, and reads all entries after
// each connect and now and then. Whatever becomes of Redis, what is known stays known (directory.h).
#pragma once

#include <json/forwards.h>

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "controlplane/discovery/announcement.h"
#include "controlplane/discovery/directory.h"
#include "controlplane/discovery/settings.h"

namespace qanat::controlplane {

class NodeWatcher {
public:
    // Entries asked for at the same time, and a bound on one reading of the database.
    static constexpr size_t kBatchMax = 256;
    static constexpr size_t kKeysPerLoadMax = 4 * Directory::kNodesMax;
    static constexpr Duration kLoadTimeMax = std::chrono::seconds(60);
    // on_change comes that long after the first change, and then at most once in the second interval.
    static constexpr Duration kChangeDelay = std::chrono::milliseconds(50);
    static constexpr Duration kChangeInterval = std::chrono::seconds(1);

    // `on_change` is called when nodes() has changed, never from inside start(). It must not destroy the watcher.
    NodeWatcher(EventLoop& loop, DiscoverySettings settings, AnnouncementKeys keys, Callback on_change,
                HostLookup lookup, RandomBytes random);
    ~NodeWatcher();
    NodeWatcher(const NodeWatcher&) = delete;
    NodeWatcher& operator=(const NodeWatcher&) = delete;

    void start();

    // All known nodes in the order of their ids, relays and exits.
    [[nodiscard]] std::vector<KnownNode> nodes() const { return directory_.nodes(); }

    // Fills an object; never with the password.
    void report(Json::Value& out) const;

private:
    struct Load;

    void begin_load();
    void scan();
    void on_page(const RedisReply& reply);
    void fetch();
    void on_value(const std::string& key, const RedisReply& reply);
    void load_failed(std::string error);
    void load_done();
    void on_events_ready();
    void on_commands_lost();
    void take(std::string_view value, std::optional<std::string_view> key);
    void changed();
    void on_second();

    AnnouncementKeys keys_;
    Duration reload_;
    Callback on_change_;
    RandomBytes random_;
    RedisAddress address_;
    Directory directory_;
    RedisConnection events_;    // subscribed: knows no other commands
    RedisConnection commands_;  // reads entries
    bool listening_ = false;
    std::unique_ptr<Load> load_;  // while one is under way
    bool load_again_ = false;     // something happened meanwhile that a reading from the start would see
    std::string load_error_;
    std::string listen_error_;
    uint64_t loads_ = 0;
    std::optional<Instant> loaded_at_;
    bool change_pending_ = false;
    Instant told_{};
    Backoff load_retries_;
    Timer load_timer_;
    Timer change_timer_;
    Timer second_;
};

}  // namespace qanat::controlplane
