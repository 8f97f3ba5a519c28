#include "controlplane/app/client_app.h"

#include <sodium.h>

#include <algorithm>
#include <utility>

#include "common/base/log.h"
#include "common/crypto/random.h"
#include "common/crypto/sha256.h"
#include "common/handshake/node_id.h"

namespace qanat::controlplane {
namespace {

ClientDriver::Settings driver_settings(const Config& config, Keys& keys) {
    ClientDriver::Settings settings;
    settings.credentials.identity = std::move(keys.identity);
    settings.credentials.network_key = std::move(keys.network.front());
    settings.credentials.suites = runnable_suites(config.data_plane.suites);
    settings.credentials.capabilities = own_capabilities();
    crypto::random_bytes(settings.credentials.boot_id);
    settings.nodes = config.nodes;
    settings.health = config.routing.health;
    settings.timeout = config.routing.timeout;
    return settings;
}

ResolveFamily to_resolve_family(NameFamily family) {
    switch (family) {
        case NameFamily::any:
            return ResolveFamily::any;
        case NameFamily::v4:
            return ResolveFamily::v4;
        case NameFamily::v6:
            return ResolveFamily::v6;
    }
    return ResolveFamily::any;
}

std::string explain(const std::string& name, ring::ResolveStatus status) {
    switch (status) {
        case ring::ResolveStatus::not_found:
            return "the name " + name + " does not exist";
        case ring::ResolveStatus::timed_out:
            return "no name server answered for " + name;
        default:
            return "the name " + name + " could not be resolved";
    }
}

// Host names of nodes only. Targets are resolved by the exit node; nothing here ever sees one.
NodeLookup make_lookup(Resolver& resolver) {
    return [&resolver](const std::string& name, NameFamily family,
                       std::function<void(Result<std::vector<wire::IpAddress>>)> done) {
        resolver.resolve(name, to_resolve_family(family), [name, done = std::move(done)](const Resolution& found) {
            if (found.status == ring::ResolveStatus::ok)
                done(found.addresses);
            else
                done(fail(explain(name, found.status)));
        });
    };
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
      driver_(port, driver_settings(config, keys), &crypto::random_bytes, make_lookup(resolver_),
              [this] { nodes_changed(); }),
      driver_timer_(loop,
                    [this] {
                        driver_.tick(EventLoop::now());
                        nodes_changed();
                    }),
      announce_timer_(loop, [this] { announce(); }) {}

void ClientApp::send_state() {
    sent_plan_.reset();
    listening_ = false;
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
    announce_timer_.start(kFirstNodeTime);
    nodes_changed();
}

void ClientApp::on_draining() {
    // Running streams have their own keys; what happens to sessions from here on is of no interest.
    draining_ = true;
    driver_timer_.cancel();
}

void ClientApp::on_event(uint32_t engine, const ring::MessageView& event) {
    if (draining_) return;
    const Instant now = EventLoop::now();
    switch (event.type()) {
        case ring::MessageType::control_opened:
            driver_.on_opened(engine, event.get<ring::ControlOpened>(), now);
            break;
        case ring::MessageType::control_data:
            driver_.on_data(engine, event.get<ring::ControlData>(), now);
            break;
        case ring::MessageType::control_closed:
            driver_.on_closed(engine, event.get<ring::ControlClosed>(), now);
            break;
        case ring::MessageType::hop_failed:
            driver_.on_hop_failed(event.get<ring::HopFailed>(), now);
            break;
        default:
            return;
    }
    nodes_changed();
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
    const Plan plan = make_plan(config_.routing.strategy, config_.routing.timeout, driver_.routable_nodes(now));
    if (!sent_plan_ || !same_plan(*sent_plan_, plan)) send_plan(plan);
    if (const auto deadline = driver_.deadline(now))
        driver_timer_.start_at(*deadline);
    else
        driver_timer_.cancel();
    if (listening_ && !announced_ && (driver_.nodes_up() > 0 || driver_.all_tried())) announce();
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
                       {"nodes", driver_.node_count()},
                       {"nodes_connected", driver_.nodes_up()},
                       {"network_key", fingerprint_}});
    if (driver_.nodes_up() == 0)
        log_warn("no node is connected yet: streams fail until one is", {{"nodes", driver_.node_count()}});
}

void ClientApp::report(Json::Value& status) const {
    const Instant now = EventLoop::now();
    Json::Value& nodes = status["nodes"] = Json::Value(Json::arrayValue);
    for (size_t i = 0; i < driver_.node_count(); ++i) {
        const ClientDriver::NodeStatus node = driver_.status(i);
        Json::Value entry;
        entry["id"] = encode_node_id(node.id);
        entry["address"] = node.address;
        entry["state"] = std::string(NodeSession::name_of(node.state));
        entry["since_seconds"] = Json::UInt64{static_cast<uint64_t>(
            std::max<int64_t>(0, std::chrono::duration_cast<std::chrono::seconds>(now - node.since).count()))};
        if (node.latency) entry["latency_ms"] = static_cast<double>(node.latency->count()) / 1000;
        entry["last_error"] = node.last_error;
        entry["failures"] = Json::UInt64{node.failures};
        nodes.append(entry);
    }
    Json::Value& sessions = status["sessions"];
    sessions["active"] = Json::UInt64{driver_.nodes_up()};
    sessions["provisional"] = Json::UInt64{0};
    sessions["handshakes_ok"] = Json::UInt64{driver_.handshakes_ok()};
    sessions["handshakes_failed"]["all"] = Json::UInt64{driver_.handshakes_failed()};
    status["strategy"] = std::string(name_of(config_.routing.strategy));
    status["network_key"] = fingerprint_;
}

}  // namespace qanat::controlplane
