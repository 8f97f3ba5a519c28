// Addresses as operators write them, in files and flags alike: HOST:PORT, ID@HOST:PORT, multiaddrs, CIDR blocks, Redis
// URLs. Pure. Every error says what is wrong with which text and what to write; the caller adds where it stood.
#pragma once

#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "common/base/result.h"
#include "controlplane/config/config.h"

namespace qanat::controlplane {

// "127.0.0.1:1080", "[::1]:1080", "localhost:1080" (127.0.0.1); ":4000", "*:4000" and "[::]:4000" are all addresses of
// both families. Without a port, `default_port`; port 0 picks a free one. Other names are errors: a listener needs an
// address of this machine.
[[nodiscard]] Result<wire::Endpoint> parse_listen(std::string_view text, uint16_t default_port);

// The same, but a loopback address only: for what has no password, and must not be reached from other machines.
[[nodiscard]] Result<wire::Endpoint> parse_loopback_listen(std::string_view text, uint16_t default_port);

// What a stream would be opened to: "example.org:443", "192.0.2.1:22", "[2001:db8::1]:80". Both parts must be there.
[[nodiscard]] Result<wire::Target> parse_target(std::string_view text);

// An address with or without the id of the node behind it.
struct ParsedNodeAddress {
    std::optional<PublicKey> id;
    NodeAddress address;
};

// "HOST:PORT", "ID@HOST:PORT", "/ip4/1.2.3.4/tcp/4000", "/dns/exit.example/tcp/4000/p2p/ID" (also ip6, dns4, dns6). The
// host is an address or a host name; without a port it is kTunnelPort (not in multiaddrs, which name it).
[[nodiscard]] Result<ParsedNodeAddress> parse_node_address(std::string_view text);

// The same where the id must be there: --node, --connect-relay, nodes[].relay.
[[nodiscard]] Result<PeerAddress> parse_peer_address(std::string_view text);

[[nodiscard]] Result<PublicKey> parse_node_id(std::string_view text);

// Adds one entry, "10.0.0.0/8", a bare address, or "private", to `list`.
[[nodiscard]] Result<void> parse_policy_entry(std::string_view text, PolicyList& list);

// The name of a network in Redis: 1 to 128 bytes, no spaces and no control characters.
[[nodiscard]] Result<std::string> parse_topic(std::string_view text);

// What a Redis URL says; user and pass are decoded, and empty if the URL has none.
// redis://[user:pass@]host[:port][/db], the same with rediss:// for TLS, and redis+unix:// or unix:// with
// [user:pass@]/path[?db=N] for a Unix socket.
struct RedisUrl {
    RedisAddress address;
    std::string user;
    std::string pass;
};
[[nodiscard]] Result<RedisUrl> parse_redis_url(std::string_view text);

// "rediss://redis.example:6379/2", "redis+unix:///run/redis.sock?db=2": for logs and status, never with a password.
[[nodiscard]] std::string format_redis_address(const RedisAddress& address);

}  // namespace qanat::controlplane
