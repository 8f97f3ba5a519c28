#include "controlplane/app/node_peers.h"

#include <algorithm>
#include <array>
#include <cstring>

#include "common/crypto/random.h"
#include "common/handshake/node_id.h"

namespace qanat::controlplane {
namespace {

uint64_t random_u64() {
    std::array<uint8_t, 8> bytes{};
    crypto::random_bytes(bytes);
    uint64_t value = 0;
    std::memcpy(&value, bytes.data(), sizeof value);
    return value;
}

uint64_t seconds_since(Instant then) {
    const auto passed = std::chrono::duration_cast<std::chrono::seconds>(EventLoop::now() - then).count();
    return static_cast<uint64_t>(std::max<int64_t>(0, passed));
}

}  // namespace

NodePeers::NodePeers(EventLoop& loop, CommandPort& port, const PublicKey& own_id, ClientDriver::Settings settings,
                     NodeLookup lookup, Services services)
    : loop_(loop),
      port_(port),
      services_(std::move(services)),
      driver_(port, std::move(settings), &crypto::random_bytes, std::move(lookup),
              {.on_change = [this] { changed(); },
               .on_node =
                   [this](uint32_t node, ClientDriver::NodeEvent event) {
                       if (node >= Members::kFirstNumber)
                           news_.emplace_back(node, event == ClientDriver::NodeEvent::failed);
                       changed();
                   }}),
      reservations_(port),
      own_id_(own_id),
      members_(own_id,
               {
                   .has_session_here = services_.has_session_here,
                   .relay_address = [this](const PublicKey& id) -> std::optional<wire::Endpoint> {
                       const auto relay = relays_.find(id);
                       return relay == relays_.end() ? std::nullopt : driver_.session_address(relay->second.number);
                   },
                   .known_addresses = [this](const PublicKey& id) -> std::vector<NodeAddress> {
                       const auto found = known_.find(id);
                       return found == known_.end() ? std::vector<NodeAddress>() : found->second;
                   },
                   .may_dial_hint = services_.may_dial_hint,
                   .answer = [this](uint32_t engine, const ring::MemberResult& result) { port_.send(engine, result); },
                   .targets_changed =
                       [this] {
                           specs_changed_ = true;
                           changed();
                       },
                   .random = &random_u64,
               },
               EventLoop::now()),
      choice_(random_u64()),
      driver_timer_(loop,
                    [this] {
                        driver_.tick(EventLoop::now());
                        changed();
                    }),
      second_(loop, [this] {
          members_.tick(EventLoop::now());
          choose_discovered();
      }) {}

void NodePeers::configure(const Config& config) {
    configured_.clear();
    for (const PeerAddress& relay : config.node.connect_relay) {
        if (relay.id == own_id_)
            log_warn("node.connect_relay names this node itself: left out",
                     {{"address", relay.address.target.format()}});
        else
            configured_.push_back(relay);
    }
    choice_.set_wanted(config.node.relays_from_discovery);
    known_.clear();
    for (const NodeConfig& node : config.nodes)
        if (!node.addrs.empty()) known_[node.id] = node.addrs;
    set_discovered(std::exchange(discovered_, {}));
    set_relays();
}

void NodePeers::set_discovered(const std::vector<DiscoveredNode>& nodes) {
    discovered_.clear();
    std::map<PublicKey, std::vector<NodeAddress>> known;
    for (const DiscoveredNode& node : nodes) {
        if (!node.relay || node.addrs.empty()) continue;
        discovered_.push_back(node);
        const bool configured = std::any_of(configured_.begin(), configured_.end(),
                                            [&](const PeerAddress& relay) { return relay.id == node.id; });
        if (!configured && node.id != own_id_) known[node.id] = node.addrs;
    }
    choice_.set_known(std::move(known));
    choose_discovered();
}

void NodePeers::choose_discovered() {
    auto chosen = choice_.update(EventLoop::now(), [this](const PublicKey& relay) { return health_of(relay); });
    if (chosen == chosen_) return;
    chosen_ = std::move(chosen);
    set_relays();
}

RelayChoice::Health NodePeers::health_of(const PublicKey& id) const {
    const auto relay = relays_.find(id);
    if (relay == relays_.end() || !driver_.knows(relay->second.number)) return {};
    RelayChoice::Health health;
    health.up = driver_.is_up(relay->second.number);
    health.latency = driver_.status(relay->second.number).latency;
    for (const Reservations::View& view : reservations_.views())
        if (view.number == relay->second.number)
            health.refused = view.state == Reservations::State::refused || view.state == Reservations::State::failed;
    return health;
}

void NodePeers::set_relays() {
    const std::map<PublicKey, Relay> before = std::exchange(relays_, {});
    // Those that stay keep their numbers, before new ones get any.
    const auto keep = [&](const PublicKey& id) {
        if (const auto kept = before.find(id); kept != before.end()) relays_[id].number = kept->second.number;
    };
    for (const PeerAddress& relay : configured_) keep(relay.id);
    for (const RelayChoice::Relay& relay : chosen_) keep(relay.id);
    const auto relay_of = [&](const PublicKey& id) -> Relay& {
        if (const auto known = relays_.find(id); known != relays_.end()) return known->second;
        return relays_[id] = {.number = relay_number(), .addresses = {}};
    };
    for (const PeerAddress& relay : configured_) relay_of(relay.id).addresses.push_back(relay.address);
    for (const RelayChoice::Relay& chosen : chosen_) {
        Relay& relay = relay_of(chosen.id);
        relay.addresses = chosen.addrs;
        relay.from_discovery = true;
        relay.reserve = chosen.reserve;
    }
    specs_changed_ = true;
    changed();
}

void NodePeers::start() {
    if (stopped_) return;
    started_ = true;
    specs_changed_ = false;
    driver_.set_nodes(specs(), EventLoop::now());
    driver_.start(EventLoop::now());
    second_.start_every(std::chrono::seconds(1));
    changed();
}

void NodePeers::reset() {
    started_ = false;
    driver_timer_.cancel();
    second_.cancel();
    driver_.reset(EventLoop::now());
    members_.reset();
    reservations_.reset();
    news_.clear();
    specs_changed_ = true;
}

void NodePeers::stop() {
    stopped_ = true;
    driver_timer_.cancel();
    second_.cancel();
    reservations_.stop();
}

void NodePeers::on_event(uint32_t engine, const ring::MessageView& event) {
    if (stopped_) {
        if (event.type() == ring::MessageType::member_wanted) {
            ring::MemberResult result{};
            result.query = event.get<ring::MemberWanted>().query;
            result.status = ring::MemberStatus::busy;
            port_.send(engine, result);
        }
        return;
    }
    const Instant now = EventLoop::now();
    switch (event.type()) {
        case ring::MessageType::offer_state:
            reservations_.on_state(engine, event.get<ring::OfferState>());
            services_.reservations_changed();
            return;
        case ring::MessageType::member_wanted:
            return members_.ask(engine, event.get<ring::MemberWanted>(), now);
        default:
            if (driver_.on_event(engine, event, now)) changed();
    }
}

void NodePeers::changed() {
    if (std::exchange(update_pending_, true)) return;
    loop_.defer([this] { update(); });
}

void NodePeers::update() {
    update_pending_ = false;
    if (!started_ || stopped_) return;
    const Instant now = EventLoop::now();
    for (const auto& [number, failed] : std::exchange(news_, {}))
        members_.report(number, driver_.session_address(number), failed, now);
    choose_discovered();
    if (std::exchange(specs_changed_, false)) driver_.set_nodes(specs(), now);

    std::vector<Reservations::Relay> relays;
    for (const auto& [id, relay] : relays_)
        if (relay.reserve)
            relays.push_back({.number = relay.number, .id = id, .address = driver_.session_address(relay.number)});
    reservations_.update(relays);
    services_.reservations_changed();

    driver_timer_.start_at(driver_.deadline(now));
}

std::vector<NodeSpec> NodePeers::specs() const {
    std::vector<NodeSpec> specs = members_.targets();
    for (const auto& [id, relay] : relays_) {
        NodeSpec spec;
        spec.number = relay.number;
        spec.id = id;
        spec.paths.push_back({.via = {}, .addrs = relay.addresses});
        spec.routable = false;
        spec.from_discovery = relay.from_discovery;
        specs.push_back(std::move(spec));
    }
    return specs;
}

uint32_t NodePeers::relay_number() const {
    uint32_t number = 0;
    while (std::any_of(relays_.begin(), relays_.end(),
                       [number](const auto& item) { return item.second.number == number; }))
        ++number;
    return number;
}

// Of those that a relay announces, the one that was found to work.
NodeAddress NodePeers::address_of(const Relay& relay) const {
    const auto session = relay.from_discovery ? driver_.session_address(relay.number) : std::nullopt;
    return session ? NodeAddress{wire::Target(*session), NameFamily::any} : relay.addresses.front();
}

std::optional<NodePeers::Met> NodePeers::any_relay() const {
    for (const auto& [id, relay] : relays_)
        if (const auto address = driver_.session_address(relay.number); address && !stopped_)
            return Met{.number = relay.number, .address = *address};
    return std::nullopt;
}

std::vector<PeerAddress> NodePeers::reserved() const {
    std::vector<PeerAddress> reserved;
    for (const Reservations::View& view : reservations_.views()) {
        const auto relay = relays_.find(view.id);
        if (view.state == Reservations::State::reserved && relay != relays_.end())
            reserved.push_back({view.id, address_of(relay->second)});
    }
    return reserved;
}

void NodePeers::report(Json::Value& status) const {
    Json::Value& relays = status["reservations"] = Json::Value(Json::arrayValue);
    for (const Reservations::View& view : reservations_.views()) {
        Json::Value entry;
        entry["relay"] = encode_node_id(view.id);
        entry["state"] = std::string(Reservations::name_of(view.state));
        entry["parked"] = Json::UInt64{view.parked};
        entry["taken"] = Json::UInt64{view.taken};
        entry["last_error"] = view.error;
        relays.append(entry);
    }
    Json::Value& members = status["members"];
    members["reachable"] = Json::UInt64{members_.reachable()};
    members["verifying"] = Json::UInt64{members_.verifying()};
    const Members::Counts& counts = members_.counts();
    members["questions"] = Json::UInt64{counts.questions};
    members["answers"]["reachable"] = Json::UInt64{counts.reachable};
    members["answers"]["reserved"] = Json::UInt64{counts.reserved};
    members["answers"]["unknown"] = Json::UInt64{counts.unknown};
    members["answers"]["busy"] = Json::UInt64{counts.busy};
}

void NodePeers::list_peers(Json::Value& peers) const {
    const auto views = reservations_.views();
    for (const uint32_t number : driver_.numbers()) {
        const ClientDriver::NodeStatus node = driver_.status(number);
        Json::Value entry;
        entry["id"] = encode_node_id(node.id);
        entry["role"] = number < Members::kFirstNumber ? "relay" : "member";
        entry["source"] = node.from_discovery                                          ? "discovery"
                          : number < Members::kFirstNumber || known_.contains(node.id) ? "config"
                                                                                       : "hint";
        entry["path"] = node.path;
        entry["address"] = node.address;
        entry["state"] = std::string(NodeSession::name_of(node.state));
        entry["since_seconds"] = Json::UInt64{seconds_since(node.since)};
        if (node.latency) entry["latency_ms"] = static_cast<double>(node.latency->count()) / 1000;
        entry["probes_sent"] = Json::UInt64{node.probes_sent};
        entry["probes_lost"] = Json::UInt64{node.probes_lost};
        entry["load"] = static_cast<double>(node.load) / 10000;
        entry["failures"] = Json::UInt64{node.failures};
        entry["last_error"] = node.last_error;
        const auto view = std::find_if(views.begin(), views.end(),
                                       [number](const Reservations::View& it) { return it.number == number; });
        if (view != views.end()) {
            entry["reservation"] = std::string(Reservations::name_of(view->state));
            entry["parked"] = Json::UInt64{view->parked};
            entry["opened"] = Json::UInt64{view->taken};
            if (!view->error.empty()) entry["last_error"] = view->error;
        }
        peers.append(entry);
    }
}

void NodePeers::collect(MetricsPage& page) const {
    const auto views = reservations_.views();
    if (!views.empty()) {
        page.family("reservation_parked", MetricsPage::Kind::gauge, "Connections that wait at a relay for clients.");
        for (const Reservations::View& view : views) page.sample(view.parked, {{"relay", encode_node_id(view.id)}});
        page.family("reservation_taken_total", MetricsPage::Kind::counter, "Connections that a relay has used.");
        for (const Reservations::View& view : views) page.sample(view.taken, {{"relay", encode_node_id(view.id)}});
    }
    page.family("members_reachable", MetricsPage::Kind::gauge, "Members that this relay has met where they listen.");
    page.sample(uint64_t{members_.reachable()});
    page.family("member_answers_total", MetricsPage::Kind::counter,
                "What the engines were told about members that streams go to.");
    const Members::Counts& counts = members_.counts();
    page.sample(counts.reachable, {{"answer", "reachable"}});
    page.sample(counts.reserved, {{"answer", "reserved"}});
    page.sample(counts.unknown, {{"answer", "unknown"}});
    page.sample(counts.busy, {{"answer", "busy"}});
}

}  // namespace qanat::controlplane
