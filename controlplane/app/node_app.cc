#include "controlplane/app/node_app.h"

#include <algorithm>
#include <cstring>

#include "common/base/log.h"
#include "common/crypto/random.h"
#include "controlplane/app/bootstrap_settings.h"
#include "controlplane/policy/exit_policy.h"
#include "controlplane/policy/own_addresses.h"

namespace qanat::controlplane {
namespace {

NodeDriver::Settings driver_settings(const Config& config, Keys& keys) {
    NodeDriver::Settings settings;
    settings.identity = std::move(keys.identity);
    settings.network_keys = std::move(keys.network);
    settings.suites = runnable_suites(config.data_plane.suites);
    settings.capabilities = own_capabilities();
    settings.sessions_max = config.limits.sessions;
    return settings;
}

bool is_wildcard(const wire::IpAddress& address) {
    const Bytes bytes = address.significant();
    return std::all_of(bytes.begin(), bytes.end(), [](uint8_t byte) { return byte == 0; });
}

bool same_rules(const std::vector<ring::PolicyRule>& a, const std::vector<ring::PolicyRule>& b) {
    // No padding and no pointers: the bytes are the rule.
    return a.size() == b.size() && (a.empty() || std::memcmp(a.data(), b.data(), a.size() * sizeof a[0]) == 0);
}

}  // namespace

NodeApp::NodeApp(EventLoop& loop, CommandPort& port, const Config& config, Keys keys,
                 std::function<std::vector<wire::Endpoint>()> addresses)
    : port_(port),
      policy_config_(config.node.exit_policy),
      queries_max_(config.limits.resolver_queries),
      addresses_(std::move(addresses)),
      id_(keys.id()),
      fingerprint_(keys.fingerprint()),
      driver_(port, driver_settings(config, keys), &crypto::random_bytes, EventLoop::now()),
      resolver_(loop, {.queries_max = config.limits.resolver_queries, .timeout = kResolveTime}),
      second_(loop, [this] { driver_.tick(EventLoop::now()); }),
      own_addresses_(loop, [this] {
          const std::vector<ring::PolicyRule> before = rules_;
          read_policy();
          if (same_rules(before, rules_)) return;
          log_info("the addresses of this machine changed", {{"own_addresses", own_.size()}});
          send_policy();
      }) {
    read_policy();
    second_.start_every(std::chrono::seconds(1));
    own_addresses_.start_every(kOwnAddressesInterval);
}

void NodeApp::read_policy() {
    auto own = read_own_addresses();
    if (own)
        own_ = std::move(*own);
    else
        log_warn("keeping the addresses known before", {{"error", own.error().message}});
    rules_ = make_policy_rules(policy_config_, own_);
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

void NodeApp::send_state() {
    driver_.start();
    send_policy();
}

void NodeApp::on_listening() {
    if (std::exchange(announced_, true)) {
        log_info("listening again");
        return;
    }
    std::string listen;
    for (const wire::Endpoint& address : addresses_()) listen += (listen.empty() ? "" : ",") + address.format();
    wire::Endpoint reachable = addresses_().front();
    if (is_wildcard(reachable.ip)) reachable.ip = best_public_address(own_);
    log_info("ready", {{"node", id_ + "@" + reachable.format()}, {"listen", listen}, {"network_key", fingerprint_}});
}

void NodeApp::on_event(uint32_t engine, const ring::MessageView& event) {
    const Instant now = EventLoop::now();
    switch (event.type()) {
        case ring::MessageType::control_accepted:
            return driver_.on_accepted(engine, event.get<ring::ControlAccepted>(), now);
        case ring::MessageType::control_data:
            return driver_.on_data(engine, event.get<ring::ControlData>(), now);
        case ring::MessageType::control_closed:
            return driver_.on_closed(engine, event.get<ring::ControlClosed>(), now);
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

void NodeApp::on_lost() {
    ++generation_;
    driver_.reset();
}

void NodeApp::on_draining() {
    driver_.announce_draining();
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
}

}  // namespace qanat::controlplane
