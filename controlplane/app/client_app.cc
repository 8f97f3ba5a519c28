#include "controlplane/app/client_app.h"

#include <sodium.h>

#include <algorithm>
#include <cstring>
#include <utility>

#include "common/base/log.h"
#include "common/crypto/random.h"
#include "common/crypto/sha256.h"
#include "common/handshake/node_id.h"
#include "common/ring/end_reason.h"
#include "controlplane/app/client_report.h"
#include "controlplane/app/discovered_nodes.h"
#include "controlplane/app/explanation.h"
#include "controlplane/app/node_lookup.h"
#include "controlplane/policy/punch_peer.h"

namespace qanat::controlplane {
namespace {

ClientDriver::Settings driver_settings(const Config& config, Keys& keys) {
    ClientDriver::Settings settings;
    settings.credentials.identity = std::move(keys.identity);
    settings.credentials.network_key = std::move(keys.network.front());
    settings.credentials.suites = runnable_suites(config.data_plane.suites);
    settings.credentials.capabilities = own_capabilities();
    crypto::random_bytes(settings.credentials.boot_id);
    settings.health = config.routing.health;
    settings.timeout = config.routing.timeout;
    settings.punch = config.routing.punch;
    return settings;
}

// Every client draws its own choice of discovered nodes, and keeps it.
uint64_t membership_seed(const Keys& keys) {
    uint64_t seed = 0;
    std::memcpy(&seed, keys.identity.public_key.data(), sizeof seed);
    return seed;
}

}  // namespace

ClientApp::ClientApp(EventLoop& loop, CommandPort& port, const Config& config, Keys keys,
                     std::function<std::vector<wire::Endpoint>()> addresses)
    : loop_(loop),
      port_(port),
      config_(config),
      addresses_(std::move(addresses)),
      fingerprint_(keys.fingerprint()),
      resolver_(loop, {.timeout = std::min<Duration>(config.routing.timeout, std::chrono::seconds(5))}),
      discovery_key_(keys.network.front().discovery.clone()),
      membership_(membership_seed(keys)),
      driver_(port, driver_settings(config, keys), &crypto::random_bytes, make_node_lookup(resolver_),
              {.on_change = [this] { nodes_changed(); },
               .may_punch = [](const wire::Endpoint& peer,
                               const wire::Endpoint& observed) { return may_punch(peer, observed, {}, {}); }}),
      plan_budget_(kPlansPerSecond, kPlansBurst, EventLoop::now()),
      driver_timer_(loop,
                    [this] {
                        driver_.tick(EventLoop::now());
                        nodes_changed();
                    }),
      plan_timer_(loop, [this] { update(); }),
      members_timer_(loop, [this] { update_members(); }),
      announce_timer_(loop, [this] { announce(); }) {
    configure_nodes();
}

void ClientApp::configure_nodes() {
    if (config_.nodes.size() > Membership::kActiveMax)
        log_warn("more nodes than are used at a time: the first ones are",
                 {{"nodes", config_.nodes.size()}, {"used", Membership::kActiveMax}});
    membership_.set_configured(config_.nodes);
    update_members();
}

void ClientApp::watch_discovery() {
    watcher_.reset();
    if (!config_.discovery.enabled) return take_discovered();
    watcher_ = std::make_unique<NodeWatcher>(
        loop_, DiscoverySettings::of(config_.discovery), AnnouncementKeys(discovery_key_, config_.discovery.topic),
        [this] { take_discovered(); }, make_node_lookup(resolver_), &crypto::random_bytes);
    watcher_->start();
}

void ClientApp::take_discovered() {
    membership_.set_discovered(watcher_ == nullptr ? std::vector<DiscoveredNode>()
                                                   : discovered_nodes(watcher_->nodes()));
    update_members();
}

void ClientApp::finish(Callback done) {
    loop_.defer(std::move(done));
}

void ClientApp::update_members() {
    if (draining_) return;
    const Instant now = EventLoop::now();
    driver_.set_nodes(membership_.update(now, [this](uint32_t node) { return driver_.is_up(node); }), now);
    if (membership_.has_reserve()) members_timer_.start(kMembersInterval);
}

void ClientApp::send_state() {
    sent_plan_.reset();
    listening_ = false;
    send_settings();
    send_users();
    // At the first start nothing leaves this machine before SOCKS listens: the address may be in use. After a restart
    // applications are waiting already.
    driver_started_ = announced_;
    if (driver_started_) driver_.start(EventLoop::now());
    update();
}

void ClientApp::on_listening() {
    listening_ = true;
    if (announced_) {
        log_info("listening again");
        return;
    }
    if (!std::exchange(driver_started_, true)) driver_.start(EventLoop::now());
    watch_discovery();
    announce_timer_.start(kFirstNodeTime);
    nodes_changed();
}

void ClientApp::on_draining() {
    // Running streams have their own keys; what happens to sessions from here on is of no interest.
    draining_ = true;
    driver_timer_.cancel();
    plan_timer_.cancel();
    members_timer_.cancel();
}

void ClientApp::on_event(uint32_t engine, const ring::MessageView& event) {
    if (draining_) return;
    if (event.type() == ring::MessageType::stream_ended) return on_stream_ended(event.get<ring::StreamEnded>());
    if (driver_.on_event(engine, event, EventLoop::now())) nodes_changed();
}

void ClientApp::on_stream_ended(const ring::StreamEnded& event) const {
    const std::string target = printable(as_text(Bytes(event.target).first(event.target_size)));
    log_debug("stream ended", {{"target", target.empty() ? "" : target + ":" + std::to_string(event.port)},
                               {"node", driver_.knows(event.node) ? encode_node_id(driver_.status(event.node).id) : ""},
                               {"reason", ring::end_reason_name(static_cast<ring::EndReason>(event.reason))},
                               {"status", event.status},
                               {"bytes_up", event.bytes_up},
                               {"bytes_down", event.bytes_down},
                               {"duration_ms", event.duration_us / 1000}});
}

void ClientApp::on_lost() {
    listening_ = false;
    sent_plan_.reset();
    driver_.reset(EventLoop::now());
    driver_timer_.cancel();
}

void ClientApp::nodes_changed() {
    if (std::exchange(update_pending_, true)) return;
    loop_.defer([this] { update(); });
}

void ClientApp::update() {
    update_pending_ = false;
    if (port_.engines() == 0 || draining_) return;
    const Instant now = EventLoop::now();
    const Plan plan = plan_now(now);
    if (!sent_plan_ || !same_plan(*sent_plan_, plan)) {
        if (plan_budget_.take(now))
            send_plan(plan);
        else
            plan_timer_.start(std::chrono::milliseconds(static_cast<int64_t>(1000 / kPlansPerSecond)));
    }
    driver_timer_.start_at(driver_.deadline(now));
    if (listening_ && !announced_ && (driver_.routable_up() > 0 || driver_.all_tried())) announce();
}

Plan ClientApp::plan_now(Instant now) const {
    return make_plan(config_.routing.strategy, config_.routing.timeout, driver_.routable_nodes(now));
}

void ClientApp::send_settings() {
    ring::Settings settings{};
    settings.stream_events = log_enabled(LogLevel::debug) ? 1 : 0;
    settings.pool_max = kPoolMax;
    settings.pool_min_rtt_us = kPoolMinRttUs;
    port_.send_all(settings);
}

void ClientApp::send_plan(const Plan& plan) {
    sent_plan_ = plan;
    for (const ring::PlanPart& part : make_plan_parts(plan, ++plan_version_)) port_.send_all(part);
    log_debug("plan sent", {{"version", plan_version_}, {"hops", plan.hops.size()}});
}

void ClientApp::send_users() {
    ring::Users users{};
    if (config_.server.auth) {
        const std::string& user = config_.server.user;
        const auto size = static_cast<uint8_t>(user.size());
        users.required = 1;
        users.count = 1;
        crypto::random_bytes(users.salt);
        crypto::hmac_sha256(users.tags[0], users.salt,
                            {Bytes(&size, 1), as_bytes(user), as_bytes(config_.server.pass)});
    }
    port_.send_all(users);
    sodium_memzero(&users, sizeof users);
}

void ClientApp::announce() {
    if (!listening_ || std::exchange(announced_, true)) return;
    announce_timer_.cancel();
    log_info("ready", {{"socks", addresses_().front().format()},
                       {"nodes", driver_.routable_count()},
                       {"nodes_connected", driver_.routable_up()},
                       {"network_key", fingerprint_}});
    if (driver_.routable_up() == 0)
        log_warn("no node is connected yet: streams fail until one is", {{"nodes", driver_.routable_count()}});
}

void ClientApp::report(Json::Value& status) const {
    const Instant now = EventLoop::now();
    Json::Value& nodes = status["nodes"] = Json::Value(Json::arrayValue);
    for (const ClientDriver::NodeStatus& node : all_nodes(driver_)) {
        Json::Value entry = describe_peer(node, now);
        entry["failures"] = Json::UInt64{node.failures};
        nodes.append(entry);
    }
    Json::Value& sessions = status["sessions"];
    sessions["active"] = Json::UInt64{driver_.nodes_up()};
    sessions["provisional"] = Json::UInt64{0};
    sessions["handshakes_ok"] = Json::UInt64{driver_.handshakes_ok()};
    sessions["handshakes_failed"]["all"] = Json::UInt64{driver_.handshakes_failed()};
    if (watcher_ != nullptr) watcher_->report(status["discovery"]);
    status["strategy"] = std::string(name_of(config_.routing.strategy));
    status["network_key"] = fingerprint_;
}

std::vector<std::string> ClientApp::reload(const Config& next) {
    const Instant now = EventLoop::now();
    const Config before = std::exchange(config_, next);
    // Running streams have passed their login, their node and their pool already.
    if (before.server != next.server) send_users();
    if (before.log.level != next.log.level) send_settings();
    if (before.routing != next.routing) driver_.set_times(next.routing.health, next.routing.timeout, now);
    if (before.routing.punch != next.routing.punch) driver_.set_punch(next.routing.punch);
    if (before.nodes != next.nodes) configure_nodes();
    if (before.discovery != next.discovery && announced_) watch_discovery();
    nodes_changed();
    return {};  // sockets and reserved memory are the Daemon's
}

void ClientApp::list_peers(Json::Value& peers) const {
    const Instant now = EventLoop::now();
    for (const ClientDriver::NodeStatus& node : all_nodes(driver_)) peers.append(describe_peer(node, now));
}

void ClientApp::explain(const wire::Target& target, std::function<void(Json::Value)> done) {
    const Instant now = EventLoop::now();
    std::map<uint32_t, ClientDriver::NodeStatus> nodes;
    for (const uint32_t number : driver_.numbers()) nodes.emplace(number, driver_.status(number));
    const auto explanation =
        std::make_shared<Explanation>(config_.routing.strategy, plan_now(now), std::move(nodes), target, now);
    const std::vector<uint32_t>& to_ask = explanation->to_ask();
    if (to_ask.empty()) return done(explanation->result());
    const auto open = std::make_shared<size_t>(to_ask.size());
    for (const uint32_t node : to_ask)
        driver_.ask_policy(node, target, now,
                           [explanation, open, node, done](const std::optional<wire::ControlMessage>& answer) {
                               explanation->on_answer(node, answer);
                               if (--*open == 0) done(explanation->result());
                           });
}

void ClientApp::collect(MetricsPage& page) const {
    add_client_metrics(page, {.nodes = all_nodes(driver_),
                              .handshakes_ok = driver_.handshakes_ok(),
                              .handshakes_failed = driver_.handshakes_failed(),
                              .plan_version = plan_version_,
                              .hops = sent_plan_ ? sent_plan_->hops : std::vector<ring::PlanHop>()});
}

}  // namespace qanat::controlplane
