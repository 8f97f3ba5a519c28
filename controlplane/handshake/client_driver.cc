#include "controlplane/handshake/client_driver.h"

#include <algorithm>
#include <span>
#include <tuple>
#include <utility>

#include "common/base/assert.h"
#include "common/base/log.h"
#include "common/handshake/node_id.h"

namespace qanat::controlplane {

ClientDriver::ClientDriver(CommandPort& port, Settings settings, RandomBytes random, NodeLookup lookup, Hooks hooks)
    : port_(port),
      settings_(std::move(settings)),
      random_(std::move(random)),
      lookup_(std::move(lookup)),
      hooks_(std::move(hooks)),
      sessions_(port_),
      punches_(port_, random_, hooks_.may_punch),
      routes_(nodes_) {
    punches_.set_enabled(settings_.punch);
}

void ClientDriver::set_nodes(std::vector<NodeSpec> specs, Instant now) {
    std::map<uint32_t, NodeSpec> wanted;
    for (NodeSpec& spec : specs) {
        QANAT_ASSERT(spec.number < ring::kPlanHopsMax);
        const uint32_t number = spec.number;
        wanted.insert_or_assign(number, std::move(spec));
    }
    for (auto it = nodes_.begin(); it != nodes_.end();) {
        const auto spec = wanted.find(it->first);
        if (spec != wanted.end() && spec->second.id == it->second.spec().id) {
            ++it;
            continue;
        }
        it->second.end();
        it = nodes_.erase(it);
        relays_changed_ = true;
    }
    // All of them are there before the first one starts: they may be each other's relays.
    const ClientNode::Context context{.port = port_,
                                      .credentials = settings_.credentials,
                                      .random = random_,
                                      .lookup = lookup_,
                                      .relays = routes_,
                                      .sessions = sessions_,
                                      .next_connection = next_connection_,
                                      .owner = *this};
    const NodeSession::Settings times{.health = settings_.health, .timeout = settings_.timeout};
    std::vector<ClientNode*> added;
    for (auto& [number, spec] : wanted)
        if (find(number) == nullptr)
            added.push_back(&nodes_.try_emplace(number, context, times, std::move(spec)).first->second);
    for (auto& [number, node] : nodes_)
        if (std::find(added.begin(), added.end(), &node) == added.end())
            node.take_spec(std::move(wanted.at(number)), now);
    if (started_)
        for (ClientNode* node : added) node->start(now);
    settle(now);
    hooks_.on_change();
}

void ClientDriver::set_times(Duration health, Duration timeout, Instant now) {
    settings_.health = health;
    settings_.timeout = timeout;
    for (auto& [number, node] : nodes_) node.set_times({.health = health, .timeout = timeout}, now);
}

void ClientDriver::set_punch(bool punch) {
    punches_.set_enabled(punch);
    hooks_.on_change();
}

void ClientDriver::start(Instant now) {
    started_ = true;
    for (auto& [number, node] : nodes_) node.start(now);
    settle(now);
    hooks_.on_change();
}

void ClientDriver::reset(Instant now) {
    started_ = false;
    for (auto& [number, node] : nodes_) node.data_plane_lost(now);
    sessions_.forget();
    questions_.all_lost();
    punches_.forget();
    settle(now);
    hooks_.on_change();
}

bool ClientDriver::on_event(uint32_t engine, const ring::MessageView& event, Instant now) {
    switch (event.type()) {
        case ring::MessageType::control_opened:
            on_opened(engine, event.get<ring::ControlOpened>(), now);
            return true;
        case ring::MessageType::control_data:
            on_data(engine, event.get<ring::ControlData>(), now);
            return true;
        case ring::MessageType::control_closed:
            on_closed(engine, event.get<ring::ControlClosed>(), now);
            return true;
        case ring::MessageType::hop_failed:
            on_hop_failed(event.get<ring::HopFailed>(), now);
            return true;
        case ring::MessageType::node_stats:
            on_node_stats(engine, event.get<ring::NodeStats>(), now);
            return true;
        case ring::MessageType::punch_observed:
            on_punch_observed(engine, event.get<ring::PunchObserved>(), now);
            return true;
        default:
            return false;
    }
}

void ClientDriver::on_opened(uint32_t, const ring::ControlOpened& event, Instant now) {
    if (ClientNode* node = find(ClientNode::number_of(event.connection))) node->on_opened(event, now);
    settle(now);
}

void ClientDriver::on_data(uint32_t, const ring::ControlData& event, Instant now) {
    ClientNode* node = find(ClientNode::number_of(event.connection));
    if (node == nullptr) return;
    node->on_data(event.connection, Bytes(event.bytes).first(event.size), now);
    settle(now);
}

void ClientDriver::on_closed(uint32_t, const ring::ControlClosed& event, Instant now) {
    ClientNode* node = find(ClientNode::number_of(event.connection));
    if (node == nullptr) return;
    node->on_closed(event.connection, now);
    settle(now);
}

void ClientDriver::on_hop_failed(const ring::HopFailed& event, Instant now) {
    ClientNode* node = find(event.node);
    ClientNode* at = find(event.at);
    if (node == nullptr || at == nullptr) return;
    // What happened to an older session says nothing about this one.
    if (at->session() == nullptr || (event.session_id != 0 && event.session_id != at->session()->id())) return;
    if (at == node)
        node->on_own_stream_failed(event, now);
    else if (node->session() != nullptr && node->session()->goes_through(event.at))
        node->on_relay_failed(now);
    at->on_failed_here(event, now);
    settle(now);
}

void ClientDriver::on_node_stats(uint32_t engine, const ring::NodeStats& event, Instant now) {
    for (const ring::NodeStatsEntry& entry : std::span(event.entries).first(event.count))
        if (ClientNode* node = find(entry.node)) node->on_stats(engine, entry, now);
    settle(now);
    hooks_.on_change();
}

void ClientDriver::on_punch_observed(uint32_t engine, const ring::PunchObserved& event, Instant now) {
    if (punches_.on_observed(find(event.node), engine, event, now)) hooks_.on_change();  // a deadline
}

void ClientDriver::tick(Instant now) {
    for (auto& [number, node] : nodes_) node.tick(now);
    sessions_.tick(now);
    questions_.tick(now);
    punches_.tick(now);
    settle(now);
    hooks_.on_change();  // hope may have ended
}

std::optional<Instant> ClientDriver::deadline(Instant now) const {
    std::optional<Instant> next;
    const auto consider = [&next](std::optional<Instant> at) {
        if (at) next = next ? std::min(*next, *at) : *at;
    };
    for (const auto& [number, node] : nodes_) consider(node.deadline(now));
    consider(sessions_.deadline());
    consider(questions_.deadline());
    consider(punches_.deadline());
    return next;
}

std::vector<RoutableNode> ClientDriver::routable_nodes(Instant now) const {
    std::vector<RoutableNode> routable;
    for (const auto& [number, node] : nodes_)
        if (const auto hop = hop_of(node, now)) routable.push_back(*hop);
    return routable;
}

std::optional<RoutableNode> ClientDriver::hop_of(const ClientNode& node, Instant now) const {
    const auto state = node.machine().hop_state(now);
    if (!state || !node.spec().routable) return std::nullopt;
    if (node.ejection().state() == Ejection::State::ejected && !node.last_resort()) return std::nullopt;
    RoutableNode hop;
    hop.node = node.spec().number;
    hop.state = *state;
    hop.latency = node.machine().settled_latency();
    hop.load = node.load();
    hop.trial = node.ejection().state() == Ejection::State::trial;
    // A node whose name is still being looked up has 0.0.0.0:0; streams only wait for it.
    hop.address = to_ring(node.last_address().value_or(wire::Endpoint()));
    if (node.session() == nullptr) return hop;
    const RelayView::Answer answer = routes_.route_of(*node.session());
    if (answer.state != RelayView::State::ready) {
        hop.state = ring::HopState::connecting;
        return hop;
    }
    hop.address = to_ring(answer.route.dial);
    for (const ring::Via& via : answer.route.via) hop.via[hop.via_count++] = via;
    hop.punch = punches_.worth_trying(node, answer.route.dial);
    return hop;
}

void ClientDriver::ask_policy(uint32_t number, const wire::Target& target, Instant now, PolicyAnswer done) {
    ClientNode* node = find(number);
    const uint64_t token = draw_u64(random_);
    if (node == nullptr || questions_.contains(token) ||
        !node->send({.kind = wire::ControlMessage::Kind::ask_policy, .token = token, .target = target}))
        return done(std::nullopt);
    questions_.add(token, number, now, std::move(done));
    hooks_.on_change();  // a deadline
}

std::vector<uint32_t> ClientDriver::numbers() const {
    std::vector<uint32_t> numbers;
    for (const auto& [number, node] : nodes_) numbers.push_back(number);
    return numbers;
}

NodeStatus ClientDriver::status(uint32_t number) const {
    const ClientNode* node = find(number);
    QANAT_ASSERT(node != nullptr);
    return status_of(*node, routes_);
}

bool ClientDriver::is_up(uint32_t number) const {
    const ClientNode* node = find(number);
    return node != nullptr && node->session() != nullptr;
}

std::optional<wire::Endpoint> ClientDriver::session_address(uint32_t number) const {
    if (!is_up(number)) return std::nullopt;
    const RelayView::Answer answer = routes_.route_of(*find(number)->session());
    if (answer.state != RelayView::State::ready) return std::nullopt;
    return answer.route.dial;
}

size_t ClientDriver::routable_count() const {
    return static_cast<size_t>(
        std::count_if(nodes_.begin(), nodes_.end(), [](const auto& entry) { return entry.second.spec().routable; }));
}

size_t ClientDriver::routable_up() const {
    return static_cast<size_t>(std::count_if(nodes_.begin(), nodes_.end(), [](const auto& entry) {
        return entry.second.spec().routable && entry.second.session() != nullptr;
    }));
}

size_t ClientDriver::nodes_up() const {
    return static_cast<size_t>(std::count_if(nodes_.begin(), nodes_.end(),
                                             [](const auto& entry) { return entry.second.session() != nullptr; }));
}

bool ClientDriver::all_tried() const {
    return std::all_of(nodes_.begin(), nodes_.end(),
                       [](const auto& entry) { return entry.second.tried() || !entry.second.spec().routable; });
}

void ClientDriver::attempt_ended(bool succeeded) {
    ++(succeeded ? handshakes_ok_ : handshakes_failed_);
    relays_changed_ = true;
}

void ClientDriver::node_event(const ClientNode& node, NodeEvent event) {
    const uint32_t number = node.spec().number;
    if (event == NodeEvent::up) came_up_.push_back(number);
    if (event == NodeEvent::down) {
        relays_changed_ = true;
        questions_.node_lost(number);
        punches_.node_lost(number);
    }
    if (hooks_.on_node) hooks_.on_node(number, event);
}

void ClientDriver::node_answered(const ClientNode& node, const wire::ControlMessage& answer) {
    if (answer.kind == wire::ControlMessage::Kind::policy_answer)
        questions_.answer(node.spec().number, answer);
    else
        punches_.on_answer(node, answer);
}

void ClientDriver::settle(Instant now) {
    while (std::exchange(relays_changed_, false)) {
        const std::vector<uint32_t> came_up = std::exchange(came_up_, {});
        for (auto& [number, node] : nodes_) node.relays_changed(came_up, now);
    }
    choose_last_resort();
    for (auto& [number, node] : nodes_) node.drop_ended_attempts();
}

void ClientDriver::choose_last_resort() {
    ClientNode* best = nullptr;
    for (auto& [number, node] : nodes_) {
        if (!node.spec().routable || node.session() == nullptr) continue;
        if (node.ejection().state() != Ejection::State::ejected) {
            best = nullptr;
            break;
        }
        // The one that is kept already stays: streams that fail here and there in turn help nobody.
        const auto badness = [](const ClientNode& of) {
            return std::tuple(of.last_resort() ? 0U : of.ejection().times(), of.ejection().until());
        };
        if (best == nullptr || badness(node) < badness(*best)) best = &node;
    }
    for (auto& [number, node] : nodes_) {
        const bool chosen = &node == best;
        if (chosen && !node.last_resort())
            log_warn("kept although failing: it is the last node", {{"node", encode_node_id(node.spec().id)}});
        if (node.set_last_resort(chosen)) hooks_.on_change();
    }
}

ClientNode* ClientDriver::find(uint32_t number) {
    const auto found = nodes_.find(number);
    return found != nodes_.end() ? &found->second : nullptr;
}

const ClientNode* ClientDriver::find(uint32_t number) const {
    const auto found = nodes_.find(number);
    return found != nodes_.end() ? &found->second : nullptr;
}

}  // namespace qanat::controlplane
