// The node's and the client's driver face to face, through two fake data planes that carry control connections from one
// to the other in memory:
//
//   ClientDriver ── commands ──> [client engines] ══ "TCP" ══ [node engines] ── events ──> NodeDriver
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>

#include "common/crypto/random.h"
#include "controlplane/handshake/client_driver.h"
#include "controlplane/handshake/node_driver.h"
#include "tests/unit/controlplane/handshake/fake_port.h"

namespace qanat::controlplane {
namespace {

using std::chrono::seconds;

crypto::NetworkKeys network_keys(uint8_t number) {
    Secret<32> psk;
    psk.writable()[0] = number;
    return crypto::derive_network_keys(psk);
}

Identity identity(uint8_t number) {
    Secret<32> random;
    random.writable()[1] = number;  // not a byte that X25519 clamps
    return make_key_pair(std::move(random));
}

class World : public testing::Test {
protected:
    static constexpr uint32_t kClientEngines = 2;
    static constexpr uint32_t kNodeEngines = 3;

    World() { make_node(); }

    void make_node() {
        NodeDriver::Settings settings;
        settings.identity = identity(1);
        settings.network_keys.push_back(network_keys(9));
        settings.suites = {crypto::Suite::aes_128_gcm, crypto::Suite::chacha20_poly1305};
        settings.sessions_max = sessions_max_;
        settings.admission = admission_;
        node_.emplace(node_port_, std::move(settings), &crypto::random_bytes, EventLoop::now());
        node_->start();
    }

    void make_client(uint8_t key = 9, uint8_t node_id = 1, std::vector<NodeAddress> addresses = {},
                     uint8_t client_id = 2) {
        ClientDriver::Settings settings;
        settings.credentials.identity = identity(client_id);
        settings.credentials.network_key = network_keys(key);
        settings.credentials.suites = {crypto::Suite::chacha20_poly1305};
        if (addresses.empty()) addresses.push_back({wire::Target(*wire::Endpoint::parse("192.0.2.1:4000"))});
        settings.health = seconds(30);
        settings.timeout = seconds(10);
        client_.emplace(
            client_port_, std::move(settings), &crypto::random_bytes,
            [this](const std::string& name, NameFamily, auto done) {
                lookups_.push_back(name);
                if (resolved_.empty())
                    done(fail("the name " + name + " does not exist"));
                else
                    done(resolved_);
            },
            ClientDriver::Hooks{
                .on_change = [this] { ++changes_; },
                .on_node = [this](uint32_t node,
                                  ClientDriver::NodeEvent event) { events_.emplace_back(node, event); }});
        client_->set_nodes({spec(0, node_id, {{.via = {}, .addrs = std::move(addresses)}})}, now());
        client_->start(now());
    }

    [[nodiscard]] static NodeSpec spec(uint32_t number, uint8_t node_id, std::vector<NodePath> paths) {
        NodeSpec made;
        made.number = number;
        made.id = identity(node_id).public_key;
        made.paths = std::move(paths);
        return made;
    }

    [[nodiscard]] static Instant now() { return EventLoop::now(); }

    // Carries out commands until nobody has any left.
    void run() {
        while (!client_port_.commands.empty() || !node_port_.commands.empty()) {
            for (const auto& command : client_port_.take()) client_command(command);
            for (const auto& command : node_port_.take()) node_command(command);
        }
    }

    void client_command(const FakePort::Command& command) {
        client_log_.push_back(command);
        switch (command.type) {
            case ring::MessageType::control_connect: {
                const auto connect = command.as<ring::ControlConnect>();
                dialled_.push_back(from_ring(connect.address).format());
                ring::ControlOpened opened{};
                opened.connection = connect.connection;
                opened.at = ring::kNoNode;
                opened.error = refuse_connects_ ? ECONNREFUSED : 0;
                if (!refuse_connects_)
                    links_[connect.connection] = {++next_node_connection_, command.engine, {}, false};
                client_->on_opened(command.engine, opened, now());
                break;
            }
            case ring::MessageType::control_send: {
                const auto send = command.as<ring::ControlSend>();
                const auto link = links_.find(send.connection);
                if (link == links_.end()) break;
                to_node(link->second, Bytes(send.bytes).first(send.size));
                break;
            }
            case ring::MessageType::control_close: {
                const auto link = links_.find(command.as<ring::ControlClose>().connection);
                if (link == links_.end()) break;
                ring::ControlClosed closed{};
                closed.connection = link->second.number;
                node_->on_closed(0, closed, now());
                links_.erase(link);
                break;
            }
            default:
                break;
        }
    }

    struct Link {
        uint64_t number = 0;  // at the node
        uint32_t client_engine = 0;
        std::vector<uint8_t> first;
        bool accepted = false;
    };

    void to_node(Link& link, Bytes bytes) {
        if (!link.accepted) {
            link.first.insert(link.first.end(), bytes.begin(), bytes.end());
            if (link.first.size() < ring::kHandshakeSize) return;
            link.accepted = true;
            ring::ControlAccepted accepted{};
            accepted.connection = link.number;
            accepted.peer = to_ring(*wire::Endpoint::parse("198.51.100.9:5555"));
            std::copy_n(link.first.begin(), ring::kHandshakeSize, accepted.bytes.begin());
            if (tamper_msg1_) accepted.bytes[100] ^= 1;
            last_msg1_ = accepted;
            node_->on_accepted(0, accepted, now());
            return;
        }
        ring::ControlData data{};
        data.connection = link.number;
        data.size = static_cast<uint16_t>(bytes.size());
        std::copy(bytes.begin(), bytes.end(), data.bytes.begin());
        node_->on_data(0, data, now());
    }

    void node_command(const FakePort::Command& command) {
        node_log_.push_back(command);
        if (command.type == ring::MessageType::control_send) {
            const auto send = command.as<ring::ControlSend>();
            for (auto& [number, link] : links_) {
                if (link.number != send.connection) continue;
                // In pieces, as a network does.
                const Bytes all = Bytes(send.bytes).first(send.size);
                const uint32_t engine = link.client_engine;
                const uint64_t connection = number;
                for (size_t at = 0; at < all.size(); at += 100) {
                    const Bytes piece = all.subspan(at, std::min<size_t>(100, all.size() - at));
                    ring::ControlData data{};
                    data.connection = connection;
                    data.size = static_cast<uint16_t>(piece.size());
                    std::copy(piece.begin(), piece.end(), data.bytes.begin());
                    client_->on_data(engine, data, now());
                }
                return;
            }
        } else if (command.type == ring::MessageType::control_close) {
            const auto close = command.as<ring::ControlClose>();
            closes_.push_back(close.how);
            for (auto link = links_.begin(); link != links_.end(); ++link) {
                if (link->second.number != close.connection) continue;
                ring::ControlClosed closed{};
                closed.connection = link->first;
                const uint32_t engine = link->second.client_engine;
                links_.erase(link);
                client_->on_closed(engine, closed, now());
                return;
            }
        }
    }

    template <ring::Message M>
    [[nodiscard]] static std::vector<M> all(const std::vector<FakePort::Command>& log) {
        std::vector<M> found;
        for (const FakePort::Command& command : log)
            if (command.type == M::kType) found.push_back(command.template as<M>());
        return found;
    }

    [[nodiscard]] NodeSession::State state() const { return client_->status(0).state; }

    size_t sessions_max_ = 100;
    Admission::Settings admission_;
    FakePort client_port_{kClientEngines};
    FakePort node_port_{kNodeEngines};
    std::optional<NodeDriver> node_;
    std::optional<ClientDriver> client_;
    std::map<uint64_t, Link> links_;  // by the client's number
    uint64_t next_node_connection_ = 0;
    std::vector<FakePort::Command> client_log_;
    std::vector<FakePort::Command> node_log_;
    std::vector<ring::CloseHow> closes_;
    std::vector<std::string> dialled_;
    std::vector<std::string> lookups_;
    std::vector<wire::IpAddress> resolved_;
    ring::ControlAccepted last_msg1_{};
    bool refuse_connects_ = false;
    bool tamper_msg1_ = false;
    int changes_ = 0;
    std::vector<std::pair<uint32_t, ClientDriver::NodeEvent>> events_;
};

TEST_F(World, AHandshakeInstallsTheSameSessionOnBothSides) {
    make_client();
    run();
    ASSERT_EQ(state(), NodeSession::State::up);
    const auto at_client = all<ring::InstallSession>(client_log_);
    const auto at_node = all<ring::InstallSession>(node_log_);
    ASSERT_EQ(at_client.size(), kClientEngines);
    ASSERT_EQ(at_node.size(), kNodeEngines);
    for (const ring::InstallSession& install : at_node) {
        EXPECT_EQ(install.session_id, at_client[0].session_id);
        EXPECT_EQ(install.data_secret, at_client[0].data_secret);
        EXPECT_EQ(install.window, at_client[0].window);
        EXPECT_EQ(install.suite, static_cast<uint8_t>(crypto::Suite::chacha20_poly1305));
        EXPECT_EQ(install.side, ring::SessionSide::node);
        EXPECT_EQ(install.peer, identity(2).public_key);
    }
    const auto keys = all<ring::NodeKeys>(node_log_);
    ASSERT_EQ(keys.size(), kNodeEngines);
    EXPECT_EQ(at_client[1].header_key, keys[0].header_key);
    EXPECT_EQ(at_client[0].peer, identity(1).public_key);

    // The PING has confirmed it, and the PONG has been timed.
    EXPECT_EQ(node_->sessions().size(), 1u);
    EXPECT_EQ(node_->sessions().provisional(), 0u);
    EXPECT_TRUE(client_->status(0).latency.has_value());
    EXPECT_EQ(node_->handshakes_ok(), 1u);
    EXPECT_EQ(client_->handshakes_ok(), 1u);
    EXPECT_TRUE(node_->handshakes_failed().empty());
    const auto routable = client_->routable_nodes(now());
    ASSERT_EQ(routable.size(), 1u);
    EXPECT_EQ(routable[0].state, ring::HopState::up);
    EXPECT_EQ(from_ring(routable[0].address).format(), "192.0.2.1:4000");
}

TEST_F(World, OnlyTheFirstPongLiftsTheDeadlineOfUnauthenticatedConnections) {
    make_client();
    run();
    const auto sent = all<ring::ControlSend>(node_log_);
    ASSERT_EQ(sent.size(), 2u);
    EXPECT_EQ(sent[0].size, handshake::kMsg2Size);
    EXPECT_EQ(sent[0].authenticated, 0);
    EXPECT_EQ(sent[1].size, wire::kControlRecordSize);
    EXPECT_EQ(sent[1].authenticated, 1);
}

TEST_F(World, Msg2WaitsUntilEveryEngineHasTheSession) {
    node_port_.hold_flush = true;
    make_client();
    run();
    EXPECT_EQ(state(), NodeSession::State::connecting);
    EXPECT_EQ(all<ring::InstallSession>(node_log_).size(), kNodeEngines);
    EXPECT_TRUE(all<ring::ControlSend>(node_log_).empty());
    node_port_.flush();
    run();
    EXPECT_EQ(state(), NodeSession::State::up);
}

TEST_F(World, TheClientMayLeaveBeforeMsg2IsSent) {
    node_port_.hold_flush = true;
    make_client();
    run();
    client_->reset(now());
    ring::ControlClosed closed{};
    closed.connection = 1;
    node_->on_closed(0, closed, now());
    node_port_.flush();
    run();
    EXPECT_TRUE(all<ring::ControlSend>(node_log_).empty());
    EXPECT_EQ(node_->sessions().provisional(), 1u);
}

TEST_F(World, WhateverIsWrongIsSilence) {
    const struct {
        const char* what;
        std::function<void()> start;
        const char* counted;
    } kTable[] = {
        {"wrong network key", [this] { make_client(8); }, "bad_gate_tag"},
        {"wrong node id", [this] { make_client(9, 7); }, "bad_gate_tag"},
        {"changed on the way",
         [this] {
             tamper_msg1_ = true;
             make_client();
         },
         "bad_gate_tag"},
    };
    for (const auto& row : kTable) {
        SCOPED_TRACE(row.what);
        make_node();
        node_log_.clear();
        closes_.clear();
        row.start();
        run();
        tamper_msg1_ = false;
        EXPECT_TRUE(all<ring::ControlSend>(node_log_).empty()) << "not a byte";
        EXPECT_TRUE(all<ring::InstallSession>(node_log_).empty());
        EXPECT_THAT(closes_, testing::ElementsAre(ring::CloseHow::silent));
        EXPECT_EQ(node_->sessions().size(), 0u);
        EXPECT_EQ(node_->handshakes_failed().size(), 1u);
        EXPECT_EQ(node_->control_connections(), 0u);
        EXPECT_EQ(state(), NodeSession::State::down);
        EXPECT_THAT(client_->status(0).last_error,
                    testing::HasSubstr("no answer: wrong network key, wrong node id, or not a Qanat node"));
    }
}

TEST_F(World, AReplayedMsg1IsDropped) {
    make_client();
    run();
    closes_.clear();
    node_log_.clear();
    last_msg1_.connection = 4711;
    node_->on_accepted(1, last_msg1_, now());
    run();
    EXPECT_THAT(closes_, testing::ElementsAre(ring::CloseHow::silent));
    EXPECT_TRUE(all<ring::InstallSession>(node_log_).empty());
    EXPECT_EQ(node_->sessions().size(), 1u);
}

TEST_F(World, UnderLoadAClientAnswersTheChallenge) {
    admission_.handshakes_burst = 10;
    admission_.handshakes_per_second = 0.001;
    make_node();
    for (int i = 0; i < 10; ++i) {
        make_client();
        run();
        ASSERT_EQ(state(), NodeSession::State::up) << i;
        EXPECT_EQ(node_->challenges(), i <= 5 ? 0u : static_cast<unsigned>(i - 5));
        client_->reset(now());
    }
    // The budget is used up.
    make_client();
    run();
    EXPECT_EQ(state(), NodeSession::State::down);
    EXPECT_EQ(node_->handshakes_failed().at("rate_limited"), 1u);
}

TEST_F(World, TooManySessionsIsSaidToMembersOnly) {
    sessions_max_ = 1;
    make_node();
    make_client();
    run();
    ASSERT_EQ(state(), NodeSession::State::up);
    // Another client, with another identity, while the first is there.
    links_.clear();
    make_client(9, 1, {}, 3);
    run();
    EXPECT_THAT(client_->status(0).last_error, testing::HasSubstr("too many sessions"));
    EXPECT_EQ(node_->handshakes_failed().at("refused_too_many_sessions"), 1u);
}

TEST_F(World, NoCommonSuite) {
    NodeDriver::Settings settings;
    settings.identity = identity(1);
    settings.network_keys.push_back(network_keys(9));
    settings.suites = {crypto::Suite::aes_128_gcm};
    node_.emplace(node_port_, std::move(settings), &crypto::random_bytes, now());
    make_client();
    run();
    EXPECT_THAT(client_->status(0).last_error, testing::HasSubstr("none of the ciphers"));
}

TEST_F(World, ANodeThatDrainsTellsItsClientsAndRefusesNewOnes) {
    make_client();
    run();
    node_->announce_draining();
    run();
    EXPECT_EQ(state(), NodeSession::State::down);
    EXPECT_EQ(all<ring::RemoveSession>(client_log_).size(), kClientEngines);
    EXPECT_TRUE(client_->routable_nodes(now()).empty());
    client_->tick(now() + seconds(2));
    run();
    EXPECT_THAT(client_->status(0).last_error, testing::HasSubstr("draining"));
    EXPECT_EQ(node_->handshakes_failed().at("refused_draining"), 1u);
}

TEST_F(World, ALostControlConnectionIsReplacedAtOnce) {
    make_client();
    run();
    const auto before = all<ring::InstallSession>(client_log_)[0].session_id;
    ring::ControlClosed closed{};
    closed.connection = links_.begin()->first;
    links_.clear();
    client_log_.clear();
    client_->on_closed(0, closed, now());
    run();
    EXPECT_EQ(state(), NodeSession::State::up);
    const auto removed = all<ring::RemoveSession>(client_log_);
    ASSERT_EQ(removed.size(), kClientEngines);
    EXPECT_EQ(removed[0].session_id, before);
    EXPECT_NE(all<ring::InstallSession>(client_log_).at(0).session_id, before);
    // The old session goes before the new one comes.
    EXPECT_EQ(client_log_[0].type, ring::MessageType::remove_session);
}

TEST_F(World, SessionsEndAtTheNodeWhenTheirTimeHasCome) {
    make_client();
    run();
    const Instant later = now() + seconds(3601);
    node_->tick(later);
    EXPECT_EQ(node_->sessions().size(), 0u);
    run();
    EXPECT_EQ(all<ring::RemoveSession>(node_log_).size(), kNodeEngines);
    EXPECT_THAT(closes_, testing::ElementsAre(ring::CloseHow::close));
}

TEST_F(World, AnUnconfirmedSessionEndsAfterThirtySeconds) {
    make_client();
    node_port_.hold_flush = true;
    run();
    EXPECT_EQ(node_->sessions().provisional(), 1u);
    node_->tick(now() + seconds(31));
    run();
    EXPECT_EQ(node_->sessions().size(), 0u);
    EXPECT_EQ(all<ring::RemoveSession>(node_log_).size(), kNodeEngines);
    EXPECT_THAT(closes_, testing::ElementsAre(ring::CloseHow::silent));
}

TEST_F(World, AStreamConfirmsASessionToo) {
    make_client();
    node_port_.hold_flush = true;
    run();
    ring::SessionConfirmed confirmed{};
    confirmed.session_id = all<ring::InstallSession>(node_log_).at(0).session_id;
    node_->on_confirmed(confirmed);
    EXPECT_EQ(node_->sessions().provisional(), 0u);
    node_->tick(now() + seconds(31));
    EXPECT_EQ(node_->sessions().size(), 1u);
}

TEST_F(World, ForgedControlRecordsEndTheConnection) {
    make_client();
    run();
    ring::ControlData garbage{};
    garbage.connection = 1;
    garbage.size = 128;
    garbage.bytes[0] = 0x17;
    garbage.bytes[1] = garbage.bytes[2] = 3;
    garbage.bytes[4] = 123;
    node_->on_data(0, garbage, now());
    run();
    EXPECT_THAT(closes_, testing::ElementsAre(ring::CloseHow::close));
    // The client came back with a session of its own.
    EXPECT_EQ(state(), NodeSession::State::up);
    EXPECT_EQ(node_->sessions().size(), 2u);
}

TEST_F(World, AddressesAreTriedInOrderAndNamesLookedUpWhenTheirTurnComes) {
    refuse_connects_ = true;
    resolved_ = {*wire::IpAddress::parse("2001:db8::1"), *wire::IpAddress::parse("192.0.2.8")};
    make_client(9, 1,
                {{wire::Target(*wire::Endpoint::parse("192.0.2.1:4000"))},
                 {*wire::Target::from_name("exit.example", 4001)},
                 {wire::Target(*wire::Endpoint::parse("192.0.2.3:4000"))}});
    EXPECT_TRUE(lookups_.empty());
    run();
    EXPECT_THAT(dialled_,
                testing::ElementsAre("192.0.2.1:4000", "[2001:db8::1]:4001", "192.0.2.8:4001", "192.0.2.3:4000"));
    EXPECT_THAT(lookups_, testing::ElementsAre("exit.example"));
    EXPECT_EQ(state(), NodeSession::State::down);
    EXPECT_EQ(client_->status(0).last_error, "cannot connect to 192.0.2.3:4000: Connection refused");
}

TEST_F(World, ANameThatDoesNotExistIsNamed) {
    make_client(9, 1, {{*wire::Target::from_name("exit.example", 4000)}});
    run();
    EXPECT_EQ(state(), NodeSession::State::down);
    EXPECT_EQ(client_->status(0).last_error, "the name exit.example does not exist");
    const auto routable = client_->routable_nodes(now());
    ASSERT_EQ(routable.size(), 1u);
    EXPECT_EQ(routable[0].state, ring::HopState::connecting);
}

TEST_F(World, ANodeThatNeverAnswersTimesOut) {
    node_port_.hold_flush = true;
    make_client();
    run();
    const auto deadline = client_->deadline(now());
    ASSERT_TRUE(deadline.has_value());
    client_->tick(now() + seconds(11));
    EXPECT_EQ(state(), NodeSession::State::down);
    run();
    EXPECT_THAT(client_->status(0).last_error, testing::HasSubstr("no answer"));
    EXPECT_EQ(all<ring::ControlClose>(client_log_).size(), 1u);
}

TEST_F(World, RenewalKeepsTheOldSessionForAWhile) {
    make_client();
    run();
    const auto first = all<ring::InstallSession>(client_log_)[0].session_id;
    const Instant later = now() + seconds(2701);
    client_->tick(later);
    run();
    EXPECT_EQ(state(), NodeSession::State::up);
    EXPECT_EQ(all<ring::InstallSession>(client_log_).size(), 2 * kClientEngines);
    EXPECT_TRUE(all<ring::RemoveSession>(client_log_).empty());
    EXPECT_EQ(client_->sessions(), 2u);
    client_->tick(EventLoop::now() + InstalledSessions::kRetiredTime + seconds(1));
    run();
    const auto removed = all<ring::RemoveSession>(client_log_);
    ASSERT_EQ(removed.size(), kClientEngines);
    EXPECT_EQ(removed[0].session_id, first);
}

TEST_F(World, FailedStreamsStartAProbe) {
    make_client();
    run();
    ring::HopFailed failed{};
    failed.session_id = all<ring::InstallSession>(client_log_)[0].session_id;
    failed.stage = ring::HopStage::connect;
    failed.error = ECONNREFUSED;
    refuse_connects_ = true;
    client_->on_hop_failed(failed, now());
    EXPECT_EQ(client_->routable_nodes(now()).at(0).state, ring::HopState::connecting);
    run();
    EXPECT_EQ(state(), NodeSession::State::down);

    failed.node = 99;  // an engine cannot make us read beyond the list
    client_->on_hop_failed(failed, now());
}

TEST_F(World, TheDataPlanesMayEndAtAnyTime) {
    make_client();
    run();
    client_->reset(now());
    EXPECT_EQ(state(), NodeSession::State::idle);
    EXPECT_TRUE(client_->routable_nodes(now()).empty());
    client_port_.commands.clear();
    links_.clear();
    client_->start(now());
    run();
    EXPECT_EQ(state(), NodeSession::State::up);

    node_->reset();
    EXPECT_EQ(node_->sessions().size(), 0u);
    EXPECT_EQ(node_->control_connections(), 0u);
}

}  // namespace
}  // namespace qanat::controlplane
