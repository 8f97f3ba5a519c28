#include "controlplane/config/parse.h"

#include <fcntl.h>
#include <json/reader.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdio>
#include <memory>
#include <system_error>

#include "common/base/log.h"
#include "common/base/unique_fd.h"
#include "controlplane/config/addresses.h"
#include "controlplane/config/cores.h"
#include "controlplane/config/json_object.h"

namespace qanat::controlplane {
namespace {

using std::chrono::hours;
using std::chrono::milliseconds;
using std::chrono::minutes;

constexpr Duration kIntervalMin = milliseconds(100);
constexpr size_t kLoginSizeMax = 255;  // RFC 1929
constexpr uint64_t kBytesPerSecondMax = 1'000'000'000'000;

// A parser for one of a few words.
template <class Parse>
auto one_of(std::string_view noun, std::string_view names, Parse parse) {
    return [=](std::string_view text) -> Result<typename decltype(parse(text))::value_type> {
        if (const auto value = parse(text)) return *value;
        return fail("unknown " + std::string(noun) + " \"" + printable(text) + "\": use " + std::string(names));
    };
}

// A path as the file means it: relative to the file's own directory.
std::string resolve_path(const std::string& path, const std::string& file) {
    if (path.empty() || path.starts_with('/')) return path;
    const size_t slash = file.rfind('/');
    return slash == std::string::npos ? path : file.substr(0, slash + 1) + path;
}

void read_login(JsonObject& object, std::string& user, std::string& pass) {
    object.read_string("user", user);
    object.read_string("pass", pass);
    if (user.size() > kLoginSizeMax) object.report("user", "longer than 255 bytes: choose a shorter one");
    if (pass.size() > kLoginSizeMax) object.report("pass", "longer than 255 bytes: choose a shorter one");
}

void read_server(JsonObject& object, ServerConfig& server) {
    object.read_text("listen", server.listen, [](std::string_view text) { return parse_listen(text, kSocksPort); });
    object.read_bool("auth", server.auth);
    read_login(object, server.user, server.pass);
    if (server.auth && server.user.empty())
        object.report("user", "server.auth is true: set user and pass, or set auth to false");
    if (server.auth && server.pass.empty())
        object.report("pass", "server.auth is true: set user and pass, or set auth to false");
    // Who writes a password down believes that it protects something.
    if (!server.auth && !(server.user.empty() && server.pass.empty()))
        object.report("auth", "user and pass are set but auth is not true: set it to true, or remove user and pass");
}

void read_routing(JsonObject& object, RoutingConfig& routing) {
    object.read_text("strategy", routing.strategy,
                     one_of("strategy", "random, round-robin, fastest or least-loaded", parse_strategy));
    object.read_duration("health", routing.health, kIntervalMin, hours(24));
    object.read_duration("timeout", routing.timeout, kIntervalMin, minutes(10));
    object.read_bool("punch", routing.punch);
}

// One peer, or a list of them.
void read_peers(JsonObject& object, std::string_view key, std::vector<PeerAddress>& peers) {
    object.read_strings(key, [&](const std::string& text) -> Result<void> {
        const auto peer = parse_peer_address(text);
        if (!peer) return tl::unexpected(peer.error());
        if (std::find(peers.begin(), peers.end(), *peer) != peers.end()) return fail("given twice: remove one of them");
        peers.push_back(*peer);
        return {};
    });
}

// One entry of nodes[]. Its id stands in `id`, in front of an address, or in both if they agree.
NodeConfig read_node(JsonObject& object) {
    NodeConfig node;
    std::optional<PublicKey> id;
    object.read_text("id", id, parse_node_id);
    object.read_strings("addrs", [&](const std::string& text) -> Result<void> {
        const auto parsed = parse_node_address(text);
        if (!parsed) return tl::unexpected(parsed.error());
        if (parsed->id && id && *parsed->id != *id)
            return fail("another node id than the rest of this entry: make one entry for each node");
        if (parsed->id) id = parsed->id;
        if (std::find(node.addrs.begin(), node.addrs.end(), parsed->address) != node.addrs.end())
            return fail("given twice: remove one of them");
        node.addrs.push_back(parsed->address);
        return {};
    });
    read_peers(object, "relay", node.relays);
    read_peers(object, "via", node.via);
    if (node.via.size() > kViaRelaysMax) object.report("via", "more than 3 relays: shorten the path");
    if (!node.via.empty() && !node.relays.empty())
        object.report("via", "stands beside relay: name the whole path in via, or the relays in relay");
    if (!id)
        object.report("id", "missing: set the id that 'qanat id' prints on that node, or write ID@HOST:PORT in addrs");
    if (node.addrs.empty() && node.relays.empty() && node.via.empty())
        object.report("addrs", "no address: set at least one HOST:PORT");
    const auto is_itself = [&](const PeerAddress& relay) { return id && relay.id == *id; };
    if (std::any_of(node.relays.begin(), node.relays.end(), is_itself))
        object.report("relay", "the node itself: name another node, or only its own address in addrs");
    if (std::any_of(node.via.begin(), node.via.end(), is_itself))
        object.report("via", "the node itself: name the relays in front of it only");
    node.id = id.value_or(PublicKey{});
    return node;
}

void read_nodes(JsonObject& root, std::vector<NodeConfig>& nodes, ConfigProblem& problem) {
    root.read_array("nodes", [&](const Json::Value& element, const std::string& path) {
        JsonObject object(element, path, {"id", "addrs", "relay", "via"}, problem);
        NodeConfig node = read_node(object);
        const auto twin =
            std::find_if(nodes.begin(), nodes.end(), [&](const NodeConfig& other) { return other.id == node.id; });
        if (twin != nodes.end())
            problem.report(path + ".id", "the same node as nodes[" + std::to_string(twin - nodes.begin()) +
                                             "]: put all its addresses into one entry");
        nodes.push_back(std::move(node));
    });
}

void read_relay_limits(JsonObject& object, RelayLimitsConfig& limits) {
    object.read_count("reservations", limits.reservations, 0, 1U << 20);
    object.read_count("connections", limits.connections, 0, 65535);
    object.read_count("streams", limits.streams, 0, 1U << 22);
    object.read_count("bytes_per_second", limits.bytes_per_second, 0, kBytesPerSecondMax);
}

Result<std::string> parse_region(std::string_view text) {
    const bool plain = std::all_of(text.begin(), text.end(),
                                   [](char c) { return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-'; });
    if (!plain || text.size() > kRegionSizeMax)
        return fail("not a region: write at most 32 of a-z, 0-9 and \"-\", like eu-central-1");
    return std::string(text);
}

Result<void> read_announce(const std::string& text, std::vector<NodeAddress>& announce) {
    const auto parsed = parse_node_address(text);
    if (!parsed) return tl::unexpected(parsed.error());
    if (parsed->id) return fail("a node announces its own id: write HOST:PORT alone");
    if (std::find(announce.begin(), announce.end(), parsed->address) != announce.end())
        return fail("given twice: remove one of them");
    if (announce.size() == kAnnounceMax) return fail("more than 16 addresses: remove some");
    announce.push_back(parsed->address);
    return {};
}

void read_exit_node(JsonObject& object, ExitNodeConfig& node) {
    std::vector<wire::Endpoint> listen;
    const bool listens = object.read_strings("listen", [&](const std::string& text) -> Result<void> {
        const auto endpoint = parse_listen(text, kTunnelPort);
        if (!endpoint) return tl::unexpected(endpoint.error());
        if (std::find(listen.begin(), listen.end(), *endpoint) != listen.end())
            return fail("given twice: remove one of them");
        listen.push_back(*endpoint);
        return {};
    });
    if (listens && listen.empty())
        object.report("listen", "an empty list: set at least one HOST:PORT, or remove the key");
    if (listens) node.listen = std::move(listen);
    object.read_text("region", node.region, parse_region);
    object.read_strings("announce", [&](const std::string& text) { return read_announce(text, node.announce); });
    object.read_bool("relay_mode", node.relay_mode);
    read_peers(object, "connect_relay", node.connect_relay);
    object.read_count("relays_from_discovery", node.relays_from_discovery, 0, kRelaysFromDiscoveryMax);
    object.read_bool("punch", node.punch);
    object.read_object("relay_limits", {"reservations", "connections", "streams", "bytes_per_second"},
                       [&](JsonObject& limits) { read_relay_limits(limits, node.relay_limits); });
    object.read_object("exit_policy", {"allow", "deny"}, [&](JsonObject& policy) {
        policy.read_strings("allow",
                            [&](const std::string& text) { return parse_policy_entry(text, node.exit_policy.allow); });
        policy.read_strings("deny",
                            [&](const std::string& text) { return parse_policy_entry(text, node.exit_policy.deny); });
    });
}

void read_discovery(JsonObject& object, DiscoveryConfig& discovery) {
    RedisUrl url;
    object.read_bool("enabled", discovery.enabled);
    object.read_text("address", url, parse_redis_url);
    object.read_text("topic", discovery.topic, parse_topic);
    object.read_duration("timeout", discovery.timeout, kIntervalMin, minutes(10));
    read_login(object, discovery.user, discovery.pass);
    discovery.address = url.address;
    if (!url.pass.empty() && !(discovery.user.empty() && discovery.pass.empty()))
        object.report("address", "a password here and in discovery.pass: write it in one of the two");
    if (!discovery.user.empty() && discovery.pass.empty())
        object.report("pass", "missing, discovery.user is set: set the password, or remove the user");
    if (!url.pass.empty()) {
        discovery.user = std::move(url.user);
        discovery.pass = std::move(url.pass);
    }
}

void read_metrics(JsonObject& object, MetricsConfig& metrics) {
    object.read_text("listen", metrics.listen,
                     [](std::string_view text) { return parse_loopback_listen(text, kMetricsPort); });
}

void read_log(JsonObject& object, LogConfig& log) {
    object.read_text("level", log.level, one_of("level", "debug, info, warn or error", parse_log_level));
    object.read_text("format", log.format, one_of("format", "text or json", parse_log_format));
}

void read_cores(JsonObject& object, const Json::Value& value, Cores& cores) {
    if (value.isString()) return object.read_text("cores", cores, parse_cores);
    if (!value.isArray())
        return object.report("cores",
                             "expected \"auto\", a list like \"0,2-3\" or [0, 2, 3], found " + describe(value));
    std::vector<uint32_t> list;
    for (const Json::Value& core : value) {
        if (!core.isUInt() || core.type() == Json::realValue)
            return object.report("cores[" + std::to_string(list.size()) + "]",
                                 "expected the number of a core, found " + describe(core));
        list.push_back(core.asUInt());
    }
    auto made = make_cores(std::move(list));
    if (!made) return object.report("cores", made.error().message);
    cores = std::move(*made);
}

void read_data_plane(JsonObject& object, const Json::Value& value, DataPlaneConfig& data_plane) {
    if (object.has("cores")) read_cores(object, value["cores"], data_plane.cores);
    object.read_count("max_streams", data_plane.max_streams, 1, 1U << 22);
    object.read_bool("busy_poll", data_plane.busy_poll);
    std::vector<crypto::Suite> suites;
    const bool chosen = object.read_strings("suites", [&](const std::string& text) -> Result<void> {
        const auto suite =
            one_of("suite", "aes-128-gcm, aes-256-gcm or chacha20-poly1305", crypto::suite_from_name)(text);
        if (!suite) return tl::unexpected(suite.error());
        if (std::find(suites.begin(), suites.end(), *suite) != suites.end())
            return fail("given twice: remove one of them");
        suites.push_back(*suite);
        return {};
    });
    if (chosen && suites.empty()) object.report("suites", "an empty list: name at least one suite, or remove the key");
    if (chosen) data_plane.suites = std::move(suites);
    object.read_duration("shutdown_grace", data_plane.shutdown_grace, Duration(0), hours(1));
}

void read_limits(JsonObject& object, LimitsConfig& limits) {
    object.read_count("sessions", limits.sessions, 1, 1U << 20);
    object.read_count("unauthenticated", limits.unauthenticated, 1, 1U << 16);
    object.read_count("buffer_memory_mb", limits.buffer_memory_mb, 0, 1U << 20);
    object.read_count("resolver_queries", limits.resolver_queries, 1, 1U << 16);
}

Config read_root(const Json::Value& value, const std::string& file, ConfigProblem& problem) {
    Config config;
    JsonObject root(value, "",
                    {"key", "identity", "server", "routing", "nodes", "node", "discovery", "metrics", "log",
                     "data_plane", "limits"},
                    problem);
    root.read_string("key", config.key);
    root.read_string("identity", config.identity);
    config.key = resolve_path(config.key, file);
    config.identity = resolve_path(config.identity, file);
    root.read_object("server", {"listen", "auth", "user", "pass"},
                     [&](JsonObject& object) { read_server(object, config.server); });
    root.read_object("routing", {"strategy", "health", "timeout", "punch"},
                     [&](JsonObject& object) { read_routing(object, config.routing); });
    read_nodes(root, config.nodes, problem);
    root.read_object("node",
                     {"listen", "region", "announce", "relay_mode", "relay_limits", "connect_relay",
                      "relays_from_discovery", "punch", "exit_policy"},
                     [&](JsonObject& object) { read_exit_node(object, config.node); });
    root.read_object("discovery", {"enabled", "address", "topic", "timeout", "user", "pass"},
                     [&](JsonObject& object) { read_discovery(object, config.discovery); });
    root.read_object("metrics", {"listen"}, [&](JsonObject& object) { read_metrics(object, config.metrics); });
    root.read_object("log", {"level", "format"}, [&](JsonObject& object) { read_log(object, config.log); });
    root.read_object("data_plane", {"cores", "max_streams", "busy_poll", "suites", "shutdown_grace"},
                     [&](JsonObject& object) { read_data_plane(object, value["data_plane"], config.data_plane); });
    root.read_object("limits", {"sessions", "unauthenticated", "buffer_memory_mb", "resolver_queries"},
                     [&](JsonObject& object) { read_limits(object, config.limits); });
    return config;
}

// jsoncpp reports "* Line 3, Column 5\n  What is wrong\n…": the first of them, as "3:5: What is wrong".
std::string first_syntax_error(const std::string& report) {
    unsigned line = 0;
    unsigned column = 0;
    const size_t start = report.find("\n  ");
    if (start == std::string::npos || std::sscanf(report.c_str(), "* Line %u, Column %u", &line, &column) != 2)
        return " this is not JSON";
    std::string what = report.substr(start + 3, report.find('\n', start + 3) - start - 3);
    if (what.ends_with('.')) what.pop_back();
    if (what.starts_with("Duplicate key")) what += ", remove one of the two";
    return std::to_string(line) + ":" + std::to_string(column) + ": " + printable(what);
}

Result<Json::Value> parse_json(std::string_view text, const std::string& file) {
    Json::CharReaderBuilder builder;
    Json::CharReaderBuilder::strictMode(&builder.settings_);
    builder["allowComments"] = true;
    builder["collectComments"] = false;
    builder["stackLimit"] = 32;
    const std::unique_ptr<Json::CharReader> reader(builder.newCharReader());
    Json::Value value;
    std::string report;
    try {
        if (reader->parse(text.data(), text.data() + text.size(), &value, &report)) return value;
    } catch (const std::exception&) {
        return fail(printable(file) + ": nested too deeply: no field of a configuration is that deep");
    }
    return fail(printable(file) + ":" + first_syntax_error(report));
}

}  // namespace

Result<Config> parse_config(std::string_view text, const std::string& file) {
    auto value = parse_json(text, file);
    if (!value) return tl::unexpected(value.error());
    ConfigProblem problem;
    Config config = read_root(*value, file, problem);
    if (problem.found()) return fail(printable(file) + ": " + problem.message());
    return config;
}

Result<Config> load_config(const std::string& file) {
    const auto failed = [&](int error) {
        return fail(printable(file) + ": cannot be read (" + std::generic_category().message(error) +
                    "): check the path given with --config, and that this user may read it");
    };
    const UniqueFd fd(::open(file.c_str(), O_RDONLY | O_CLOEXEC | O_NOCTTY));
    if (!fd) return failed(errno);
    std::string text;
    std::array<char, 16384> chunk{};
    for (;;) {
        const ssize_t count = ::read(fd.get(), chunk.data(), chunk.size());
        if (count < 0 && errno == EINTR) continue;
        if (count < 0) return failed(errno);
        if (count == 0) break;
        text.append(chunk.data(), static_cast<size_t>(count));
        if (text.size() > kConfigSizeMax)
            return fail(printable(file) + ": larger than 1 MiB: this is not a configuration file; check the path");
    }
    return parse_config(text, file);
}

}  // namespace qanat::controlplane
