// ClientApp: the client's part of the daemon: sessions with the nodes, the routing plan, SOCKS users.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <vector>

#include "controlplane/app/role_part.h"
#include "controlplane/config/config.h"
#include "controlplane/handshake/client_driver.h"
#include "controlplane/keys/keys.h"
#include "controlplane/loop/timer.h"
#include "controlplane/resolver/resolver.h"

namespace qanat::controlplane {

class ClientApp final : public RolePart {
public:
    // "ready" waits this long for the first node, so that it can say whether there is one.
    static constexpr Duration kFirstNodeTime = std::chrono::seconds(1);

    // `addresses`: where SOCKS listens, with the real port. `port` outlives the object.
    ClientApp(EventLoop& loop, CommandPort& port, const Config& config, Keys keys,
              std::function<std::vector<wire::Endpoint>()> addresses);

    void send_state() override;
    void on_listening() override;
    void on_event(uint32_t engine, const ring::MessageView& event) override;
    void on_lost() override;
    void on_draining() override;
    void report(Json::Value& status) const override;

private:
    void nodes_changed();  // coalesces
    void update();         // plan, timer, "ready"
    void send_users();
    void send_plan(const Plan& plan);
    void announce();

    EventLoop& loop_;
    CommandPort& port_;
    Config config_;
    std::function<std::vector<wire::Endpoint>()> addresses_;
    std::string fingerprint_;
    Resolver resolver_;
    ClientDriver driver_;
    std::optional<Plan> sent_plan_;
    uint32_t plan_version_ = 0;
    bool update_pending_ = false;
    bool listening_ = false;
    bool announced_ = false;
    bool draining_ = false;
    bool driver_started_ = false;  // with the data plane that runs now
    Timer driver_timer_;
    Timer announce_timer_;
};

}  // namespace qanat::controlplane
