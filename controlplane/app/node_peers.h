// NodePeers: everyone with whom a node deals as a client: the relays through which it can be reached, configured or
// found in discovery, and, on a relay, the members that it has to find for others. One ClientDriver serves all.
#pragma once

#include <json/value.h>

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <utility>
#include <vector>

#include "common/ring/channel.h"
#include "controlplane/config/config.h"
#include "controlplane/handshake/client_driver.h"
#include "controlplane/loop/timer.h"
#include "controlplane/metrics/metrics_page.h"
#include "controlplane/relay/members.h"
#include "controlplane/relay/relay_choice.h"
#include "controlplane/relay/reservations.h"
#include "controlplane/routing/membership.h"

namespace qanat::controlplane {

class NodePeers {
public:
    // Sessions that it may have installed at the same time: two for each peer, because a renewed one stays for a while.
    static constexpr uint32_t kRelaysExpected = 64;
    static constexpr uint32_t kSessionsMax = 2 * (Members::kMetMax + Members::kVerifyingMax + kRelaysExpected);

    struct Services {
        std::function<bool(const PublicKey&)> has_session_here;
        std::function<bool(const wire::Endpoint&)> may_dial_hint;
        Callback reservations_changed;  // of what reserved() says, perhaps
    };

    // `port` outlives the object.
    NodePeers(EventLoop& loop, CommandPort& port, const PublicKey& own_id, ClientDriver::Settings settings,
              NodeLookup lookup, Services services);

    // The relays to be reached through, and the members whose addresses are known.
    void configure(const Config& config);

    // What discovery knows now: relays among it are chosen from, as many as are configured.
    void set_discovered(const std::vector<DiscoveredNode>& nodes);

    // The engines listen: connections may be made from here on.
    void start();
    // The data plane ended.
    void reset();
    // Shutdown: takes all offers back, and makes no further connection. What the driver still hears is of no interest.
    void stop();

    void on_event(uint32_t engine, const ring::MessageView& event);

    // A relay that this node has a session with, and where; none: there is none.
    struct Met {
        uint32_t number = 0;
        wire::Endpoint address;
    };
    [[nodiscard]] std::optional<Met> any_relay() const;
    // Relays where connections of this node wait now.
    [[nodiscard]] std::vector<PeerAddress> reserved() const;

    void report(Json::Value& status) const;
    void list_peers(Json::Value& peers) const;
    void collect(MetricsPage& page) const;

private:
    struct Relay {
        uint32_t number = 0;
        std::vector<NodeAddress> addresses;
        bool from_discovery = false;
        bool reserve = true;  // false: a spare one
    };

    void changed();  // coalesces
    void update();
    // Again, after something that it depends on has changed.
    void choose_discovered();
    void set_relays();
    [[nodiscard]] RelayChoice::Health health_of(const PublicKey& relay) const;
    [[nodiscard]] std::vector<NodeSpec> specs() const;
    [[nodiscard]] uint32_t relay_number() const;
    [[nodiscard]] NodeAddress address_of(const Relay& relay) const;

    EventLoop& loop_;
    CommandPort& port_;
    Services services_;
    ClientDriver driver_;
    Reservations reservations_;
    PublicKey own_id_;
    Members members_;
    std::vector<PeerAddress> configured_;
    std::vector<DiscoveredNode> discovered_;  // relays with an address
    RelayChoice choice_;
    std::vector<RelayChoice::Relay> chosen_;
    std::map<PublicKey, Relay> relays_;  // configured or chosen
    std::map<PublicKey, std::vector<NodeAddress>> known_;
    std::vector<std::pair<uint32_t, bool>> news_;  // members whose session may have changed; true: an attempt failed
    bool specs_changed_ = true;
    bool update_pending_ = false;
    bool started_ = false;
    bool stopped_ = false;
    Timer driver_timer_;
    Timer second_;
};

}  // namespace qanat::controlplane
