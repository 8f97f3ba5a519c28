// Which relays a node calls, and at which of them it reserves. The data plane is a FakePort; nothing answers.
#include "controlplane/app/node_peers.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>
#include <set>
#include <string>

#include "common/crypto/psk.h"
#include "common/crypto/random.h"
#include "common/handshake/node_id.h"
#include "tests/unit/controlplane/handshake/fake_port.h"

namespace qanat::controlplane {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;
using testing::UnorderedElementsAre;

PublicKey id_of(uint8_t number) {
    PublicKey id{};
    id[0] = number;
    return id;
}

// Number n is at 192.0.2.n.
NodeAddress address_of(uint8_t number) {
    return {wire::Target(wire::Endpoint{wire::IpAddress::v4(192, 0, 2, number), 4000}), NameFamily::any};
}

DiscoveredNode relay(uint8_t number) {
    DiscoveredNode node;
    node.id = id_of(number);
    node.addrs = {address_of(number)};
    node.relay = true;
    return node;
}

ClientDriver::Settings settings() {
    Secret<32> psk;
    psk.writable()[0] = 9;
    Secret<32> random;
    random.writable()[1] = 1;
    ClientDriver::Settings made;
    made.credentials.identity = make_key_pair(std::move(random));
    made.credentials.network_key = crypto::derive_network_keys(psk);
    made.credentials.suites = {crypto::Suite::chacha20_poly1305};
    made.health = std::chrono::seconds(30);
    made.timeout = std::chrono::seconds(10);
    return made;
}

class NodePeersTest : public testing::Test {
protected:
    // Whom the engines were told to call since the last time, by the last byte of the address.
    std::vector<int> calls() {
        loop_.defer([this] { loop_.defer([this] { loop_.stop(); }); });
        loop_.run();
        std::vector<int> called;
        for (const auto& connect : port_.all<ring::ControlConnect>()) called.push_back(connect.address.ip[3]);
        port_.commands.clear();
        return called;
    }
    [[nodiscard]] size_t reservations() const {
        Json::Value status;
        peers_.report(status);
        return status["reservations"].size();
    }
    [[nodiscard]] std::map<std::string, std::string> sources() const {
        Json::Value peers(Json::arrayValue);
        peers_.list_peers(peers);
        std::map<std::string, std::string> sources;
        for (const Json::Value& peer : peers) sources[peer["address"].asString()] = peer["source"].asString();
        return sources;
    }

    EventLoop loop_;
    FakePort port_{2};
    NodePeers peers_{loop_,
                     port_,
                     id_of(99),
                     settings(),
                     [](const std::string&, NameFamily, const auto&) { ADD_FAILURE() << "nothing has a name here"; },
                     {.has_session_here = [](const PublicKey&) { return false; },
                      .may_dial_hint = [](const wire::Endpoint&) { return true; },
                      .reservations_changed = [] {}}};
};

TEST_F(NodePeersTest, RelaysFromDiscoveryAreCalledAsManyAsAreWanted) {
    Config config;
    config.node.relays_from_discovery = 1;
    peers_.configure(config);
    peers_.start();
    EXPECT_THAT(calls(), IsEmpty());

    DiscoveredNode exit = relay(50);
    exit.relay = false;
    DiscoveredNode hidden = relay(51);
    hidden.addrs.clear();
    DiscoveredNode itself = relay(99);
    peers_.set_discovered({exit, hidden, itself, relay(1), relay(2), relay(3)});
    EXPECT_THAT(calls(), UnorderedElementsAre(1, 2, 3));  // one, and two spare ones
    EXPECT_EQ(reservations(), 1U);
    EXPECT_THAT(sources(),
                ElementsAre(std::pair("192.0.2.1:4000", "discovery"), std::pair("192.0.2.2:4000", "discovery"),
                            std::pair("192.0.2.3:4000", "discovery")));
    EXPECT_THAT(peers_.reserved(), IsEmpty());

    // One goes and another one comes: those that stay are not touched.
    peers_.set_discovered({relay(1), relay(3), relay(4)});
    EXPECT_THAT(calls(), ElementsAre(4));
    EXPECT_EQ(reservations(), 1U);

    // A configured one is another matter, and one more.
    config.node.connect_relay = {{.id = id_of(3), .address = address_of(3)}};
    peers_.configure(config);
    (void)calls();
    EXPECT_EQ(reservations(), 2U);
    EXPECT_EQ(sources()["192.0.2.3:4000"], "config");
    EXPECT_EQ(sources()["192.0.2.4:4000"], "discovery");

    config.node.relays_from_discovery = 0;
    peers_.configure(config);
    EXPECT_THAT(calls(), IsEmpty());
    EXPECT_EQ(reservations(), 1U);
    EXPECT_THAT(sources(), ElementsAre(std::pair("192.0.2.3:4000", "config")));
}

TEST_F(NodePeersTest, AnotherAddressIsCalled) {
    Config config;
    config.node.relays_from_discovery = 1;
    peers_.configure(config);
    peers_.start();
    peers_.set_discovered({relay(1)});
    EXPECT_THAT(calls(), ElementsAre(1));
    DiscoveredNode moved = relay(1);
    moved.addrs = {address_of(7)};
    peers_.set_discovered({moved});
    EXPECT_THAT(calls(), ElementsAre(7));
}

}  // namespace
}  // namespace qanat::controlplane
