#include "controlplane/handshake/client_driver.h"

#include <sodium.h>

#include <algorithm>
#include <cstring>
#include <utility>

#include "common/base/assert.h"
#include "common/base/log.h"
#include "common/handshake/node_id.h"

namespace qanat::controlplane {

ClientDriver::ClientDriver(CommandPort& port, Settings settings, RandomBytes random, NodeLookup lookup,
                           Callback on_change)
    : port_(port),
      settings_(std::move(settings)),
      random_(std::move(random)),
      lookup_(std::move(lookup)),
      on_change_(std::move(on_change)) {
    for (const NodeConfig& config : settings_.nodes)
        nodes_.push_back({.config = config,
                          .machine = NodeSession({.health = settings_.health, .timeout = settings_.timeout}),
                          .attempt = nullptr,
                          .live = std::nullopt,
                          .opened = std::nullopt,
                          .last_address = std::nullopt,
                          .logged_error = {},
                          .tried = false});
}

void ClientDriver::start(Instant now) {
    for (size_t i = 0; i < nodes_.size(); ++i) perform(i, nodes_[i].machine.start(now), now);
    on_change_();
}

void ClientDriver::reset(Instant now) {
    for (Node& node : nodes_) {
        if (node.attempt != nullptr) node.attempt->abandon();
        discard_attempt(node);
        node.live.reset();
        node.opened.reset();
        node.machine.data_plane_lost(now);
    }
    retired_.clear();
    on_change_();
}

void ClientDriver::on_opened(uint32_t, const ring::ControlOpened& event, Instant now) {
    if (const auto index = node_of_attempt(event.connection)) nodes_[*index].attempt->on_opened(event.error, now);
    finished_.clear();
}

void ClientDriver::on_data(uint32_t, const ring::ControlData& event, Instant now) {
    const Bytes bytes = Bytes(event.bytes).first(event.size);
    if (const auto index = node_of_attempt(event.connection)) {
        nodes_[*index].attempt->on_data(bytes, now);
    } else if (const auto live = node_of_live(event.connection)) {
        Live& current = *nodes_[*live].live;
        handle_input(*live, current.session_id, current.channel->feed(bytes), now);
    }
    finished_.clear();
}

void ClientDriver::on_closed(uint32_t, const ring::ControlClosed& event, Instant now) {
    if (const auto index = node_of_attempt(event.connection)) {
        nodes_[*index].attempt->on_closed(event.error, now);
    } else if (const auto live = node_of_live(event.connection)) {
        nodes_[*live].live->connection = 0;
        perform(*live, nodes_[*live].machine.control_lost(now, "the control connection ended"), now);
    }
    finished_.clear();
}

void ClientDriver::on_hop_failed(const ring::HopFailed& event, Instant now) {
    if (event.node >= nodes_.size()) return;
    Node& node = nodes_[event.node];
    // What happened to an older session says nothing about this one.
    if (!node.live || (event.session_id != 0 && event.session_id != node.live->session_id)) return;
    perform(event.node, node.machine.hop_failed(now, event.stage, event.error, event.status, random_u64()), now);
    finished_.clear();
}

void ClientDriver::tick(Instant now) {
    for (size_t i = 0; i < nodes_.size(); ++i) {
        if (nodes_[i].attempt != nullptr) nodes_[i].attempt->tick(now);
        perform(i, nodes_[i].machine.tick(now, random_u64()), now);
    }
    std::erase_if(retired_, [&](const Retired& retired) {
        if (now < retired.remove_at) return false;
        remove(retired.session_id);
        return true;
    });
    finished_.clear();
    on_change_();  // hope may have ended
}

std::optional<Instant> ClientDriver::deadline(Instant now) const {
    std::optional<Instant> next;
    const auto consider = [&next](std::optional<Instant> at) {
        if (at) next = next ? std::min(*next, *at) : *at;
    };
    for (const Node& node : nodes_) {
        consider(node.machine.deadline(now));
        if (node.attempt != nullptr) consider(node.attempt->deadline());
    }
    for (const Retired& retired : retired_) consider(retired.remove_at);
    return next;
}

std::vector<RoutableNode> ClientDriver::routable_nodes(Instant now) const {
    std::vector<RoutableNode> routable;
    for (size_t i = 0; i < nodes_.size(); ++i) {
        const Node& node = nodes_[i];
        const auto state = node.machine.hop_state(now);
        if (!state) continue;
        RoutableNode hop;
        hop.node = static_cast<uint32_t>(i);
        // A node whose name is still being looked up has 0.0.0.0:0; streams only wait for it.
        const wire::Endpoint unknown;
        hop.address = to_ring(node.live ? node.live->address : node.last_address.value_or(unknown));
        hop.state = *state;
        hop.latency = node.machine.latency();
        routable.push_back(hop);
    }
    return routable;
}

ClientDriver::NodeStatus ClientDriver::status(size_t index) const {
    const Node& node = nodes_[index];
    NodeStatus status;
    status.id = node.config.id;
    if (node.live)
        status.address = node.live->address.format();
    else if (node.attempt != nullptr && node.attempt->address())
        status.address = node.attempt->address()->format();
    else if (!node.config.addrs.empty())
        status.address = node.config.addrs.front().target.format();
    status.state = node.machine.state();
    status.since = node.machine.since();
    status.latency = node.machine.latency();
    status.last_error = node.machine.last_error();
    status.failures = node.machine.failures();
    return status;
}

size_t ClientDriver::nodes_up() const {
    return static_cast<size_t>(
        std::count_if(nodes_.begin(), nodes_.end(), [](const Node& node) { return node.machine.has_session(); }));
}

bool ClientDriver::all_tried() const {
    return std::all_of(nodes_.begin(), nodes_.end(), [](const Node& node) { return node.tried; });
}

void ClientDriver::perform(size_t index, const NodeSession::Actions& actions, Instant now) {
    Node& node = nodes_[index];
    for (const NodeSession::Action action : actions) {
        switch (action) {
            case NodeSession::Action::begin_attempt:
                begin_attempt(index, now);
                break;
            case NodeSession::Action::cancel_attempt:
                discard_attempt(node);
                break;
            case NodeSession::Action::adopt_session:
                QANAT_ASSERT(node.opened.has_value());
                node.live = std::exchange(node.opened, std::nullopt);
                break;
            case NodeSession::Action::replace_session:
                QANAT_ASSERT(node.opened.has_value() && node.live.has_value());
                close_control(*node.live);
                retired_.push_back({node.live->session_id, now + kRetiredTime});
                node.live = std::exchange(node.opened, std::nullopt);
                break;
            case NodeSession::Action::drop_session:
                QANAT_ASSERT(node.live.has_value());
                log_warn("node lost", {{"node", encode_node_id(node.config.id)},
                                       {"address", node.live->address.format()},
                                       {"reason", node.machine.last_error()}});
                remove(node.live->session_id);
                close_control(*node.live);
                node.live.reset();
                break;
            case NodeSession::Action::send_ping:
                send_ping(node);
                break;
        }
    }
    if (!actions.empty()) on_change_();
}

void ClientDriver::begin_attempt(size_t index, Instant now) {
    Node& node = nodes_[index];
    discard_attempt(node);
    // Control connections are spread over the engines.
    const uint32_t engine = port_.engines() == 0 ? 0 : static_cast<uint32_t>(index % port_.engines());
    node.attempt = std::make_unique<ClientAttempt>(
        port_, settings_.credentials, random_, lookup_, node.config.id, node.config.addrs, settings_.timeout, engine,
        next_connection_,
        ClientAttempt::Handlers{
            .on_opened = [this, index](OpenedSession opened,
                                       Instant at) { attempt_opened(index, std::move(opened), at); },
            .on_failed = [this, index](std::string reason,
                                       Instant at) { attempt_failed(index, std::move(reason), at); },
        });
    node.attempt->start(now);
}

void ClientDriver::attempt_opened(size_t index, OpenedSession opened, Instant now) {
    Node& node = nodes_[index];
    discard_attempt(node);
    node.tried = true;
    ++handshakes_ok_;
    install(index, opened);
    const uint64_t session_id = opened.session.secrets.session_id;
    const bool renewal = node.machine.state() == NodeSession::State::renewing;
    node.last_address = opened.address;
    node.opened = Live{.session_id = session_id,
                       .engine = opened.engine,
                       .connection = opened.connection,
                       .address = opened.address,
                       .channel = std::move(opened.channel)};
    node.logged_error.clear();
    const std::string id = encode_node_id(node.config.id);
    const std::string address = opened.address.format();
    if (renewal)
        log_debug("session renewed", {{"node", id}, {"address", address}});
    else
        log_info("node connected", {{"node", id},
                                    {"address", address},
                                    {"suite", crypto::suite_name(opened.session.secrets.suite)},
                                    {"lifetime_s", opened.session.lifetime_s}});
    perform(index, node.machine.attempt_succeeded(now, std::chrono::seconds(opened.session.lifetime_s), random_u64()),
            now);
    handle_input(index, session_id, opened.first_input, now);
}

void ClientDriver::attempt_failed(size_t index, std::string reason, Instant now) {
    Node& node = nodes_[index];
    node.last_address = node.attempt->address();
    discard_attempt(node);
    node.tried = true;
    ++handshakes_failed_;
    // The same error every few seconds would hide everything else.
    if (node.logged_error != reason) {
        log_warn("cannot reach node", {{"node", encode_node_id(node.config.id)}, {"error", reason}});
        node.logged_error = reason;
    }
    perform(index, node.machine.attempt_failed(now, std::move(reason), random_u64()), now);
    on_change_();
}

void ClientDriver::discard_attempt(Node& node) {
    // It may be inside one of its members right now.
    if (node.attempt != nullptr) finished_.push_back(std::move(node.attempt));
}

void ClientDriver::handle_input(size_t index, uint64_t session_id, const ControlChannel::Input& input, Instant now) {
    Node& node = nodes_[index];
    const auto current = [&] { return node.live && node.live->session_id == session_id; };
    for (const wire::ControlMessage& message : input.messages) {
        if (!current()) return;
        switch (message.kind) {
            case wire::ControlMessage::Kind::ping:
                if (!send_control(*node.live, {wire::ControlMessage::Kind::pong, message.token}))
                    perform(index, node.machine.control_lost(now, "the control key is used up"), now);
                break;
            case wire::ControlMessage::Kind::pong: {
                const auto actions = node.machine.pong(now, message.token);
                perform(index, actions, now);
                on_change_();  // a new latency
                break;
            }
            case wire::ControlMessage::Kind::draining:
                perform(index, node.machine.draining(now), now);
                break;
        }
    }
    if (input.ended && current())
        perform(index, node.machine.control_lost(now, "the node ended the control connection"), now);
}

void ClientDriver::install(size_t index, const OpenedSession& opened) {
    const handshake::ClientSession& session = opened.session;
    ring::InstallSession message{};
    message.session_id = session.secrets.session_id;
    message.node = static_cast<uint32_t>(index);
    message.window = session.window;
    message.side = ring::SessionSide::client;
    message.suite = static_cast<uint8_t>(session.secrets.suite);
    std::memcpy(message.data_secret.data(), session.secrets.data.bytes().data(), message.data_secret.size());
    std::memcpy(message.header_key.data(), session.header_key.bytes().data(), message.header_key.size());
    message.peer = nodes_[index].config.id;
    port_.send_all(message);
    sodium_memzero(&message, sizeof message);
}

void ClientDriver::remove(uint64_t session_id) {
    ring::RemoveSession message{};
    message.session_id = session_id;
    port_.send_all(message);
}

void ClientDriver::close_control(const Live& live) {
    if (live.connection == 0) return;
    ring::ControlClose message{};
    message.connection = live.connection;
    message.how = ring::CloseHow::close;
    port_.send(live.engine, message);
}

void ClientDriver::send_ping(Node& node) {
    if (!node.live) return;
    // A key that is used up shows as a missing PONG.
    [[maybe_unused]] const bool sent =
        send_control(*node.live, {wire::ControlMessage::Kind::ping, node.machine.ping_token()});
}

bool ClientDriver::send_control(Live& live, const wire::ControlMessage& message) {
    const auto record = live.channel->seal(message);
    if (!record || live.connection == 0) return false;
    ring::ControlSend send{};
    send.connection = live.connection;
    send.size = static_cast<uint16_t>(record->size());
    send.authenticated = 1;
    std::copy(record->begin(), record->end(), send.bytes.begin());
    port_.send(live.engine, send);
    return true;
}

std::optional<size_t> ClientDriver::node_of_attempt(uint64_t connection) const {
    for (size_t i = 0; i < nodes_.size(); ++i)
        if (nodes_[i].attempt != nullptr && nodes_[i].attempt->connection() == connection) return i;
    return std::nullopt;
}

std::optional<size_t> ClientDriver::node_of_live(uint64_t connection) const {
    for (size_t i = 0; i < nodes_.size(); ++i)
        if (nodes_[i].live && nodes_[i].live->connection == connection) return i;
    return std::nullopt;
}

uint64_t ClientDriver::random_u64() const {
    std::array<uint8_t, 8> bytes{};
    random_(bytes);
    uint64_t value = 0;
    std::memcpy(&value, bytes.data(), sizeof value);
    return value;
}

}  // namespace qanat::controlplane
