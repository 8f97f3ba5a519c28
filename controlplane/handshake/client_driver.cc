#include "controlplane/handshake/client_driver.h"

#include <sodium.h>

#include <algorithm>
#include <cstring>
#include <utility>

#include "common/base/assert.h"
#include "common/base/log.h"
#include "common/handshake/node_id.h"

namespace qanat::controlplane {
namespace {

using wire::StreamStatus;

// A connection's number says whose it is: the bits from here up to the top one are the node's number.
constexpr unsigned kNodeShift = 48;
static_assert(uint64_t{ring::kPlanHopsMax} << kNodeShift <= ring::kOutgoingConnectionBit);

constexpr uint64_t connection_prefix(uint32_t node) {
    return uint64_t{node} << kNodeShift;
}
constexpr uint32_t node_of(uint64_t connection) {
    return static_cast<uint32_t>((connection & ~ring::kOutgoingConnectionBit) >> kNodeShift);
}

void add_to(ClientDriver::Traffic& sum, const ring::NodeStatsEntry& entry) {
    sum.opened += entry.opened;
    sum.failed += entry.failed;
    sum.bytes_up += entry.bytes_up;
    sum.bytes_down += entry.bytes_down;
    sum.punched += entry.punched;
    sum.punch_failed += entry.punch_failed;
}

}  // namespace

ClientDriver::ClientDriver(CommandPort& port, Settings settings, RandomBytes random, NodeLookup lookup, Hooks hooks)
    : port_(port),
      settings_(std::move(settings)),
      random_(std::move(random)),
      lookup_(std::move(lookup)),
      hooks_(std::move(hooks)) {}

void ClientDriver::set_nodes(std::vector<NodeSpec> specs, Instant now) {
    std::map<uint32_t, NodeSpec> wanted;
    for (NodeSpec& spec : specs) {
        QANAT_ASSERT(spec.number < ring::kPlanHopsMax);
        const uint32_t number = spec.number;
        wanted.insert_or_assign(number, std::move(spec));
    }
    for (auto it = nodes_.begin(); it != nodes_.end();) {
        const auto spec = wanted.find(it->first);
        if (spec != wanted.end() && spec->second.id == it->second.spec.id) {
            ++it;
            continue;
        }
        end_node(it->second);
        it = nodes_.erase(it);
        relays_changed_ = true;
    }
    // All of them are there before the first one starts: they may be each other's relays.
    std::vector<Node*> added;
    for (auto& [number, spec] : wanted) {
        const auto [it, is_new] =
            nodes_.try_emplace(number, NodeSession::Settings{.health = settings_.health, .timeout = settings_.timeout});
        if (is_new) {
            it->second.spec = std::move(spec);
            added.push_back(&it->second);
        }
    }
    for (auto& [number, spec] : wanted)
        if (Node& node = nodes_.at(number); std::find(added.begin(), added.end(), &node) == added.end())
            take_paths(node, std::move(spec), now);
    if (started_)
        for (Node* node : added) perform(*node, node->machine.start(now), now);
    settle(now);
    hooks_.on_change();
}

void ClientDriver::end_node(Node& node) {
    discard_attempt(node);
    node.opened.reset();
    if (node.live) end_session(node, 0);
}

void ClientDriver::take_paths(Node& node, NodeSpec spec, Instant now) {
    const bool same = node.spec.paths == spec.paths;
    node.spec = std::move(spec);
    if (same || !started_) return;
    std::erase_if(node.resting, [&](const RestingPath& resting) {
        return std::find(node.spec.paths.begin(), node.spec.paths.end(), resting.path) == node.spec.paths.end();
    });
    if (node.attempt != nullptr) begin_attempt(node, now);
    if (node.live) {
        const auto rank = rank_of_path(node);
        if (!rank) perform(node, node.machine.path_removed(now), now);
        node.machine.set_improvable(rank.value_or(0) > 0, now, random_u64());
    }
    node.machine.hurry(now);
}

void ClientDriver::set_times(Duration health, Duration timeout, Instant now) {
    settings_.health = health;
    settings_.timeout = timeout;
    for (auto& [number, node] : nodes_) node.machine.set_settings({.health = health, .timeout = timeout}, now);
}

void ClientDriver::start(Instant now) {
    started_ = true;
    for (auto& [number, node] : nodes_) perform(node, node.machine.start(now), now);
    settle(now);
    hooks_.on_change();
}

void ClientDriver::reset(Instant now) {
    started_ = false;
    for (auto& [number, node] : nodes_) {
        if (node.attempt != nullptr) node.attempt->abandon();
        discard_attempt(node);
        node.live.reset();
        node.opened.reset();
        node.machine.data_plane_lost(now);
        node.ejection.forget();
        for (const auto& [engine, entry] : node.stats) add_to(node.past, entry);
        node.stats.clear();
    }
    retired_.clear();
    for (auto& [token, question] : std::exchange(questions_, {})) question.done(std::nullopt);
    punches_.clear();
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
    Node* node = node_of_connection(event.connection);
    if (node != nullptr && node->attempt != nullptr && node->attempt->connection() == event.connection)
        node->attempt->on_opened(event, now);
    settle(now);
}

void ClientDriver::on_data(uint32_t, const ring::ControlData& event, Instant now) {
    Node* node = node_of_connection(event.connection);
    if (node == nullptr) return;
    const Bytes bytes = Bytes(event.bytes).first(event.size);
    if (node->live && node->live->connection == event.connection)
        handle_input(*node, node->live->session_id, node->live->channel->feed(bytes), now);
    else if (node->attempt != nullptr && node->attempt->connection() == event.connection)
        node->attempt->on_data(bytes, now);
    settle(now);
}

void ClientDriver::on_closed(uint32_t, const ring::ControlClosed& event, Instant now) {
    Node* node = node_of_connection(event.connection);
    if (node == nullptr) return;
    if (node->live && node->live->connection == event.connection) {
        node->live->connection = 0;
        perform(*node, node->machine.control_lost(now, "the control connection ended"), now);
    } else if (node->attempt != nullptr && node->attempt->connection() == event.connection) {
        node->attempt->on_closed(now);
    }
    settle(now);
}

void ClientDriver::on_hop_failed(const ring::HopFailed& event, Instant now) {
    Node* node = find(event.node);
    Node* at = find(event.at);
    if (node == nullptr || at == nullptr) return;
    // What happened to an older session says nothing about this one.
    if (!at->live || (event.session_id != 0 && event.session_id != at->live->session_id)) return;
    const bool of_path = event.stage != ring::HopStage::response || at != node;
    if (at == node) {
        if (of_path && event.status == 0) path_failed(*node, node->live->path, now);
        if (NodeSession::speaks_of_the_node(event.stage, event.error, event.status) &&
            node->ejection.failed(now, random_u64()))
            ejection_changed(*node, now);
    } else if (carried_by(*node, event.at)) {
        // The relay's trouble, or the way behind it: not the node's.
        path_failed(*node, node->live->path, now);
        perform(*node, node->machine.hop_failed(now, ring::HopStage::connect, 0, 0, random_u64()), now);
    }
    if (at->live) perform(*at, at->machine.hop_failed(now, event.stage, event.error, event.status, random_u64()), now);
    settle(now);
}

void ClientDriver::on_node_stats(uint32_t engine, const ring::NodeStats& event, Instant now) {
    for (const ring::NodeStatsEntry& entry : std::span(event.entries).first(event.count))
        if (Node* node = find(entry.node)) take_stats(*node, engine, entry, now);
    settle(now);
    hooks_.on_change();
}

void ClientDriver::take_stats(Node& node, uint32_t engine, const ring::NodeStatsEntry& entry, Instant now) {
    ring::NodeStatsEntry& known = node.stats[engine];
    if (entry.opened < known.opened || entry.failed < known.failed) {  // the engine began anew
        add_to(node.past, known);
        known = {};
    }
    if (entry.opened > known.opened && node.ejection.succeeded()) ejection_changed(node, now);
    if (entry.rtt_us != 0 && entry.rtt_us != known.rtt_us)
        node.machine.round_trip(std::chrono::microseconds(entry.rtt_us));
    const bool punched = entry.punched > known.punched;
    const bool in_vain = entry.punch_failed > known.punch_failed && entry.punched == known.punched;
    known = entry;
    if (punched || in_vain) note_punched(node, punched);
}

void ClientDriver::note_punched(Node& node, bool punched) {
    // Each way only once in a row: most NATs do not change their mind.
    if (node.punched == punched) return;
    node.punched = punched;
    log_info(
        punched ? "direct connections through NAT work" : "no direct connection through NAT: streams go over the relay",
        {{"node", encode_node_id(node.spec.id)}, {"path", node.live ? path_text(node.live->path) : std::string()}});
}

bool ClientDriver::punchable(const Node& node) const {
    return settings_.punch && hooks_.may_punch && node.live && !node.live->path.via.empty() && !node.live->path.fixed &&
           (node.live->capabilities & handshake::kCapabilityPunch) != 0;
}

void ClientDriver::set_punch(bool punch) {
    settings_.punch = punch;
    hooks_.on_change();
}

void ClientDriver::on_punch_observed(uint32_t engine, const ring::PunchObserved& event, Instant now) {
    const ClientPunches::Question question{.node = event.node,
                                           .engine = engine,
                                           .punch = event.punch,
                                           .observed = from_ring(event.observed),
                                           .until = now + ClientPunches::kAnswerTime};
    Node* node = find(event.node);
    if (node == nullptr || !punchable(*node)) return start_punch(question, ring::PunchStart::impossible);
    // Its answer reaches us half a round trip after it left; the node waits for that, and the SYNs of both cross.
    const auto half = std::chrono::duration_cast<std::chrono::milliseconds>(
        node->machine.latency().value_or(std::chrono::microseconds(0)) / 2);
    const uint64_t token = random_u64();
    if (punches_.full() ||
        !send_control(*node->live,
                      {.kind = wire::ControlMessage::Kind::punch,
                       .token = token,
                       .address = question.observed,
                       .delay_ms = static_cast<uint16_t>(std::min<int64_t>(half.count(), wire::kPunchDelayMaxMs))}) ||
        !punches_.add(token, question))
        return start_punch(question, ring::PunchStart::busy);
    hooks_.on_change();  // a deadline
}

void ClientDriver::on_punch_answer(const Node& node, const wire::ControlMessage& answer) {
    const auto question = punches_.take(answer.token, node.spec.number);
    if (!question) return;  // too late
    if (answer.punch == wire::PunchStatus::busy) return start_punch(*question, ring::PunchStart::busy);
    const bool ready = answer.punch == wire::PunchStatus::ready && hooks_.may_punch(answer.address, question->observed);
    start_punch(*question, ready ? ring::PunchStart::ready : ring::PunchStart::impossible, answer.address);
}

void ClientDriver::start_punch(const ClientPunches::Question& question, ring::PunchStart start,
                               const wire::Endpoint& peer) {
    ring::PunchPeer command{};
    command.punch = question.punch;
    command.start = start;
    if (start == ring::PunchStart::ready) command.peer = to_ring(peer);
    port_.send(question.engine, command);
}

void ClientDriver::tick(Instant now) {
    for (auto& [number, node] : nodes_) {
        if (node.attempt != nullptr) node.attempt->tick(now);
        const uint64_t lost = node.machine.probes_lost();
        const NodeSession::Actions actions = node.machine.tick(now, random_u64());
        if (node.machine.probes_lost() != lost) path_failed(node, node.live->path, now);
        perform(node, actions, now);
        if (node.ejection.tick(now, random_u64())) ejection_changed(node, now);
        std::erase_if(node.resting, [&](const RestingPath& path) { return now - path.failed_at >= kPathRest; });
    }
    std::erase_if(retired_, [&](const Retired& retired) {
        if (now < retired.remove_at) return false;
        remove(retired.session_id, 0);
        return true;
    });
    std::vector<uint64_t> overdue;
    for (const auto& [token, question] : questions_)
        if (now >= question.until) overdue.push_back(token);
    for (const uint64_t token : overdue) answer_question(token, std::nullopt);
    for (const auto& question : punches_.take_overdue(now)) start_punch(question, ring::PunchStart::busy);
    settle(now);
    hooks_.on_change();  // hope may have ended
}

std::optional<Instant> ClientDriver::deadline(Instant now) const {
    std::optional<Instant> next;
    const auto consider = [&next](std::optional<Instant> at) {
        if (at) next = next ? std::min(*next, *at) : *at;
    };
    for (const auto& [number, node] : nodes_) {
        consider(node.machine.deadline(now));
        consider(node.ejection.deadline());
        if (node.attempt != nullptr) consider(node.attempt->deadline());
    }
    for (const Retired& retired : retired_) consider(retired.remove_at);
    for (const auto& [token, question] : questions_) consider(question.until);
    consider(punches_.deadline());
    return next;
}

std::vector<RoutableNode> ClientDriver::routable_nodes(Instant now) const {
    std::vector<RoutableNode> routable;
    for (const auto& [number, node] : nodes_) {
        const auto state = node.machine.hop_state(now);
        if (!state || !node.spec.routable) continue;
        if (node.ejection.state() == Ejection::State::ejected && !node.last_resort) continue;
        RoutableNode hop;
        hop.node = number;
        hop.state = *state;
        hop.latency = node.machine.settled_latency();
        hop.load = node.load;
        hop.trial = node.ejection.state() == Ejection::State::trial;
        // A node whose name is still being looked up has 0.0.0.0:0; streams only wait for it.
        hop.address = to_ring(node.last_address.value_or(wire::Endpoint()));
        if (node.live) {
            const Answer answer = route(node.live->path.via, node.live->address);
            if (answer.state == State::ready) {
                hop.address = to_ring(answer.route.dial);
                for (const ring::Via& via : answer.route.via) hop.via[hop.via_count++] = via;
                // Who is met on loopback is behind no NAT.
                const wire::Endpoint outside{.ip = answer.route.dial.ip, .port = UINT16_MAX};
                hop.punch = punchable(node) && hooks_.may_punch(outside, outside);
            } else {
                hop.state = ring::HopState::connecting;
            }
        }
        routable.push_back(hop);
    }
    return routable;
}

void ClientDriver::ask_policy(uint32_t number, const wire::Target& target, Instant now, PolicyAnswer done) {
    Node* node = find(number);
    const uint64_t token = random_u64();
    if (node == nullptr || !node->live || questions_.contains(token) ||
        !send_control(*node->live, {.kind = wire::ControlMessage::Kind::ask_policy, .token = token, .target = target}))
        return done(std::nullopt);
    questions_[token] = {.node = number, .done = std::move(done), .until = now + kPolicyAnswerTime};
    hooks_.on_change();  // a deadline
}

void ClientDriver::answer_question(uint64_t token, const std::optional<wire::ControlMessage>& answer) {
    const auto found = questions_.find(token);
    if (found == questions_.end()) return;
    const PolicyAnswer done = std::move(found->second.done);
    questions_.erase(found);
    done(answer);
}

std::vector<uint32_t> ClientDriver::numbers() const {
    std::vector<uint32_t> numbers;
    for (const auto& [number, node] : nodes_) numbers.push_back(number);
    return numbers;
}

ClientDriver::NodeStatus ClientDriver::status(uint32_t number) const {
    const auto found = nodes_.find(number);
    QANAT_ASSERT(found != nodes_.end());
    const Node& node = found->second;
    NodeStatus status;
    status.id = node.spec.id;
    status.routable = node.spec.routable;
    status.from_discovery = node.spec.from_discovery;
    status.region = node.spec.region;
    if (node.live) {
        status.path = path_text(node.live->path);
        if (node.live->address) status.address = node.live->address->format();
    } else if (!node.spec.paths.empty()) {
        const NodePath& path = node.spec.paths.front();
        status.path = path_text(path);
        if (node.attempt != nullptr && node.attempt->address())
            status.address = node.attempt->address()->format();
        else if (node.last_address)
            status.address = node.last_address->format();
        else if (!path.addrs.empty())
            status.address = path.addrs.front().target.format();
    }
    status.state = node.machine.state();
    status.since = node.machine.since();
    status.latency = node.machine.latency();
    status.last_error = node.machine.last_error();
    status.failures = node.machine.failures();
    status.probes_sent = node.machine.probes_sent();
    status.probes_lost = node.machine.probes_lost();
    status.load = node.load;
    status.traffic = node.past;
    for (const auto& [engine, entry] : node.stats) {
        add_to(status.traffic, entry);
        status.traffic.in_flight += entry.in_flight;
        status.traffic.parked += entry.parked;
    }
    status.ejection = node.ejection.state();
    status.ejected_until = node.ejection.until();
    status.last_resort = node.last_resort;
    return status;
}

bool ClientDriver::is_up(uint32_t number) const {
    const auto found = nodes_.find(number);
    return found != nodes_.end() && found->second.live.has_value();
}

std::optional<wire::Endpoint> ClientDriver::session_address(uint32_t number) const {
    const auto found = nodes_.find(number);
    if (found == nodes_.end() || !found->second.live) return std::nullopt;
    const Answer answer = route(found->second.live->path.via, found->second.live->address);
    if (answer.state != State::ready) return std::nullopt;
    return answer.route.dial;
}

size_t ClientDriver::routable_count() const {
    return static_cast<size_t>(
        std::count_if(nodes_.begin(), nodes_.end(), [](const auto& entry) { return entry.second.spec.routable; }));
}

size_t ClientDriver::routable_up() const {
    return static_cast<size_t>(std::count_if(nodes_.begin(), nodes_.end(), [](const auto& entry) {
        return entry.second.spec.routable && entry.second.live.has_value();
    }));
}

size_t ClientDriver::nodes_up() const {
    return static_cast<size_t>(
        std::count_if(nodes_.begin(), nodes_.end(), [](const auto& entry) { return entry.second.live.has_value(); }));
}

bool ClientDriver::all_tried() const {
    return std::all_of(nodes_.begin(), nodes_.end(),
                       [](const auto& entry) { return entry.second.tried || !entry.second.spec.routable; });
}

RelayView::Answer ClientDriver::route(std::span<const uint32_t> via, const std::optional<wire::Endpoint>& node) const {
    return route_within(via, node, ring::kViaMax);
}

RelayView::Answer ClientDriver::route_within(std::span<const uint32_t> via, const std::optional<wire::Endpoint>& node,
                                             size_t relays_max) const {
    if (via.empty()) {
        if (!node) return {.state = State::failed, .reason = "the node has no address"};
        return {.state = State::ready, .route = {.dial = *node, .via = {}}};
    }
    if (via.size() > relays_max) return {.state = State::failed, .reason = "too many relays on the path"};
    for (const uint32_t number : via) {
        const auto relay = nodes_.find(number);
        if (relay == nodes_.end()) return {.state = State::failed, .reason = "the relay is not known any more"};
        if (relay->second.live) continue;
        if (relay->second.machine.state() == NodeSession::State::down)
            return {.state = State::failed,
                    .reason = "relay " + describe(number) + ": " + relay->second.machine.last_error()};
        return {.state = State::waiting, .reason = "relay " + describe(number) + ": not connected in time"};
    }
    // The first one may itself be behind others.
    const Live& first = *nodes_.at(via.front()).live;
    Answer answer = route_within(first.path.via, first.address, relays_max - via.size());
    if (answer.state != State::ready) return answer;
    for (size_t i = 0; i < via.size(); ++i) {
        const auto& next = i + 1 < via.size() ? nodes_.at(via[i + 1]).live->address : node;
        answer.route.via.push_back({.node = via[i], .next = next ? to_ring(*next) : ring::RingEndpoint{}});
    }
    return answer;
}

std::string ClientDriver::describe(uint32_t number) const {
    const auto found = nodes_.find(number);
    if (found == nodes_.end()) return "that is not known any more";
    const Node& node = found->second;
    std::string address;
    if (node.live && node.live->address)
        address = node.live->address->format();
    else if (node.last_address)
        address = node.last_address->format();
    else if (!node.spec.paths.empty() && !node.spec.paths.front().addrs.empty())
        address = node.spec.paths.front().addrs.front().target.format();
    return encode_node_id(node.spec.id) + (address.empty() ? "" : " (" + address + ")");
}

std::string ClientDriver::path_text(const NodePath& path) const {
    if (path.via.empty()) return "direct";
    std::string text;
    for (const uint32_t relay : path.via) text += (text.empty() ? "via " : " → ") + describe(relay);
    return text;
}

void ClientDriver::perform(Node& node, const NodeSession::Actions& actions, Instant now) {
    for (const NodeSession::Action action : actions) {
        switch (action) {
            case NodeSession::Action::begin_attempt:
                begin_attempt(node, now);
                break;
            case NodeSession::Action::cancel_attempt:
                discard_attempt(node);
                break;
            case NodeSession::Action::adopt_session:
                QANAT_ASSERT(node.opened.has_value());
                node.live = std::exchange(node.opened, std::nullopt);
                node.ejection.forget();
                break;
            case NodeSession::Action::replace_session:
                QANAT_ASSERT(node.opened.has_value() && node.live.has_value());
                close_control(*node.live);
                retired_.push_back({node.live->session_id, now + kRetiredTime});
                // What streams met was the other path's doing as far as anybody knows.
                if (node.opened->path.via != node.live->path.via) node.ejection.forget();
                node.live = std::exchange(node.opened, std::nullopt);
                break;
            case NodeSession::Action::lose_session:
            case NodeSession::Action::leave_session:
                QANAT_ASSERT(node.live.has_value());
                log_event(node, LogLevel::warn, "node lost",
                          {{"node", encode_node_id(node.spec.id)},
                           {"address", node.live->address ? node.live->address->format() : ""},
                           {"path", path_text(node.live->path)},
                           {"reason", node.machine.last_error()}});
                end_session(node, action == NodeSession::Action::lose_session ? 1 : 0);
                break;
            case NodeSession::Action::send_ping:
                send_ping(node);
                break;
        }
    }
    if (!actions.empty()) hooks_.on_change();
}

void ClientDriver::begin_attempt(Node& node, Instant now) {
    discard_attempt(node);
    // Control connections are spread over the engines.
    const uint32_t engine = port_.engines() == 0 ? 0 : node.spec.number % port_.engines();
    node.attempt = std::make_unique<ClientAttempt>(
        ClientAttempt::Context{.port = port_,
                               .credentials = settings_.credentials,
                               .random = random_,
                               .lookup = lookup_,
                               .relays = *this,
                               .next_connection = next_connection_},
        node.spec.id, paths_to_try(node, now), settings_.timeout, engine, connection_prefix(node.spec.number),
        ClientAttempt::Handlers{
            .on_opened = [this, &node](OpenedSession opened,
                                       Instant at) { attempt_opened(node, std::move(opened), at); },
            .on_failed = [this, &node](std::string reason, Instant at) { attempt_failed(node, std::move(reason), at); },
            .on_path_failed = [this, &node](const NodePath& path, Instant at) { path_failed(node, path, at); },
        });
    // It may end, and be replaced, from inside.
    ClientAttempt& attempt = *node.attempt;
    attempt.start(now);
}

std::vector<NodePath> ClientDriver::paths_to_try(const Node& node, Instant now) const {
    if (node.machine.improving()) {
        const size_t better = rank_of_path(node).value_or(0);
        return {node.spec.paths.begin(), node.spec.paths.begin() + static_cast<ptrdiff_t>(better)};
    }
    std::vector<NodePath> paths = node.spec.paths;
    std::stable_partition(paths.begin(), paths.end(), [&](const NodePath& path) {
        return std::none_of(node.resting.begin(), node.resting.end(), [&](const RestingPath& resting) {
            return resting.path == path && now - resting.failed_at < kPathRest;
        });
    });
    return paths;
}

std::optional<size_t> ClientDriver::rank_of_path(const Node& node) {
    const Live& live = *node.live;
    for (size_t i = 0; i < node.spec.paths.size(); ++i) {
        const NodePath& path = node.spec.paths[i];
        if (path.via != live.path.via || path.fixed != live.path.fixed) continue;
        if (live.target ? std::find(path.addrs.begin(), path.addrs.end(), *live.target) != path.addrs.end()
                        : path.addrs.empty())
            return i;
    }
    return std::nullopt;
}

void ClientDriver::attempt_opened(Node& node, OpenedSession opened, Instant now) {
    discard_attempt(node);
    node.tried = true;
    ++handshakes_ok_;
    install(node, opened);
    const uint64_t session_id = opened.session.secrets.session_id;
    const bool had_session = node.live.has_value();
    const bool new_path = opened.path.via != node.last_via || opened.address != node.last_address;
    std::erase_if(node.resting, [&](const RestingPath& resting) { return resting.path == opened.path; });
    node.last_address = opened.address;
    node.last_via = opened.path.via;
    node.opened = Live{.session_id = session_id,
                       .engine = opened.engine,
                       .connection = opened.connection,
                       .path = std::move(opened.path),
                       .target = opened.target,
                       .address = opened.address,
                       .channel = std::move(opened.channel),
                       .capabilities = opened.session.node_capabilities};
    node.logged_error.clear();
    const std::string id = encode_node_id(node.spec.id);
    const std::string address = opened.address ? opened.address->format() : "";
    const std::string path = path_text(node.opened->path);
    if (had_session && !new_path)
        log_debug("session renewed", {{"node", id}, {"address", address}});
    else
        log_event(node, LogLevel::info, had_session ? "node reached over another path" : "node connected",
                  {{"node", id},
                   {"address", address},
                   {"path", path},
                   {"suite", crypto::suite_name(opened.session.secrets.suite)},
                   {"lifetime_s", opened.session.lifetime_s}});
    perform(
        node,
        node.machine.attempt_succeeded(now, std::chrono::seconds(opened.session.lifetime_s), random_u64(), new_path),
        now);
    node.machine.set_improvable(rank_of_path(node).value_or(0) > 0, now, random_u64());
    relays_changed_ = true;
    if (!had_session || new_path) {
        came_up_.push_back(node.spec.number);
        announce(node, NodeEvent::up);
    }
    handle_input(node, session_id, opened.first_input, now);
}

void ClientDriver::attempt_failed(Node& node, std::string reason, Instant now) {
    const bool improving = node.machine.improving();
    if (!node.live) node.last_address = node.attempt->address();
    discard_attempt(node);
    node.tried = true;
    ++handshakes_failed_;
    relays_changed_ = true;
    // The same error every few seconds would hide everything else.
    if (!improving && node.logged_error != reason) {
        log_event(node, LogLevel::warn, "cannot reach node",
                  {{"node", encode_node_id(node.spec.id)}, {"error", reason}});
        node.logged_error = reason;
    }
    perform(node, node.machine.attempt_failed(now, std::move(reason), random_u64()), now);
    if (!improving) announce(node, NodeEvent::failed);
    hooks_.on_change();
}

void ClientDriver::log_event(const Node& node, LogLevel level, std::string_view message, LogFields fields) {
    const LogLevel actual = node.spec.on_request ? LogLevel::debug : level;
    if (log_enabled(actual)) log_line(actual, message, {fields.begin(), fields.size()});
}

void ClientDriver::discard_attempt(Node& node) {
    // It may be inside one of its members right now.
    if (node.attempt != nullptr) finished_.push_back(std::move(node.attempt));
}

void ClientDriver::path_failed(Node& node, const NodePath& path, Instant now) {
    const auto known = std::find_if(node.resting.begin(), node.resting.end(),
                                    [&](const RestingPath& resting) { return resting.path == path; });
    if (known != node.resting.end())
        known->failed_at = now;
    else
        node.resting.push_back({path, now});
}

void ClientDriver::handle_input(Node& node, uint64_t session_id, const ControlChannel::Input& input, Instant now) {
    const auto current = [&] { return node.live && node.live->session_id == session_id; };
    for (const wire::ControlMessage& message : input.messages) {
        if (!current()) return;
        switch (message.kind) {
            case wire::ControlMessage::Kind::ping:
                if (!send_control(*node.live, {.kind = wire::ControlMessage::Kind::pong, .token = message.token}))
                    perform(node, node.machine.control_lost(now, "the control key is used up"), now);
                break;
            case wire::ControlMessage::Kind::pong:
                node.load = message.load;
                perform(node, node.machine.pong(now, message.token), now);
                hooks_.on_change();  // a new latency
                break;
            case wire::ControlMessage::Kind::draining:
                perform(node, node.machine.draining(now), now);
                break;
            case wire::ControlMessage::Kind::policy_answer:
                if (const auto question = questions_.find(message.token);
                    question != questions_.end() && question->second.node == node.spec.number)
                    answer_question(message.token, message);
                break;
            case wire::ControlMessage::Kind::punch_answer:
                on_punch_answer(node, message);
                break;
            case wire::ControlMessage::Kind::ask_policy:
            case wire::ControlMessage::Kind::punch:
                perform(node, node.machine.control_lost(now, "the node asked what only a client may ask"), now);
                return;
        }
    }
    if (input.ended && current())
        perform(node, node.machine.control_lost(now, "the node ended the control connection"), now);
}

void ClientDriver::ejection_changed(Node& node, Instant now) {
    const std::string id = encode_node_id(node.spec.id);
    switch (node.ejection.state()) {
        case Ejection::State::ejected:
            log_warn("node left out: its streams fail",
                     {{"node", id},
                      {"for_ms", std::chrono::duration_cast<Duration>(node.ejection.until() - now).count()},
                      {"times", node.ejection.times()}});
            // A relay that carries the control connection may still break the streams: perhaps it is only the path.
            if (node.live && node.spec.paths.size() > 1) {
                path_failed(node, node.live->path, now);
                perform(node, node.machine.path_removed(now), now);
            }
            break;
        case Ejection::State::trial:
            log_debug("node on trial", {{"node", id}});
            perform(node, node.machine.check(now, random_u64()), now);
            break;
        case Ejection::State::in:
            log_info("node serves again", {{"node", id}});
            break;
    }
    hooks_.on_change();
}

void ClientDriver::choose_last_resort() {
    Node* best = nullptr;
    for (auto& [number, node] : nodes_) {
        if (!node.spec.routable || !node.live) continue;
        if (node.ejection.state() != Ejection::State::ejected) {
            best = nullptr;
            break;
        }
        // The one that is kept already stays: streams that fail here and there in turn help nobody.
        const auto badness = [](const Node& of) {
            return std::tuple(of.last_resort ? 0U : of.ejection.times(), of.ejection.until());
        };
        if (best == nullptr || badness(node) < badness(*best)) best = &node;
    }
    for (auto& [number, node] : nodes_) {
        const bool chosen = &node == best;
        if (chosen && !node.last_resort)
            log_warn("kept although failing: it is the last node", {{"node", encode_node_id(node.spec.id)}});
        if (std::exchange(node.last_resort, chosen) != chosen) hooks_.on_change();
    }
}

void ClientDriver::settle(Instant now) {
    while (std::exchange(relays_changed_, false)) {
        const std::vector<uint32_t> came_up = std::exchange(came_up_, {});
        for (auto& [number, node] : nodes_) {
            if (node.live && !node.live->path.via.empty()) {
                const Answer answer = route(node.live->path.via, node.live->address);
                if (answer.state != State::ready) {
                    path_failed(node, node.live->path, now);
                    perform(node, node.machine.path_lost(now, answer.reason), now);
                }
            }
            if (node.attempt != nullptr) {
                ClientAttempt& attempt = *node.attempt;
                attempt.relays_changed(now);
            }
            if (may_go_through(node, came_up)) node.machine.hurry(now);
        }
    }
    choose_last_resort();
    finished_.clear();
}

void ClientDriver::end_session(Node& node, uint8_t node_lost) {
    remove(node.live->session_id, node_lost);
    close_control(*node.live);
    node.live.reset();
    relays_changed_ = true;
    std::vector<uint64_t> unanswered;
    for (const auto& [token, question] : questions_)
        if (question.node == node.spec.number) unanswered.push_back(token);
    for (const uint64_t token : unanswered) answer_question(token, std::nullopt);
    for (const auto& question : punches_.take_of(node.spec.number)) start_punch(question, ring::PunchStart::busy);
    announce(node, NodeEvent::down);
}

void ClientDriver::install(const Node& node, const OpenedSession& opened) {
    const handshake::ClientSession& session = opened.session;
    ring::InstallSession message{};
    message.session_id = session.secrets.session_id;
    message.node = node.spec.number;
    message.window = session.window;
    message.side = ring::SessionSide::client;
    message.suite = static_cast<uint8_t>(session.secrets.suite);
    std::memcpy(message.data_secret.data(), session.secrets.data.bytes().data(), message.data_secret.size());
    std::memcpy(message.header_key.data(), session.header_key.bytes().data(), message.header_key.size());
    message.peer = node.spec.id;
    port_.send_all(message);
    sodium_memzero(&message, sizeof message);
}

void ClientDriver::remove(uint64_t session_id, uint8_t node_lost) {
    ring::RemoveSession message{};
    message.session_id = session_id;
    message.node_lost = node_lost;
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
        send_control(*node.live, {.kind = wire::ControlMessage::Kind::ping, .token = node.machine.ping_token()});
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

void ClientDriver::announce(const Node& node, NodeEvent event) {
    if (hooks_.on_node) hooks_.on_node(node.spec.number, event);
}

bool ClientDriver::carried_by(const Node& node, uint32_t relay) {
    if (!node.live) return false;
    const std::vector<uint32_t>& via = node.live->path.via;
    return std::find(via.begin(), via.end(), relay) != via.end();
}

bool ClientDriver::may_go_through(const Node& node, const std::vector<uint32_t>& relays) {
    return std::any_of(node.spec.paths.begin(), node.spec.paths.end(), [&](const NodePath& path) {
        return std::find_first_of(path.via.begin(), path.via.end(), relays.begin(), relays.end()) != path.via.end();
    });
}

ClientDriver::Node* ClientDriver::find(uint32_t number) {
    const auto found = nodes_.find(number);
    return found != nodes_.end() ? &found->second : nullptr;
}

ClientDriver::Node* ClientDriver::node_of_connection(uint64_t connection) {
    return find(node_of(connection));
}

uint64_t ClientDriver::random_u64() const {
    std::array<uint8_t, 8> bytes{};
    random_(bytes);
    uint64_t value = 0;
    std::memcpy(&value, bytes.data(), sizeof value);
    return value;
}

}  // namespace qanat::controlplane
