// Config: everything an operator can set, as plain values. Made by parse.h from a file, changed by the flags of the
// command line (controlplane/cli/settings.h), then only read. Every value in it has been validated: a Config that
// exists can be used without further questions, up to what checks.h asks about a whole role.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "common/base/duration.h"
#include "common/base/log.h"
#include "common/crypto/suite.h"
#include "common/handshake/key_pair.h"
#include "common/wire/address.h"

namespace qanat::controlplane {

inline constexpr uint16_t kTunnelPort = 4000;
inline constexpr uint16_t kSocksPort = 1080;
inline constexpr uint16_t kRedisPort = 6379;
inline constexpr uint16_t kMetricsPort = 9464;
inline constexpr Duration kDrainTimeMax = std::chrono::hours(24);  // of `qanat drain --timeout`
inline constexpr size_t kUnixPathSizeMax = 107;                    // sockaddr_un, less the zero at its end
inline constexpr size_t kTopicSizeMax = 128;
inline constexpr size_t kRegionSizeMax = 32;
inline constexpr size_t kViaRelaysMax = 3;  // of nodes[].via
inline constexpr size_t kAnnounceMax = 16;  // addresses of one node
inline constexpr uint32_t kRelaysFromDiscoveryMax = 8;

// The two roles of the program, each with its own default files: node.json, node.key, node.sock; client.json, ….
enum class Role : uint8_t { node, client };
[[nodiscard]] std::string_view name_of(Role role);  // "node", "client"

// Which node a new stream takes.
enum class Strategy : uint8_t { random, round_robin, fastest, least_loaded };
[[nodiscard]] std::string_view name_of(Strategy strategy);  // "round-robin", as it is written in the configuration
[[nodiscard]] std::optional<Strategy> parse_strategy(std::string_view name);

// What a host name may resolve to: /dns4/ and /dns6/ narrow it, everything else leaves it open.
enum class NameFamily : uint8_t { any, v4, v6 };

// Where a node can be reached: an address, or a name that is resolved when it is dialled.
struct NodeAddress {
    wire::Target target;
    NameFamily family = NameFamily::any;  // of a name; `any` for an address

    friend bool operator==(const NodeAddress&, const NodeAddress&) = default;
};

// A node and one address of it: what `ID@HOST:PORT` says.
struct PeerAddress {
    PublicKey id{};
    NodeAddress address;

    friend bool operator==(const PeerAddress&, const PeerAddress&) = default;
};

// server: the SOCKS5 listener of a client.
struct ServerConfig {
    wire::Endpoint listen{wire::IpAddress::v4(127, 0, 0, 1), kSocksPort};
    bool auth = false;  // true: user and pass are set, 1 … 255 bytes each (RFC 1929); false: both are empty
    std::string user;
    std::string pass;

    friend bool operator==(const ServerConfig&, const ServerConfig&) = default;
};

// routing: how a client chooses among its nodes.
struct RoutingConfig {
    Strategy strategy = Strategy::random;
    Duration health = std::chrono::seconds(30);   // between two active checks of one node; 100 ms … 24 h
    Duration timeout = std::chrono::seconds(10);  // for one attempt: connect, handshake or answer; 100 ms … 10 min
    bool punch = true;  // try direct connections through NATs to nodes that are reached over relays

    friend bool operator==(const RoutingConfig&, const RoutingConfig&) = default;
};

// nodes[]: one exit node a client may use.
struct NodeConfig {
    PublicKey id{};
    std::vector<NodeAddress> addrs;   // in the order to try; empty only behind a relay
    std::vector<PeerAddress> relays;  // relay: each of them holds a reservation of this node
    std::vector<PeerAddress> via;     // a path of relays, in order, that streams must take; then `relays` is empty

    friend bool operator==(const NodeConfig&, const NodeConfig&) = default;
};

// node.exit_policy: exceptions from what an exit refuses to dial by default. The entry "private" is kept as a flag:
// which ranges it stands for is the exit policy's knowledge (controlplane/policy). What is denied stays denied,
// whatever is allowed.
struct PolicyList {
    bool private_ranges = false;
    std::vector<wire::Cidr> blocks;

    friend bool operator==(const PolicyList&, const PolicyList&) = default;
};

struct ExitPolicyConfig {
    PolicyList allow;
    PolicyList deny;

    friend bool operator==(const ExitPolicyConfig&, const ExitPolicyConfig&) = default;
};

// node.relay_limits: what one member may use of a node with relay_mode. 0 = no limit of its own.
struct RelayLimitsConfig {
    uint32_t reservations = 1024;   // members that may keep connections ready here, in all; … 1048576
    uint32_t connections = 256;     // that one member keeps ready; … 65535
    uint32_t streams = 0;           // of one member at the same time; … 4194304
    uint64_t bytes_per_second = 0;  // of all streams of one member, both directions together; … 10^12

    friend bool operator==(const RelayLimitsConfig&, const RelayLimitsConfig&) = default;
};

// node: the tunnel listener and the exit of a node. `[::]` stands for all addresses of both families.
struct ExitNodeConfig {
    std::vector<wire::Endpoint> listen{{wire::IpAddress::v4(0, 0, 0, 0), kTunnelPort}};  // never empty, no doubles
    bool relay_mode = false;  // carry streams for other members
    RelayLimitsConfig relay_limits;
    std::vector<PeerAddress> connect_relay;  // relays through which this node can be reached
    uint32_t relays_from_discovery = 0;      // so many more, found in discovery; … kRelaysFromDiscoveryMax
    bool punch = true;                       // … and help clients to direct connections through NATs
    ExitPolicyConfig exit_policy;
    std::string region;                 // a tag for people and routing, [a-z0-9-], at most kRegionSizeMax; may be empty
    std::vector<NodeAddress> announce;  // where clients that discover this node reach it; empty: where it listens

    friend bool operator==(const ExitNodeConfig&, const ExitNodeConfig&) = default;

    // It keeps connections ready at relays.
    [[nodiscard]] bool behind_relays() const { return !connect_relay.empty() || relays_from_discovery > 0; }
};

// redis://[user:pass@]host:port[/db], rediss://… for TLS, redis+unix://[user:pass@]/path[?db=N]: without user and
// password, which are in DiscoveryConfig, wherever they came from.
struct RedisAddress {
    wire::Target server = *wire::Target::from_name("localhost", kRedisPort);  // unless there is a unix_path
    uint32_t database = 0;
    bool tls = false;
    std::string unix_path;  // absolute, at most kUnixPathSizeMax bytes; empty: `server`

    friend bool operator==(const RedisAddress&, const RedisAddress&) = default;
};

// discovery: nodes announce themselves in Redis, clients find them there.
struct DiscoveryConfig {
    bool enabled = false;
    RedisAddress address;
    std::string topic = "qanat-nodes";
    Duration timeout = std::chrono::seconds(10);  // 100 ms … 10 min
    std::string user;
    std::string pass;

    friend bool operator==(const DiscoveryConfig&, const DiscoveryConfig&) = default;
};

// metrics: Prometheus, off unless an address is set.
struct MetricsConfig {
    std::optional<wire::Endpoint> listen;  // loopback only

    friend bool operator==(const MetricsConfig&, const MetricsConfig&) = default;
};

struct LogConfig {
    LogLevel level = LogLevel::info;
    LogFormat format = LogFormat::text;

    friend bool operator==(const LogConfig&, const LogConfig&) = default;
};

// The CPUs to run one engine on each, ascending and without doubles. Empty: "auto", the data plane chooses.
struct Cores {
    std::vector<uint32_t> list;

    friend bool operator==(const Cores&, const Cores&) = default;
};

// data_plane: how the engines run. All of it takes effect at start only.
struct DataPlaneConfig {
    Cores cores;
    uint32_t max_streams = 65536;  // streams open at the same time, all engines together; 1 … 4194304
    bool busy_poll = false;        // spin instead of sleep: for machines that do nothing else
    std::vector<crypto::Suite> suites{
        crypto::Suite::aes_128_gcm, crypto::Suite::aes_256_gcm,
        crypto::Suite::chacha20_poly1305};               // allowed, in order of preference; never empty
    Duration shutdown_grace = std::chrono::seconds(10);  // how long streams may finish after SIGTERM; 0 … 1 h

    friend bool operator==(const DataPlaneConfig&, const DataPlaneConfig&) = default;
};

// limits: caps whose memory is reserved at start. Beyond each there is a named refusal, never growth.
struct LimitsConfig {
    uint32_t sessions = 4096;          // sessions a node keeps, one per client; 1 … 1048576
    uint32_t unauthenticated = 4096;   // connections that have proved nothing yet, in all; 1 … 65536
    uint32_t buffer_memory_mb = 0;     // MiB for stream buffers, all engines together; 0 = automatic; … 1048576
    uint32_t resolver_queries = 1024;  // names being resolved at the same time; 1 … 65536

    friend bool operator==(const LimitsConfig&, const LimitsConfig&) = default;
};

struct Config {
    std::string key;       // path of the network key; empty: the default places (paths.h)
    std::string identity;  // path of the identity; empty: the default places
    std::string admin;     // path of the admin socket, by flag only; empty: the default of the role
    ServerConfig server;
    RoutingConfig routing;
    std::vector<NodeConfig> nodes;  // ids are all different
    ExitNodeConfig node;
    DiscoveryConfig discovery;
    MetricsConfig metrics;
    LogConfig log;
    DataPlaneConfig data_plane;
    LimitsConfig limits;

    friend bool operator==(const Config&, const Config&) = default;
};

}  // namespace qanat::controlplane
