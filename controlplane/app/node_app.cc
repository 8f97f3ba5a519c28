#include "controlplane/app/node_app.h"

#include <algorithm>
#include <cstring>

#include "common/base/log.h"
#include "common/crypto/random.h"
#include "common/handshake/node_id.h"
#include "controlplane/app/bootstrap_settings.h"
#include "controlplane/app/discovered_nodes.h"
#include "controlplane/app/node_lookup.h"
#include "controlplane/policy/exit_policy.h"
#include "controlplane/policy/member_hint.h"
#include "controlplane/policy/own_addresses.h"
#include "controlplane/policy/punch_peer.h"

namespace qanat::controlplane {
namespace {

NodeDriver::Settings driver_settings(const Config& config, Keys& keys) {
    NodeDriver::Settings settings;
    settings.identity = std::move(keys.identity);
    settings.network_keys = std::move(keys.network);
    settings.suites = runnable_suites(config.data_plane.suites);
    settings.capabilities = own_capabilities() | (config.node.punch ? handshake::kCapabilityPunch : 0);
    settings.sessions_max = config.limits.sessions;
    return settings;
}

// As a client of relays and of members; keeps `keys` as they are.
ClientDriver::Settings peer_settings(const Config& config, const Keys& keys) {
    const crypto::NetworkKeys& network = keys.network.front();
    ClientDriver::Settings settings;
    settings.credentials.identity = keys.identity.clone();
    settings.credentials.network_key.gate = network.gate.clone();
    settings.credentials.network_key.noise = network.noise.clone();
    settings.credentials.network_key.fingerprint = network.fingerprint;
    settings.credentials.suites = runnable_suites(config.data_plane.suites);
    settings.credentials.capabilities = own_capabilities();
    crypto::random_bytes(settings.credentials.boot_id);
    settings.health = config.routing.health;
    settings.timeout = Members::kAddressTime;
    return settings;
}

bool same_rules(const std::vector<ring::PolicyRule>& a, const std::vector<ring::PolicyRule>& b) {
    // No padding and no pointers: the bytes are the rule.
    return a.size() == b.size() && (a.empty() || std::memcmp(a.data(), b.data(), a.size() * sizeof a[0]) == 0);
}

}  // namespace

NodeApp::NodeApp(EventLoop& loop, CommandPort& port, const Config& config, Keys keys, Surroundings surroundings)
    : loop_(loop),
      port_(port),
      config_(config),
      surroundings_(std::move(surroundings)),
      id_(keys.identity.public_key),
      fingerprint_(keys.fingerprint()),
      discovery_key_(keys.network.front().discovery.clone()),
      queries_max_(config.limits.resolver_queries),
      resolver_(loop, {.queries_max = config.limits.resolver_queries, .timeout = kResolveTime}),
      peers_(loop, port, id_, peer_settings(config, keys), make_node_lookup(resolver_),
             {.has_session_here = [this](const PublicKey& id) { return driver_.sessions().is_here(id); },
              .may_dial_hint =
                  [this](const wire::Endpoint& hint) {
                      return may_dial_hint(hint, rules_, surroundings_.addresses(), own_);
                  },
              .reservations_changed = [this] { presence_.changed(); }}),
      punches_(
          port,
          {.relay = [this]() -> std::optional<Punches::Relay> {
               const auto relay = peers_.any_relay();
               if (!relay) return std::nullopt;
               return Punches::Relay{.number = relay->number, .address = relay->address};
           },
           .may_punch = [this](const wire::Endpoint& peer,
                               const wire::Endpoint& observed) { return may_punch(peer, observed, rules_, own_); }},
          EventLoop::now()),
      driver_(
          port, driver_settings(config, keys), &crypto::random_bytes, EventLoop::now(),
          {.ask_policy = [this](const wire::Target& target, auto done) { ask_policy(target, std::move(done)); },
           .punch = [this](
                        uint32_t engine, const PublicKey& member, const wire::Endpoint& peer, uint16_t delay_ms,
                        auto done) { punches_.ask(engine, member, peer, delay_ms, EventLoop::now(), std::move(done)); },
           .load = [this] { return surroundings_.load().share(); }}),
      presence_(loop,
                [this](const DiscoveryConfig& place) {
                    return std::make_unique<NodeAnnouncer>(
                        loop_, DiscoverySettings::of(place), AnnouncementKeys(discovery_key_, place.topic),
                        [this] { return announcement(); }, make_node_lookup(resolver_), &crypto::random_bytes);
                }),
      second_(loop,
              [this] {
                  driver_.tick(EventLoop::now());
                  punches_.tick(EventLoop::now());
              }),
      own_addresses_(loop, [this] { refresh_policy(); }) {
    read_policy();
    punches_.set_enabled(config_.node.punch && config_.node.behind_relays());
    peers_.configure(config);
    second_.start_every(std::chrono::seconds(1));
    own_addresses_.start_every(kOwnAddressesInterval);
}

void NodeApp::watch_discovery() {
    watcher_.reset();
    if (!config_.discovery.enabled || config_.node.relays_from_discovery == 0) return peers_.set_discovered({});
    // What is known stays until this one has read all entries.
    watcher_ = std::make_unique<NodeWatcher>(
        loop_, DiscoverySettings::of(config_.discovery), AnnouncementKeys(discovery_key_, config_.discovery.topic),
        [this] { peers_.set_discovered(discovered_nodes(watcher_->nodes())); }, make_node_lookup(resolver_),
        &crypto::random_bytes);
    watcher_->start();
}

Announcement NodeApp::announcement() const {
    const StreamLoad load = surroundings_.load();
    Announcement announcement;
    announcement.id = id_;
    announcement.exit = true;
    announcement.relay = config_.node.relay_mode;
    announcement.load = load.share();
    announcement.streams = static_cast<uint32_t>(std::min<uint64_t>(load.active, UINT32_MAX));
    announcement.version = QANAT_VERSION;
    announcement.region = config_.node.region;
    announcement.addresses =
        addresses_to_announce(config_.node.announce, surroundings_.addresses(), {best_public_address(own_)});
    announcement.relays = peers_.reserved();
    return announcement;
}

void NodeApp::refresh_policy() {
    const std::vector<ring::PolicyRule> before = rules_;
    read_policy();
    if (same_rules(before, rules_)) return;
    log_info("the exit policy changed", {{"rules", rules_.size()}, {"own_addresses", own_.size()}});
    send_policy();
}

void NodeApp::read_policy() {
    auto own = read_own_addresses();
    if (own)
        own_ = std::move(*own);
    else
        log_warn("keeping the addresses known before", {{"error", own.error().message}});
    rules_ = make_policy_rules(config_.node.exit_policy, own_);
    if (rules_.size() > ring::kPolicyRulesMax) {
        // Rules at the end deny: cutting them off would allow something.
        log_error("too many exit policy rules, denying everything", {{"rules", rules_.size()}});
        const PolicyList all{.private_ranges = false,
                             .blocks = {*wire::Cidr::parse("0.0.0.0/0"), *wire::Cidr::parse("::/0")}};
        rules_ = make_policy_rules({.allow = {}, .deny = all}, {});
    }
}

void NodeApp::send_policy() {
    for (const ring::PolicyPart& part : make_policy_parts(rules_, ++policy_version_)) port_.send_all(part);
}

void NodeApp::send_relay_settings() {
    const RelayLimitsConfig& limits = config_.node.relay_limits;
    ring::RelaySettings settings{};
    settings.enabled = config_.node.relay_mode ? 1 : 0;
    settings.streams_max = limits.streams;
    settings.offers_max = limits.connections;
    settings.members_max = limits.reservations;
    settings.bytes_per_second = limits.bytes_per_second;
    port_.send_all(settings);
}

void NodeApp::send_state() {
    driver_.start();
    send_policy();
    send_relay_settings();
}

void NodeApp::on_listening() {
    peers_.start();
    presence_.configure(config_.discovery);
    if (!announced_) watch_discovery();
    if (std::exchange(announced_, true)) {
        log_info("listening again");
        return;
    }
    std::string listen;
    for (const wire::Endpoint& address : surroundings_.addresses())
        listen += (listen.empty() ? "" : ",") + address.format();
    wire::Endpoint reachable = surroundings_.addresses().front();
    if (reachable.ip.is_wildcard()) reachable.ip = best_public_address(own_);
    log_info(
        "ready",
        {{"node", encode_node_id(id_) + "@" + reachable.format()}, {"listen", listen}, {"network_key", fingerprint_}});
}

void NodeApp::on_event(uint32_t engine, const ring::MessageView& event) {
    const Instant now = EventLoop::now();
    const auto is_outgoing = [](uint64_t connection) { return (connection & ring::kOutgoingConnectionBit) != 0; };
    switch (event.type()) {
        case ring::MessageType::control_accepted:
            return driver_.on_accepted(engine, event.get<ring::ControlAccepted>(), now);
        case ring::MessageType::control_data: {
            const auto data = event.get<ring::ControlData>();
            if (is_outgoing(data.connection)) return peers_.on_event(engine, event);
            return driver_.on_data(engine, data, now);
        }
        case ring::MessageType::control_closed: {
            const auto closed = event.get<ring::ControlClosed>();
            if (is_outgoing(closed.connection)) return peers_.on_event(engine, event);
            return driver_.on_closed(engine, closed, now);
        }
        case ring::MessageType::control_opened:
        case ring::MessageType::offer_state:
        case ring::MessageType::member_wanted:
            return peers_.on_event(engine, event);
        case ring::MessageType::punch_observed:
            return punches_.on_observed(engine, event.get<ring::PunchObserved>());
        case ring::MessageType::session_confirmed:
            return driver_.on_confirmed(event.get<ring::SessionConfirmed>());
        case ring::MessageType::resolve:
            return on_resolve(engine, event.get<ring::Resolve>());
        default:
            return;  // the permission table lets nothing else through that matters here
    }
}

void NodeApp::on_resolve(uint32_t engine, const ring::Resolve& query) {
    const std::string name(as_text(Bytes(query.name).first(query.size)));
    resolver_.resolve(name, ResolveFamily::any,
                      [this, engine, number = query.query, generation = generation_](const Resolution& found) {
                          if (generation != generation_) return;
                          ring::ResolveResult result{};
                          result.query = number;
                          result.status = found.status;
                          for (const wire::IpAddress& address : found.addresses)
                              result.addresses[result.count++] = to_ring({address, 0});
                          port_.send(engine, result);
                      });
}

void NodeApp::ask_policy(const wire::Target& target,
                         const std::function<void(wire::StreamStatus, wire::Reason)>& done) {
    // The same verdicts, in the same order, as a stream gets from its engine (dataplane/stream/target_dialing).
    const auto judge = [this, done](std::span<const wire::IpAddress> addresses) {
        const PolicyVerdict verdict = judge_target(rules_, addresses);
        done(verdict.allowed ? wire::StreamStatus::ok : wire::StreamStatus::denied,
             wire::Reason(describe_rule(verdict.rule)));
    };
    if (!target.is_name()) {
        const wire::IpAddress address = target.endpoint().ip;
        return judge(std::span(&address, 1));
    }
    resolver_.resolve(target.name(), ResolveFamily::any, [judge, done](const Resolution& found) {
        switch (found.status) {
            case ring::ResolveStatus::ok:
                return judge(found.addresses);
            case ring::ResolveStatus::not_found:
                return done(wire::StreamStatus::name_not_found, wire::Reason("the name does not exist"));
            case ring::ResolveStatus::overloaded:
                return done(wire::StreamStatus::name_unresolved, wire::Reason("too many names are being resolved"));
            case ring::ResolveStatus::failed:
            case ring::ResolveStatus::timed_out:
                return done(wire::StreamStatus::name_unresolved, wire::Reason("the name could not be resolved"));
        }
    });
}

void NodeApp::on_lost() {
    ++generation_;
    driver_.reset();
    peers_.reset();
    punches_.reset();
}

void NodeApp::on_draining() {
    driver_.announce_draining();
    peers_.stop();
    watcher_.reset();
    draining_ = true;
    withdrawing_ = true;
    presence_.withdraw([this] {
        withdrawing_ = false;
        if (finished_) std::exchange(finished_, nullptr)();
    });
}

void NodeApp::finish(Callback done) {
    if (withdrawing_)
        finished_ = std::move(done);
    else
        loop_.defer(std::move(done));
}

void NodeApp::report(Json::Value& status) const {
    Json::Value& sessions = status["sessions"];
    sessions["active"] = Json::UInt64{driver_.sessions().size()};
    sessions["provisional"] = Json::UInt64{driver_.sessions().provisional()};
    sessions["max"] = Json::UInt64{driver_.sessions().sessions_max()};
    sessions["control_connections"] = Json::UInt64{driver_.control_connections()};
    sessions["handshakes_ok"] = Json::UInt64{driver_.handshakes_ok()};
    sessions["challenges"] = Json::UInt64{driver_.challenges()};
    Json::Value& failed = sessions["handshakes_failed"] = Json::Value(Json::objectValue);
    for (const auto& [reason, count] : driver_.handshakes_failed()) failed[reason] = Json::UInt64{count};
    status["resolver"]["in_flight"] = Json::UInt64{resolver_.in_flight()};
    status["resolver"]["max"] = Json::UInt64{queries_max_};
    status["exit_policy"]["rules"] = Json::UInt64{rules_.size()};
    status["network_key"] = fingerprint_;
    status["limits"]["sessions"] = Json::UInt64{driver_.sessions().sessions_max()};  // of clients; not those of peers
    presence_.report(status);
    if (watcher_ != nullptr) watcher_->report(status["discovery"]["relays"]);
    status["relay_mode"] = config_.node.relay_mode;
    peers_.report(status);
    Json::Value& punches = status["punches"];
    punches["asked"] = Json::UInt64{punches_.counts().asked};
    punches["ready"] = Json::UInt64{punches_.counts().ready};
    punches["busy"] = Json::UInt64{punches_.counts().busy};
    punches["impossible"] = Json::UInt64{punches_.counts().impossible};
}

std::vector<std::string> NodeApp::reload(const Config& next) {
    std::vector<std::string> later;
    if (next.limits.resolver_queries != config_.limits.resolver_queries) later.emplace_back("limits.resolver_queries");
    const Config before = std::exchange(config_, next);
    if (announced_) presence_.configure(config_.discovery);
    presence_.changed();
    const bool watch = (config_.node.relays_from_discovery > 0) != (before.node.relays_from_discovery > 0);
    if (announced_ && !draining_ && (watch || before.discovery != config_.discovery)) watch_discovery();
    refresh_policy();
    send_relay_settings();
    punches_.set_enabled(config_.node.punch && config_.node.behind_relays());
    peers_.configure(config_);
    return later;
}

void NodeApp::list_peers(Json::Value& peers) const {
    const Instant now = EventLoop::now();
    for (const SessionTable::View& session : driver_.sessions().views()) {
        Json::Value entry;
        entry["id"] = encode_node_id(session.client);
        entry["role"] = "client";
        entry["source"] = "session";
        const bool relayed = came_over_relay(session.origin.peer);
        entry["path"] = relayed ? "via a relay" : "direct";
        entry["address"] = relayed ? "" : session.origin.peer.format();
        entry["state"] = !session.control_open ? "leaving" : session.confirmed ? "up" : "provisional";
        entry["since_seconds"] = Json::UInt64{
            static_cast<uint64_t>(std::chrono::duration_cast<std::chrono::seconds>(now - session.made).count())};
        entry["suite"] = std::string(crypto::suite_name(session.origin.suite));
        peers.append(entry);
    }
    peers_.list_peers(peers);
}

void NodeApp::explain(const wire::Target&, std::function<void(Json::Value)> done) {
    Json::Value answer;
    answer["error"] = "explain is a question for a client: it chooses the exit of a stream, a node does not";
    done(answer);
}

void NodeApp::collect(MetricsPage& page) const {
    page.family("sessions", MetricsPage::Kind::gauge, "Sessions of clients.");
    const size_t provisional = driver_.sessions().provisional();
    page.sample(uint64_t{driver_.sessions().size() - provisional}, {{"state", "confirmed"}});
    page.sample(uint64_t{provisional}, {{"state", "provisional"}});
    page.family("handshakes_total", MetricsPage::Kind::counter, "Session handshakes that clients began, by result.");
    page.sample(driver_.handshakes_ok(), {{"result", "ok"}});
    for (const auto& [reason, count] : driver_.handshakes_failed()) page.sample(count, {{"result", reason}});
    page.family("challenges_total", MetricsPage::Kind::counter, "Cookies that were handed out under load.");
    page.sample(driver_.challenges());
    page.family("resolver_queries", MetricsPage::Kind::gauge, "Names that are being resolved.");
    page.sample(uint64_t{resolver_.in_flight()});
    peers_.collect(page);
}

}  // namespace qanat::controlplane
