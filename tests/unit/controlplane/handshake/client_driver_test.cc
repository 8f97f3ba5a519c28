// A ClientDriver with many nodes that come and go, and relays between them. The network is in memory: it delivers a
// control connection to the node whose id the connect names, unless something on the way refuses.
//
//   ClientDriver ── commands ──> Net ══ by id ══> NodeDriver (one per node)
#include "controlplane/handshake/client_driver.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cerrno>
#include <map>
#include <set>

#include "common/crypto/random.h"
#include "common/handshake/node_id.h"
#include "controlplane/handshake/node_driver.h"
#include "tests/unit/controlplane/handshake/fake_port.h"

namespace qanat::controlplane {
namespace {

using Event = ClientDriver::NodeEvent;
using std::chrono::milliseconds;
using std::chrono::seconds;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

Identity identity(uint8_t number) {
    Secret<32> random;
    random.writable()[1] = number;  // not a byte that X25519 clamps
    return make_key_pair(std::move(random));
}

crypto::NetworkKeys network_keys() {
    Secret<32> psk;
    psk.writable()[0] = 9;
    return crypto::derive_network_keys(psk);
}

wire::Endpoint endpoint(uint8_t last) {
    return {wire::IpAddress::v4(192, 0, 2, last), 4000};
}
NodeAddress address(uint8_t last) {
    return {wire::Target(endpoint(last))};
}

// Node number n has identity n + 1 and, unless said otherwise, the address 192.0.2.n.
NodeSpec spec(uint32_t number, std::vector<NodePath> paths = {}) {
    NodeSpec made;
    made.number = number;
    made.id = identity(static_cast<uint8_t>(number + 1)).public_key;
    if (paths.empty()) paths.push_back({.via = {}, .addrs = {address(static_cast<uint8_t>(number))}});
    made.paths = std::move(paths);
    return made;
}

class Net : public testing::Test {
protected:
    struct FakeNode {
        FakePort port{1};
        std::optional<NodeDriver> driver;
    };
    struct Link {
        PublicKey node{};
        uint64_t number = 0;  // at the node
        std::vector<uint8_t> first;
        bool accepted = false;
    };

    Net() {
        ClientDriver::Settings settings;
        settings.credentials.identity = identity(200);
        settings.credentials.network_key = network_keys();
        settings.credentials.suites = {crypto::Suite::chacha20_poly1305};
        settings.health = seconds(30);
        settings.timeout = seconds(10);
        settings.punch = true;
        client_.emplace(
            port_, std::move(settings), &crypto::random_bytes,
            [](const std::string& name, NameFamily, auto done) { done(fail("no such name: " + name)); },
            ClientDriver::Hooks{.on_change = [] {},
                                .on_node = [this](uint32_t node, Event event) { events_.emplace_back(node, event); },
                                .may_punch = [this](const wire::Endpoint& peer,
                                                    const wire::Endpoint&) { return peer.ip != not_punched_; }});
        now_ = EventLoop::now();
    }

    void make_node(uint32_t number) {
        FakeNode& node = nodes_[spec(number).id];
        NodeDriver::Settings settings;
        settings.identity = identity(static_cast<uint8_t>(number + 1));
        settings.network_keys.push_back(network_keys());
        settings.suites = {crypto::Suite::chacha20_poly1305};
        settings.capabilities = handshake::kCapabilityPunch;
        NodeDriver::Services services;
        services.punch = [this](uint32_t, const PublicKey&, const wire::Endpoint& peer, uint16_t, auto done) {
            punches_.emplace_back(peer, std::move(done));
        };
        node.driver.emplace(node.port, std::move(settings), &crypto::random_bytes, now_, std::move(services));
        node.driver->start();
    }

    void run() {
        for (bool busy = true; busy;) {
            busy = false;
            for (const auto& command : port_.take()) {
                busy = true;
                log_.push_back(command);
                client_command(command);
            }
            for (auto& [id, node] : nodes_)
                for (const auto& command : node.port.take()) {
                    busy = true;
                    node_command(command);
                }
        }
    }
    void advance(Duration by) {
        now_ += by;
        client_->tick(now_);
        run();
    }

    void client_command(const FakePort::Command& command) {
        if (command.type == ring::MessageType::control_connect) {
            const auto connect = command.as<ring::ControlConnect>();
            std::string dialled = from_ring(connect.address).format();
            for (const ring::Via& via : std::span(connect.via).first(connect.via_count))
                dialled +=
                    " >" + std::to_string(via.node) + (via.next.family == 0 ? "" : "@" + from_ring(via.next).format());
            dialled_.push_back(dialled);
            if (silent_.contains(dialled)) return;
            ring::ControlOpened opened{};
            opened.connection = connect.connection;
            opened.at = ring::kNoNode;
            const auto refusal = relay_refusals_.find(connect.via_count > 0 ? connect.via[0].node : ring::kNoNode);
            if (refusal != relay_refusals_.end()) {
                opened.status = refusal->second;
                opened.at = refusal->first;
            } else if (refused_.contains(dialled) || !nodes_.contains(connect.id)) {
                opened.error = ECONNREFUSED;
            } else {
                links_[connect.connection] = {connect.id, ++next_number_, {}, false};
            }
            client_->on_opened(command.engine, opened, now_);
        } else if (command.type == ring::MessageType::control_send) {
            const auto send = command.as<ring::ControlSend>();
            const auto link = links_.find(send.connection);
            if (link != links_.end()) to_node(link->second, Bytes(send.bytes).first(send.size));
        } else if (command.type == ring::MessageType::control_close) {
            links_.erase(command.as<ring::ControlClose>().connection);
        }
    }

    void to_node(Link& link, Bytes bytes) {
        NodeDriver& node = *nodes_.at(link.node).driver;
        if (link.accepted) {
            ring::ControlData data{};
            data.connection = link.number;
            data.size = static_cast<uint16_t>(bytes.size());
            std::copy(bytes.begin(), bytes.end(), data.bytes.begin());
            node.on_data(0, data, now_);
            return;
        }
        link.first.insert(link.first.end(), bytes.begin(), bytes.end());
        if (link.first.size() < ring::kHandshakeSize) return;
        link.accepted = true;
        ring::ControlAccepted accepted{};
        accepted.connection = link.number;
        accepted.peer = to_ring(*wire::Endpoint::parse("198.51.100.9:5555"));
        std::copy_n(link.first.begin(), ring::kHandshakeSize, accepted.bytes.begin());
        node.on_accepted(0, accepted, now_);
    }

    void node_command(const FakePort::Command& command) {
        if (command.type != ring::MessageType::control_send) return;
        const auto send = command.as<ring::ControlSend>();
        if (mute_) return;
        for (const auto& [connection, link] : links_) {
            if (link.number != send.connection) continue;
            ring::ControlData data{};
            data.connection = connection;
            data.size = send.size;
            data.bytes = send.bytes;
            client_->on_data(0, data, now_);
            return;
        }
    }

    // The connections to a node end, as when it is killed.
    void kill(uint32_t number) {
        const PublicKey id = spec(number).id;
        nodes_.erase(id);
        std::vector<uint64_t> ended;
        for (const auto& [connection, link] : links_)
            if (link.node == id) ended.push_back(connection);
        for (const uint64_t connection : ended) {
            links_.erase(connection);
            ring::ControlClosed closed{};
            closed.connection = connection;
            client_->on_closed(0, closed, now_);
        }
        run();
    }

    template <ring::Message M>
    [[nodiscard]] std::vector<M> sent() const {
        std::vector<M> found;
        for (const FakePort::Command& command : log_)
            if (command.type == M::kType) found.push_back(command.as<M>());
        return found;
    }
    [[nodiscard]] uint64_t session_of(uint32_t number) const {
        uint64_t id = 0;
        for (const auto& install : sent<ring::InstallSession>())
            if (install.node == number) id = install.session_id;
        return id;
    }
    [[nodiscard]] std::vector<uint32_t> routable() const {
        std::vector<uint32_t> numbers;
        for (const RoutableNode& node : client_->routable_nodes(now_))
            if (node.state == ring::HopState::up) numbers.push_back(node.node);
        return numbers;
    }
    void hop_failed(uint32_t node, uint32_t at, ring::HopStage stage, uint8_t status = 0) {
        ring::HopFailed failed{};
        failed.session_id = session_of(at);
        failed.node = node;
        failed.at = at;
        failed.stage = stage;
        failed.status = status;
        client_->on_hop_failed(failed, now_);
        run();
    }
    void stats(uint32_t node, uint64_t opened, uint64_t failed = 0, uint32_t rtt_us = 0, uint32_t engine = 0) {
        ring::NodeStats event{};
        event.count = 1;
        event.entries[0].node = node;
        event.entries[0].opened = opened;
        event.entries[0].failed = failed;
        event.entries[0].rtt_us = rtt_us;
        event.entries[0].in_flight = 3;
        client_->on_node_stats(engine, event, now_);
        run();
    }
    // As many failures as it takes.
    void eject(uint32_t node) {
        for (unsigned i = 0; i < Ejection::kFailuresMax; ++i) hop_failed(node, node, ring::HopStage::response);
        advance(Ejection::kEvidenceTime);
        ASSERT_EQ(client_->status(node).ejection, Ejection::State::ejected);
    }

    Instant now_;
    FakePort port_{2};
    std::optional<ClientDriver> client_;
    std::map<PublicKey, FakeNode> nodes_;
    std::map<uint64_t, Link> links_;
    uint64_t next_number_ = 0;
    std::vector<FakePort::Command> log_;
    wire::IpAddress not_punched_ = wire::IpAddress::v4(127, 0, 0, 1);
    // What nodes were asked to punch to, and their answers.
    std::vector<std::pair<wire::Endpoint, std::function<void(wire::PunchStatus, const wire::Endpoint&)>>> punches_;
    std::vector<std::string> dialled_;
    std::vector<std::pair<uint32_t, Event>> events_;
    std::set<std::string> refused_;
    std::set<std::string> silent_;
    std::map<uint32_t, uint8_t> relay_refusals_;  // number → StreamStatus
    bool mute_ = false;                           // nodes are stopped: nothing comes back
};

TEST_F(Net, NodesComeAndGo) {
    for (uint32_t i = 0; i < 4; ++i) make_node(i);
    client_->set_nodes({spec(0), spec(1)}, now_);
    run();
    EXPECT_THAT(dialled_, IsEmpty()) << "nothing before start()";
    client_->start(now_);
    run();
    EXPECT_THAT(routable(), ElementsAre(0, 1));
    const uint64_t kept = session_of(1);
    const uint64_t gone = session_of(0);

    log_.clear();
    events_.clear();
    client_->set_nodes({spec(1), spec(3)}, now_);
    run();
    EXPECT_THAT(routable(), ElementsAre(1, 3));
    EXPECT_FALSE(client_->knows(0));
    EXPECT_FALSE(client_->is_up(0));
    const auto removed = sent<ring::RemoveSession>();
    ASSERT_EQ(removed.size(), 2u) << "once per engine";
    EXPECT_EQ(removed[0].session_id, gone);
    EXPECT_EQ(removed[0].node_lost, 0);
    EXPECT_EQ(sent<ring::ControlClose>().size(), 1u);
    EXPECT_THAT(events_, ElementsAre(std::pair(0u, Event::down), std::pair(3u, Event::up)));
    EXPECT_NE(kept, 0u);
    EXPECT_EQ(client_->session_address(3), endpoint(3));

    // The same again is nothing.
    log_.clear();
    client_->set_nodes({spec(3), spec(1)}, now_);
    run();
    EXPECT_THAT(log_, IsEmpty());

    client_->set_nodes({}, now_);
    run();
    EXPECT_THAT(client_->numbers(), IsEmpty());
}

TEST_F(Net, ANumberWithAnotherIdIsAnotherNode) {
    make_node(0);
    make_node(5);
    client_->start(now_);
    client_->set_nodes({spec(0)}, now_);
    run();
    NodeSpec other = spec(5);
    other.number = 0;
    client_->set_nodes({other}, now_);
    run();
    EXPECT_EQ(client_->status(0).id, other.id);
    EXPECT_TRUE(client_->is_up(0));
    EXPECT_EQ(sent<ring::RemoveSession>().size(), 2u);
}

TEST_F(Net, AnotherAddressLeavesAWorkingSessionAlone) {
    make_node(1);
    client_->start(now_);
    client_->set_nodes({spec(1, {{.via = {}, .addrs = {address(1), address(9)}}})}, now_);
    run();
    const uint64_t session = session_of(1);
    log_.clear();
    client_->set_nodes({spec(1, {{.via = {}, .addrs = {address(7), address(1)}}})}, now_);
    run();
    EXPECT_THAT(log_, IsEmpty());
    EXPECT_EQ(routable(), std::vector<uint32_t>{1});

    // The address in use is gone: another session first, then the old one is retired.
    client_->set_nodes({spec(1, {{.via = {}, .addrs = {address(7)}}})}, now_);
    run();
    EXPECT_NE(session_of(1), session);
    EXPECT_THAT(sent<ring::RemoveSession>(), IsEmpty());
    EXPECT_EQ(client_->session_address(1), endpoint(7));
}

TEST_F(Net, ARemovedAddressWithoutAnotherThatWorksEndsTheSession) {
    make_node(1);
    client_->start(now_);
    client_->set_nodes({spec(1)}, now_);
    run();
    refused_ = {"192.0.2.7:4000"};
    client_->set_nodes({spec(1, {{.via = {}, .addrs = {address(7)}}})}, now_);
    run();
    EXPECT_FALSE(client_->is_up(1));
    EXPECT_EQ(sent<ring::RemoveSession>().size(), 2u);
}

TEST_F(Net, APathWaitsForItsRelay) {
    make_node(1);
    make_node(2);
    client_->start(now_);
    client_->set_nodes({spec(1, {{.via = {2}, .addrs = {}}}), spec(2)}, now_);
    run();
    EXPECT_THAT(dialled_, ElementsAre("192.0.2.2:4000", "192.0.2.2:4000 >2"));
    EXPECT_TRUE(client_->is_up(1));
    const auto connects = sent<ring::ControlConnect>();
    EXPECT_EQ(connects[1].id, spec(1).id);
    EXPECT_EQ(client_->session_address(1), endpoint(2)) << "the relay";
    const auto hops = client_->routable_nodes(now_);
    EXPECT_EQ(hops[0].via_count, 1);
    EXPECT_EQ(hops[0].via[0].node, 2u);
    EXPECT_EQ(hops[0].via[0].next.family, 0) << "a reservation";
    EXPECT_THAT(client_->status(1).path, HasSubstr("via " + encode_node_id(spec(2).id) + " (192.0.2.2:4000)"));
}

class Punched : public Net {
protected:
    Punched() {
        make_node(1);
        make_node(2);
        client_->start(now_);
    }
    void connect(NodePath path = {.via = {2}, .addrs = {}}) {
        client_->set_nodes({spec(1, {std::move(path)}), spec(2)}, now_);
        run();
        ASSERT_TRUE(client_->is_up(1));
    }
    void observe(uint32_t node = 1) {
        ring::PunchObserved event{};
        event.punch = ring::kClientPunchBit | 7;
        event.node = node;
        event.observed = to_ring(kHere);
        client_->on_punch_observed(0, event, now_);
        run();
    }
    [[nodiscard]] ring::PunchPeer peer() const {
        const auto peers = sent<ring::PunchPeer>();
        EXPECT_EQ(peers.size(), 1u);
        return peers.empty() ? ring::PunchPeer{} : peers[0];
    }

    const wire::Endpoint kHere{wire::IpAddress::v4(203, 0, 113, 5), 40000};
    const wire::Endpoint kThere{wire::IpAddress::v4(198, 51, 100, 9), 50000};
};

TEST_F(Punched, IsAgreedOverTheControlConnection) {
    connect();
    EXPECT_TRUE(client_->routable_nodes(now_)[0].punch);
    observe();
    ASSERT_EQ(punches_.size(), 1u);
    EXPECT_EQ(punches_[0].first, kHere);
    EXPECT_THAT(sent<ring::PunchPeer>(), IsEmpty());
    punches_[0].second(wire::PunchStatus::ready, kThere);
    run();
    EXPECT_EQ(peer().punch, ring::kClientPunchBit | 7);
    EXPECT_EQ(peer().start, ring::PunchStart::ready);
    EXPECT_EQ(from_ring(peer().peer), kThere);
}

TEST_F(Punched, WhatTheNodeDoesNotDoIsPassedOn) {
    connect();
    observe();
    punches_.at(0).second(wire::PunchStatus::busy, {});
    run();
    EXPECT_EQ(peer().start, ring::PunchStart::busy);
    log_.clear();
    observe();
    punches_.at(1).second(wire::PunchStatus::impossible, {});
    run();
    EXPECT_EQ(peer().start, ring::PunchStart::impossible);
}

TEST_F(Punched, AnAddressThatIsNotToBeDialledIsNotDialled) {
    connect();
    not_punched_ = kThere.ip;
    observe();
    punches_.at(0).second(wire::PunchStatus::ready, kThere);
    run();
    EXPECT_EQ(peer().start, ring::PunchStart::impossible);
}

TEST_F(Punched, WithoutAnAnswerNotThisTime) {
    connect();
    observe();
    EXPECT_LE(*client_->deadline(now_), now_ + ClientPunches::kAnswerTime);
    advance(ClientPunches::kAnswerTime);
    EXPECT_EQ(peer().start, ring::PunchStart::busy);
    punches_.at(0).second(wire::PunchStatus::ready, kThere);
    run();
    EXPECT_EQ(sent<ring::PunchPeer>().size(), 1u);
}

TEST_F(Punched, NotOnADirectPathNorPastOneThatIsPrescribed) {
    connect({.via = {}, .addrs = {address(1)}});
    EXPECT_FALSE(client_->routable_nodes(now_)[0].punch);
    observe();
    EXPECT_EQ(peer().start, ring::PunchStart::impossible);
    connect({.via = {2}, .addrs = {}, .fixed = true});
    EXPECT_EQ(client_->routable_nodes(now_)[0].via_count, 1);
    EXPECT_FALSE(client_->routable_nodes(now_)[0].punch);
    log_.clear();
    observe();
    EXPECT_EQ(peer().start, ring::PunchStart::impossible);
    EXPECT_THAT(punches_, IsEmpty());
}

TEST_F(Punched, APathThatBecomesPrescribedIsTakenAnew) {
    connect();
    connect({.via = {2}, .addrs = {}, .fixed = true});
    EXPECT_FALSE(client_->routable_nodes(now_)[0].punch);
}

TEST_F(Punched, CanBeSwitchedOff) {
    connect();
    client_->set_punch(false);
    EXPECT_FALSE(client_->routable_nodes(now_)[0].punch);
    observe();
    EXPECT_EQ(peer().start, ring::PunchStart::impossible);
}

TEST_F(Net, AChainOfRelaysIsBuiltOneByOne) {
    for (uint32_t i = 1; i <= 3; ++i) make_node(i);
    NodeSpec first = spec(1);
    NodeSpec second = spec(2, {{.via = {1}, .addrs = {address(2)}}});
    first.routable = second.routable = false;
    client_->start(now_);
    client_->set_nodes({first, second, spec(3, {{.via = {1, 2}, .addrs = {address(3)}}})}, now_);
    run();
    EXPECT_THAT(dialled_, ElementsAre("192.0.2.1:4000", "192.0.2.1:4000 >1@192.0.2.2:4000",
                                      "192.0.2.1:4000 >1@192.0.2.2:4000 >2@192.0.2.3:4000"));
    EXPECT_THAT(routable(), ElementsAre(3)) << "streams do not leave by the relays";
    EXPECT_EQ(client_->routable_nodes(now_)[0].via_count, 2);
    EXPECT_EQ(client_->routable_count(), 1u);

    // A relay in the middle ends: everything behind it does.
    kill(1);
    EXPECT_EQ(client_->nodes_up(), 0u);
    make_node(1);
    advance(seconds(1));
    advance(milliseconds(0));
    EXPECT_THAT(routable(), ElementsAre(3)) << "at once when the relay is back, without its own back-off";
}

TEST_F(Net, ARelayThatIsDownMakesRoomForTheNextPath) {
    make_node(1);
    make_node(3);
    client_->start(now_);
    client_->set_nodes({spec(1, {{.via = {2}, .addrs = {}}, {.via = {3}, .addrs = {}}}), spec(2), spec(3)}, now_);
    run();
    EXPECT_TRUE(client_->is_up(1));
    EXPECT_EQ(client_->session_address(1), endpoint(3));
    EXPECT_FALSE(client_->is_up(2));
}

TEST_F(Net, WhichRelayRefusedAndHow) {
    const struct {
        uint8_t status;
        const char* text;
    } kTable[] = {{7, "does not relay"},
                  {11, "is at capacity"},
                  {12, "is draining"},
                  {13, "knows no way to the next node"},
                  {14, "could not reach the next node"},
                  {15, "has reached the limit that it sets to each member"},
                  {99, "refused"}};
    make_node(1);
    make_node(2);
    const std::string relay = "relay " + encode_node_id(spec(2).id) + " (192.0.2.2:4000) ";
    client_->set_nodes({spec(1, {{.via = {2}, .addrs = {address(1)}}}), spec(2)}, now_);
    for (const auto& row : kTable) {
        relay_refusals_ = {{2, row.status}};
        client_->start(now_);
        run();
        EXPECT_THAT(client_->status(1).last_error, HasSubstr(relay + row.text));
        client_->reset(now_);
        port_.commands.clear();
        links_.clear();
    }
}

TEST_F(Net, ABetterPathIsTriedAgainAndTakenOver) {
    make_node(1);
    make_node(2);
    refused_ = {"192.0.2.1:4000"};
    client_->start(now_);
    client_->set_nodes({spec(1, {{.via = {}, .addrs = {address(1)}}, {.via = {2}, .addrs = {}}}), spec(2)}, now_);
    run();
    ASSERT_TRUE(client_->is_up(1));
    EXPECT_EQ(client_->session_address(1), endpoint(2));
    const uint64_t relayed = session_of(1);
    dialled_.clear();
    events_.clear();
    advance(NodeSession::kImproveMin - milliseconds(1));
    EXPECT_THAT(dialled_, IsEmpty()) << "not before half a minute";
    advance(NodeSession::kImproveMin + milliseconds(1));
    EXPECT_THAT(dialled_, ElementsAre("192.0.2.1:4000")) << "only the better one";
    EXPECT_TRUE(client_->is_up(1));
    EXPECT_EQ(session_of(1), relayed);
    EXPECT_THAT(events_, IsEmpty()) << "a look in vain is no failure of the node";
    EXPECT_EQ(client_->status(1).failures, 0u);

    refused_.clear();
    advance(NodeSession::kImproveMin * 2 + milliseconds(1));
    EXPECT_NE(session_of(1), relayed);
    EXPECT_EQ(client_->session_address(1), endpoint(1));
    EXPECT_EQ(client_->status(1).path, "direct");
    EXPECT_THAT(sent<ring::RemoveSession>(), IsEmpty()) << "the old session serves until it is retired";
    EXPECT_THAT(events_, ElementsAre(std::pair(1u, Event::up)));
    dialled_.clear();
    advance(NodeSession::kImproveMin * 3);
    EXPECT_THAT(dialled_, IsEmpty()) << "there is nothing better";
}

TEST_F(Net, AFailingPathIsLeftAtOnce) {
    make_node(1);
    make_node(2);
    client_->start(now_);
    client_->set_nodes({spec(1, {{.via = {}, .addrs = {address(1)}}, {.via = {2}, .addrs = {}}}), spec(2)}, now_);
    run();
    ASSERT_EQ(client_->session_address(1), endpoint(1));
    hop_failed(1, 1, ring::HopStage::connect);
    EXPECT_EQ(client_->session_address(1), endpoint(2)) << "though the direct path would have answered";
    EXPECT_EQ(client_->status(1).ejection, Ejection::State::in);
}

TEST_F(Net, APathWhoseStreamsFailIsLeftAlthoughItsPingsAreAnswered) {
    make_node(1);
    make_node(2);
    make_node(3);
    client_->start(now_);
    client_->set_nodes({spec(1, {{.via = {2}, .addrs = {}}, {.via = {3}, .addrs = {}}}), spec(2), spec(3)}, now_);
    run();
    ASSERT_EQ(client_->session_address(1), endpoint(2));
    events_.clear();
    for (unsigned i = 0; i < Ejection::kFailuresMax; ++i) hop_failed(1, 1, ring::HopStage::response);
    advance(Ejection::kEvidenceTime);
    EXPECT_EQ(client_->session_address(1), endpoint(3));
    EXPECT_EQ(client_->status(1).ejection, Ejection::State::in) << "nothing has failed on this path";
    EXPECT_THAT(events_, ElementsAre(std::pair(1u, Event::up))) << "the old session served until then";
}

TEST_F(Net, ARelaysFailureIsNotTheNodes) {
    for (uint32_t i = 1; i <= 3; ++i) make_node(i);
    client_->start(now_);
    client_->set_nodes({spec(1, {{.via = {2}, .addrs = {}}, {.via = {3}, .addrs = {}}}), spec(2), spec(3)}, now_);
    run();
    ASSERT_EQ(client_->session_address(1), endpoint(2));
    for (int i = 0; i < 20; ++i) {
        hop_failed(1, 2, ring::HopStage::response, 15);
        advance(milliseconds(100));
    }
    EXPECT_EQ(client_->session_address(1), endpoint(3));
    EXPECT_EQ(client_->status(1).ejection, Ejection::State::in);
    EXPECT_EQ(client_->status(2).ejection, Ejection::State::in) << "as an exit it is well";
    EXPECT_TRUE(client_->is_up(2));
}

TEST_F(Net, AStoppedNodeLeavesWithinTwoIntervals) {
    make_node(0);
    client_->set_times(seconds(1), seconds(10), now_);
    client_->start(now_);
    client_->set_nodes({spec(0)}, now_);
    run();
    advance(milliseconds(1));
    ASSERT_THAT(routable(), ElementsAre(0));
    mute_ = true;
    advance(milliseconds(999));
    EXPECT_THAT(routable(), ElementsAre(0));
    log_.clear();
    advance(milliseconds(1000));
    EXPECT_THAT(routable(), IsEmpty());
    const auto removed = sent<ring::RemoveSession>();
    ASSERT_EQ(removed.size(), 2u);
    EXPECT_EQ(removed[0].node_lost, 1);
    EXPECT_EQ(client_->status(0).probes_lost, 1u);
    EXPECT_GE(client_->status(0).probes_sent, 2u);
}

TEST_F(Net, FailuresInARowEjectAndASuccessRestores) {
    make_node(0);
    make_node(1);
    client_->start(now_);
    client_->set_nodes({spec(0), spec(1)}, now_);
    run();
    eject(0);
    EXPECT_THAT(routable(), ElementsAre(1));
    EXPECT_TRUE(client_->is_up(0)) << "its session stays";
    const Instant until = client_->status(0).ejected_until;
    EXPECT_GE(until - now_, Ejection::kWaitMin / 2);
    EXPECT_LE(until - now_, Ejection::kWaitMin);

    const uint64_t probes = client_->status(0).probes_sent;
    advance(std::chrono::duration_cast<Duration>(until - now_) + milliseconds(1));
    EXPECT_EQ(client_->status(0).ejection, Ejection::State::trial);
    EXPECT_EQ(client_->status(0).probes_sent, probes + 1) << "a PING with it";
    EXPECT_THAT(routable(), ElementsAre(0, 1));
    EXPECT_TRUE(client_->routable_nodes(now_)[0].trial);

    hop_failed(0, 0, ring::HopStage::response);
    EXPECT_EQ(client_->status(0).ejection, Ejection::State::ejected) << "one is enough now";
    EXPECT_GT(client_->status(0).ejected_until - now_, Ejection::kWaitMin / 2);
    advance(2 * Ejection::kWaitMin + milliseconds(1));
    stats(0, 1);
    EXPECT_EQ(client_->status(0).ejection, Ejection::State::in);
    EXPECT_FALSE(client_->routable_nodes(now_)[0].trial);
}

TEST_F(Net, FailuresBetweenSuccessesEjectNobody) {
    make_node(0);
    make_node(1);
    client_->start(now_);
    client_->set_nodes({spec(0), spec(1)}, now_);
    run();
    for (uint64_t second = 1; second <= 20; ++second) {
        for (int i = 0; i < 20; ++i) hop_failed(0, 0, ring::HopStage::response);
        advance(seconds(1));
        stats(0, second * 100, second * 20);
    }
    EXPECT_THAT(routable(), ElementsAre(0, 1));
}

TEST_F(Net, TheLastNodeIsKeptAlthoughItFails) {
    make_node(0);
    make_node(1);
    client_->start(now_);
    client_->set_nodes({spec(0), spec(1)}, now_);
    run();
    for (unsigned i = 0; i < Ejection::kFailuresMax; ++i)
        for (const uint32_t node : {0U, 1U}) hop_failed(node, node, ring::HopStage::response);
    advance(Ejection::kEvidenceTime);
    EXPECT_NE(client_->status(0).last_resort, client_->status(1).last_resort);
    const uint32_t kept = client_->status(0).last_resort ? 0 : 1;
    EXPECT_THAT(routable(), ElementsAre(kept));
    // Another node comes: it is not needed any more.
    make_node(2);
    client_->set_nodes({spec(0), spec(1), spec(2)}, now_);
    run();
    EXPECT_FALSE(client_->status(kept).last_resort);
    EXPECT_THAT(routable(), testing::Contains(2));
}

TEST_F(Net, StatisticsAddUpOverEnginesAndRestarts) {
    make_node(0);
    client_->start(now_);
    client_->set_nodes({spec(0)}, now_);
    run();
    stats(0, 10, 1, 0, 0);
    stats(0, 5, 0, 0, 1);
    EXPECT_EQ(client_->status(0).traffic.opened, 15u);
    EXPECT_EQ(client_->status(0).traffic.failed, 1u);
    EXPECT_EQ(client_->status(0).traffic.in_flight, 6u);
    stats(0, 2, 0, 0, 1);  // it forgot the node meanwhile
    EXPECT_EQ(client_->status(0).traffic.opened, 17u);
    client_->reset(now_);
    port_.commands.clear();
    EXPECT_EQ(client_->status(0).traffic.opened, 17u);
    EXPECT_EQ(client_->status(0).traffic.in_flight, 0u);
    stats(7, 1);  // nobody knows it
}

TEST_F(Net, StreamsMeasureToo) {
    make_node(0);
    client_->start(now_);
    client_->set_nodes({spec(0)}, now_);
    run();
    ASSERT_TRUE(client_->status(0).latency.has_value());
    for (uint32_t i = 0; i < 100; ++i) stats(0, i + 1, 0, 80'000 + i % 2);
    EXPECT_NEAR(static_cast<double>(client_->status(0).latency->count()), 80'000, 500);
    const auto settled = client_->routable_nodes(now_)[0].latency;
    EXPECT_NEAR(static_cast<double>(settled->count()), 80'000, 4'000) << "within 5 %";
}

TEST_F(Net, APolicyQuestionIsAnsweredOrTimesOut) {
    make_node(0);
    client_->start(now_);
    client_->set_nodes({spec(0)}, now_);
    run();
    mute_ = true;
    int answers = 0;
    bool answered = true;
    const wire::Target target = *wire::Target::parse("example.org:443");
    const auto done = [&](const std::optional<wire::ControlMessage>& answer) {
        ++answers;
        answered = answer.has_value();
    };
    client_->ask_policy(0, target, now_, done);
    run();
    EXPECT_EQ(answers, 0);
    EXPECT_LE(*client_->deadline(now_), now_ + ClientDriver::kPolicyAnswerTime);
    advance(ClientDriver::kPolicyAnswerTime);
    EXPECT_EQ(answers, 1);
    EXPECT_FALSE(answered);

    client_->ask_policy(99, target, now_, done);
    EXPECT_EQ(answers, 2) << "nobody to ask: at once";
    client_->ask_policy(0, target, now_, done);
    kill(0);
    EXPECT_EQ(answers, 3) << "the node is gone";
}

TEST_F(Net, EventsAboutNobodyAreNothing) {
    make_node(0);
    client_->start(now_);
    client_->set_nodes({spec(0)}, now_);
    run();
    log_.clear();
    for (const uint64_t connection :
         {ring::kOutgoingConnectionBit, ring::kOutgoingConnectionBit | 77, ~uint64_t{0}, uint64_t{1} << 48}) {
        ring::ControlOpened opened{};
        opened.connection = connection;
        client_->on_opened(0, opened, now_);
        ring::ControlData data{};
        data.connection = connection;
        data.size = 1;
        client_->on_data(0, data, now_);
        ring::ControlClosed closed{};
        closed.connection = connection;
        client_->on_closed(0, closed, now_);
    }
    hop_failed(5, 6, ring::HopStage::connect);
    EXPECT_TRUE(client_->is_up(0));
    EXPECT_THAT(log_, IsEmpty());
}

}  // namespace
}  // namespace qanat::controlplane
