// What a node tells its data plane, and tells about itself. The data plane is a FakePort; nothing answers.
#include "controlplane/app/node_app.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "common/crypto/psk.h"
#include "common/handshake/node_id.h"
#include "tests/unit/controlplane/handshake/fake_port.h"

namespace qanat::controlplane {
namespace {

constexpr uint32_t kEngines = 2;

Keys make_keys() {
    Secret<32> psk;
    psk.writable()[0] = 9;
    Secret<32> random;
    random.writable()[1] = 1;
    Keys keys;
    keys.network.push_back(crypto::derive_network_keys(psk));
    keys.identity = make_key_pair(std::move(random));
    return keys;
}

PeerAddress relay(uint8_t number, const char* address) {
    PublicKey id{};
    id[0] = number;
    return {.id = id, .address = {.target = wire::Target(*wire::Endpoint::parse(address))}};
}

class NodeAppTest : public testing::Test {
protected:
    void make(const Config& config) {
        app_.emplace(loop_, port_, config, make_keys(),
                     NodeApp::Surroundings{
                         .addresses = [] { return std::vector{*wire::Endpoint::parse("127.0.0.1:4000")}; },
                         .load = [] { return StreamLoad{.active = 1, .max = 4}; },
                     });
    }
    // Until what was deferred has been done.
    void settle() {
        loop_.defer([this] { loop_.defer([this] { loop_.stop(); }); });
        loop_.run();
    }
    template <ring::Message M>
    std::vector<M> take() {
        settle();
        auto found = port_.all<M>();
        port_.commands.clear();
        return found;
    }
    [[nodiscard]] Json::Value status() const {
        Json::Value status;
        app_->report(status);
        return status;
    }

    EventLoop loop_;
    FakePort port_{kEngines};
    std::optional<NodeApp> app_;
};

TEST_F(NodeAppTest, TheRelayLimitsGoToEveryEngine) {
    Config config;
    config.node.relay_mode = true;
    config.node.relay_limits = {.reservations = 7, .connections = 8, .streams = 9, .bytes_per_second = 10};
    make(config);
    app_->send_state();
    const auto settings = take<ring::RelaySettings>();
    ASSERT_EQ(settings.size(), kEngines);
    EXPECT_EQ(settings[0].enabled, 1);
    EXPECT_EQ(settings[0].members_max, 7u);
    EXPECT_EQ(settings[0].offers_max, 8u);
    EXPECT_EQ(settings[0].streams_max, 9u);
    EXPECT_EQ(settings[0].bytes_per_second, 10u);

    Config next = config;
    next.node.relay_mode = false;
    EXPECT_TRUE(app_->reload(next).empty());
    EXPECT_EQ(take<ring::RelaySettings>().at(0).enabled, 0);
}

TEST_F(NodeAppTest, RelaysAreCalledOnceTheEnginesListen) {
    Config config;
    config.node.connect_relay = {relay(1, "192.0.2.1:4000"), relay(2, "192.0.2.2:4000"), relay(1, "192.0.2.3:4000")};
    make(config);
    app_->send_state();
    EXPECT_TRUE(take<ring::ControlConnect>().empty()) << "not permitted yet";
    app_->on_listening();
    const auto connects = take<ring::ControlConnect>();
    std::vector<std::string> addresses;
    for (const ring::ControlConnect& connect : connects) addresses.push_back(from_ring(connect.address).format());
    EXPECT_THAT(addresses, testing::UnorderedElementsAre("192.0.2.1:4000", "192.0.2.2:4000"));

    Json::Value peers(Json::arrayValue);
    app_->list_peers(peers);
    ASSERT_EQ(peers.size(), 2u);
    EXPECT_EQ(peers[0]["role"], "relay");
    EXPECT_EQ(peers[0]["reservation"], "connecting");
    EXPECT_EQ(status()["reservations"].size(), 2u);

    // Another list: the first one's attempt ends, a new one begins, what stays is not touched.
    Config next = config;
    next.node.connect_relay = {relay(2, "192.0.2.2:4000"), relay(3, "192.0.2.4:4000")};
    EXPECT_TRUE(app_->reload(next).empty());
    const auto more = take<ring::ControlConnect>();
    ASSERT_EQ(more.size(), 1u);
    EXPECT_EQ(from_ring(more[0].address).format(), "192.0.2.4:4000");
    EXPECT_EQ(status()["reservations"].size(), 2u);

    // Everything again for a new data plane.
    app_->on_lost();
    app_->send_state();
    app_->on_listening();
    EXPECT_EQ(take<ring::ControlConnect>().size(), 2u);
}

TEST_F(NodeAppTest, ShutdownCallsNobodyAndOffersNothing) {
    Config config;
    config.node.connect_relay = {relay(1, "192.0.2.1:4000")};
    make(config);
    app_->send_state();
    app_->on_listening();
    settle();
    port_.commands.clear();
    app_->on_draining();
    Config next = config;
    next.node.connect_relay.push_back(relay(2, "192.0.2.2:4000"));
    (void)app_->reload(next);
    settle();
    EXPECT_TRUE(port_.all<ring::ControlConnect>().empty());
    for (const ring::Offer& offer : port_.all<ring::Offer>()) EXPECT_EQ(offer.maximum, 0);
}

TEST_F(NodeAppTest, AReloadChangesTheExitPolicyOnlyIfItIsAnotherOne) {
    make(Config());
    app_->send_state();
    const auto before = take<ring::PolicyPart>();
    ASSERT_FALSE(before.empty());
    EXPECT_TRUE(app_->reload(Config()).empty());
    EXPECT_TRUE(take<ring::PolicyPart>().empty());
    Config next;
    next.node.exit_policy.deny.blocks = {*wire::Cidr::parse("198.51.100.0/24")};
    next.limits.resolver_queries = 7;
    EXPECT_THAT(app_->reload(next), testing::ElementsAre("limits.resolver_queries"));
    const auto after = take<ring::PolicyPart>();
    ASSERT_FALSE(after.empty());
    EXPECT_GT(after[0].version, before[0].version);
    EXPECT_EQ(after[0].total, before[0].total + 1);
}

TEST_F(NodeAppTest, ExplainIsForClients) {
    make(Config());
    Json::Value answer;
    app_->explain(*wire::Target::parse("example.org:443"), [&](Json::Value value) { answer = std::move(value); });
    EXPECT_THAT(answer["error"].asString(), testing::HasSubstr("a question for a client"));
}

TEST(StreamLoad, IsAShareOfTheCap) {
    const struct {
        StreamLoad load;
        uint16_t share;
    } kTable[] = {
        {{0, 100}, 0},       {{1, 100}, 100}, {{99, 100}, 9900},           {{100, 100}, 10000},
        {{101, 100}, 10000}, {{0, 0}, 10000}, {{4194304, 4194304}, 10000},
    };
    for (const auto& row : kTable) EXPECT_EQ(row.load.share(), row.share);
}

}  // namespace
}  // namespace qanat::controlplane
