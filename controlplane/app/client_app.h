// ClientApp: the client's part of the daemon: which nodes there are, sessions with them, the routing plan, SOCKS users.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <vector>

#include "controlplane/app/role_part.h"
#include "controlplane/config/config.h"
#include "controlplane/discovery/watcher.h"
#include "controlplane/handshake/admission.h"
#include "controlplane/handshake/client_driver.h"
#include "controlplane/keys/keys.h"
#include "controlplane/loop/timer.h"
#include "controlplane/resolver/resolver.h"
#include "controlplane/routing/membership.h"

namespace qanat::controlplane {

class ClientApp final : public RolePart {
public:
    // "ready" waits this long for the first node, so that it can say whether there is one.
    static constexpr Duration kFirstNodeTime = std::chrono::seconds(1);
    // A single change is sent at once; a storm of them costs the engines this many plans a second.
    static constexpr double kPlansPerSecond = 20;
    static constexpr double kPlansBurst = 10;
    // How often discovered nodes that stay down are looked for, while there are others in reserve.
    static constexpr Duration kMembersInterval = std::chrono::seconds(5);
    static constexpr uint32_t kPoolMax = 32;         // connections kept ready per node and engine
    static constexpr uint32_t kPoolMinRttUs = 2000;  // nearer nodes are connected to when a stream comes

    // `addresses`: where SOCKS listens, with the real port. `port` outlives the object.
    ClientApp(EventLoop& loop, CommandPort& port, const Config& config, Keys keys,
              std::function<std::vector<wire::Endpoint>()> addresses);

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
    // Begins to look for nodes where the configuration says, or stops.
    void watch_discovery();
    // All nodes that discovery knows now; relays among them are used where paths name them.
    void take_discovered();
    void nodes_changed();  // coalesces
    void update();         // plan, timer, "ready"
    void configure_nodes();
    void update_members();
    [[nodiscard]] Plan plan_now(Instant now) const;
    void send_settings();
    void on_stream_ended(const ring::StreamEnded& event) const;
    void send_users();
    void send_plan(const Plan& plan);
    void announce();

    EventLoop& loop_;
    CommandPort& port_;
    Config config_;
    std::function<std::vector<wire::Endpoint>()> addresses_;
    std::string fingerprint_;
    Resolver resolver_;
    Secret<32> discovery_key_;
    std::unique_ptr<NodeWatcher> watcher_;  // null: discovery is off
    Membership membership_;
    ClientDriver driver_;
    std::optional<Plan> sent_plan_;
    uint32_t plan_version_ = 0;
    TokenBucket plan_budget_;
    bool update_pending_ = false;
    bool listening_ = false;
    bool announced_ = false;
    bool draining_ = false;
    bool driver_started_ = false;  // with the data plane that runs now
    Timer driver_timer_;
    Timer plan_timer_;
    Timer members_timer_;
    Timer announce_timer_;
};

}  // namespace qanat::controlplane
