// NodeApp: the node's part of the daemon: handshakes, exit policy, names, reservations, and what a relay has to know.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <vector>

#include "controlplane/app/node_peers.h"
#include "controlplane/app/role_part.h"
#include "controlplane/app/stream_load.h"
#include "controlplane/config/config.h"
#include "controlplane/discovery/presence.h"
#include "controlplane/discovery/watcher.h"
#include "controlplane/handshake/node_driver.h"
#include "controlplane/keys/keys.h"
#include "controlplane/loop/timer.h"
#include "controlplane/relay/punches.h"
#include "controlplane/resolver/resolver.h"

namespace qanat::controlplane {

class NodeApp final : public RolePart {
public:
    static constexpr Duration kOwnAddressesInterval = std::chrono::seconds(60);

    // What the daemon knows.
    struct Surroundings {
        std::function<std::vector<wire::Endpoint>()> addresses;  // what the node listens on, with real ports
        std::function<StreamLoad()> load;
    };

    // `port` outlives the object.
    NodeApp(EventLoop& loop, CommandPort& port, const Config& config, Keys keys, Surroundings surroundings);

    void send_state() override;
    void on_listening() override;
    void on_event(uint32_t engine, const ring::MessageView& event) override;
    void on_lost() override;
    void on_draining() override;
    void finish(Callback done) override;
    void report(Json::Value& status) const override;
    [[nodiscard]] std::vector<std::string> reload(const Config& next) override;
    void list_peers(Json::Value& peers) const override;
    void explain(const wire::Target& target, std::function<void(Json::Value)> done) override;
    void collect(MetricsPage& page) const override;

private:
    // Begins to look for relays where the configuration says, or stops.
    void watch_discovery();
    [[nodiscard]] Announcement announcement() const;
    void read_policy();
    void refresh_policy();  // reads it, and sends it if it is another one
    void send_policy();
    void send_relay_settings();
    void on_resolve(uint32_t engine, const ring::Resolve& query);
    void ask_policy(const wire::Target& target, const std::function<void(wire::StreamStatus, wire::Reason)>& done);

    EventLoop& loop_;
    CommandPort& port_;
    Config config_;
    Surroundings surroundings_;
    PublicKey id_;
    std::string fingerprint_;
    Secret<32> discovery_key_;
    size_t queries_max_;
    Resolver resolver_;
    NodePeers peers_;
    Punches punches_;
    NodeDriver driver_;
    std::vector<wire::IpAddress> own_;
    std::vector<ring::PolicyRule> rules_;
    uint32_t policy_version_ = 0;
    uint64_t generation_ = 0;  // of the data plane: answers for an older one go nowhere
    bool announced_ = false;
    Presence presence_;
    std::unique_ptr<NodeWatcher> watcher_;  // null: no relays are looked for
    bool draining_ = false;
    bool withdrawing_ = false;
    Callback finished_;  // waits for the withdrawal
    Timer second_;
    Timer own_addresses_;
};

}  // namespace qanat::controlplane
