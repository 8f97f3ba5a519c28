// NodeApp: the node's part of the daemon: handshakes, exit policy, names.
#pragma once

#include <cstdint>
#include <functional>
#include <vector>

#include "controlplane/app/role_part.h"
#include "controlplane/config/config.h"
#include "controlplane/handshake/node_driver.h"
#include "controlplane/keys/keys.h"
#include "controlplane/loop/timer.h"
#include "controlplane/resolver/resolver.h"

namespace qanat::controlplane {

class NodeApp final : public RolePart {
public:
    static constexpr Duration kOwnAddressesInterval = std::chrono::seconds(60);

    // `addresses`: what the node listens on, with real ports. `port` outlives the object.
    NodeApp(EventLoop& loop, CommandPort& port, const Config& config, Keys keys,
            std::function<std::vector<wire::Endpoint>()> addresses);

    void send_state() override;
    void on_listening() override;
    void on_event(uint32_t engine, const ring::MessageView& event) override;
    void on_lost() override;
    void on_draining() override;
    void report(Json::Value& status) const override;

private:
    void read_policy();
    void send_policy();
    void on_resolve(uint32_t engine, const ring::Resolve& query);

    CommandPort& port_;
    ExitPolicyConfig policy_config_;
    size_t queries_max_;
    std::function<std::vector<wire::Endpoint>()> addresses_;
    std::string id_;
    std::string fingerprint_;
    NodeDriver driver_;
    Resolver resolver_;
    std::vector<wire::IpAddress> own_;
    std::vector<ring::PolicyRule> rules_;
    uint32_t policy_version_ = 0;
    uint64_t generation_ = 0;  // of the data plane: answers for an older one go nowhere
    bool announced_ = false;
    Timer second_;
    Timer own_addresses_;
};

}  // namespace qanat::controlplane
