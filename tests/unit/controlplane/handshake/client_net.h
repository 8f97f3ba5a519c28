// Net: a ClientDriver with many nodes that come and go, and relays between them. The network is in memory: it delivers
// a control connection to the node whose id the connect names, unless something on the way refuses.
//
//   ClientDriver ── commands ──> Net ══ by id ══> NodeDriver (one per node)
#pragma once

#include <gtest/gtest.h>

#include <cerrno>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "common/crypto/random.h"
#include "controlplane/handshake/client_driver.h"
#include "controlplane/handshake/node_driver.h"
#include "tests/unit/controlplane/handshake/fake_port.h"

namespace qanat::controlplane {

inline Identity identity(uint8_t number) {
    Secret<32> random;
    random.writable()[1] = number;  // not a byte that X25519 clamps
    return make_key_pair(std::move(random));
}

inline crypto::NetworkKeys network_keys() {
    Secret<32> psk;
    psk.writable()[0] = 9;
    return crypto::derive_network_keys(psk);
}

inline wire::Endpoint endpoint(uint8_t last) {
    return {wire::IpAddress::v4(192, 0, 2, last), 4000};
}
inline NodeAddress address(uint8_t last) {
    return {wire::Target(endpoint(last))};
}

// Node number n has identity n + 1 and, unless said otherwise, the address 192.0.2.n.
inline NodeSpec spec(uint32_t number, std::vector<NodePath> paths = {}) {
    NodeSpec made;
    made.number = number;
    made.id = identity(static_cast<uint8_t>(number + 1)).public_key;
    if (paths.empty()) paths.push_back({.via = {}, .addrs = {address(static_cast<uint8_t>(number))}});
    made.paths = std::move(paths);
    return made;
}

class Net : public testing::Test {
protected:
    using Event = ClientDriver::NodeEvent;

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
        settings.health = std::chrono::seconds(30);
        settings.timeout = std::chrono::seconds(10);
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

}  // namespace qanat::controlplane
