#include "controlplane/config/addresses.h"

#include <algorithm>
#include <array>
#include <charconv>

#include "common/base/log.h"
#include "common/handshake/node_id.h"

namespace qanat::controlplane {
namespace {

struct HostPort {
    std::string host;
    bool bracketed = false;
    uint16_t port = 0;
};

std::string quoted(std::string_view text) {
    return "\"" + printable(text) + "\"";
}

enum class Ports : uint8_t {
    to_connect,  // 1 … 65535
    to_listen,   // 0 as well: any free one
};

std::optional<uint16_t> parse_port(std::string_view text, Ports range = Ports::to_connect) {
    uint16_t port = 0;
    const auto [end, status] = std::from_chars(text.data(), text.data() + text.size(), port);
    const bool whole = status == std::errc{} && end == text.data() + text.size();
    if (!whole || (text.size() > 1 && text[0] == '0')) return std::nullopt;
    if (port == 0 && range == Ports::to_connect) return std::nullopt;
    return port;
}

tl::unexpected<Error> bad_port(std::string_view text, std::string_view port) {
    return fail("the port " + quoted(port) + " of " + quoted(text) +
                " is out of range: write a number from 1 to 65535");
}

// Splits at the last colon outside brackets; a host may be empty, a missing port is `default_port`.
Result<HostPort> split_host_port(std::string_view text, uint16_t default_port, Ports range = Ports::to_connect) {
    HostPort parts;
    std::string_view rest;
    if (text.starts_with('[')) {
        const size_t close = text.find(']');
        if (close == std::string_view::npos)
            return fail(quoted(text) + " has a \"[\" without a \"]\": write IPv6 addresses like [2001:db8::1]:4000");
        parts.host = text.substr(1, close - 1);
        parts.bracketed = true;
        rest = text.substr(close + 1);
        if (!rest.empty() && rest[0] != ':')
            return fail(quoted(text) + " has something between \"]\" and the port: write it like [2001:db8::1]:4000");
    } else {
        const size_t colon = text.find(':');
        if (colon != std::string_view::npos && text.find(':', colon + 1) != std::string_view::npos)
            return fail(quoted(text) + " has several colons: put IPv6 addresses in brackets, like [2001:db8::1]:4000");
        parts.host = text.substr(0, colon);
        rest = colon == std::string_view::npos ? std::string_view() : text.substr(colon);
    }
    parts.port = default_port;
    if (!rest.empty()) {
        const auto port = parse_port(rest.substr(1), range);
        if (!port) return bad_port(text, rest.substr(1));
        parts.port = *port;
    }
    return parts;
}

// RFC 1123 host names, with the underscore that real names contain; a dot at the end is allowed.
bool is_host_name(std::string_view name) {
    if (name.ends_with('.')) name.remove_suffix(1);
    if (name.empty() || name.size() > 253) return false;
    size_t label = 0;
    for (size_t i = 0; i < name.size(); ++i) {
        const char c = name[i];
        const bool word = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_';
        const bool hyphen_inside = c == '-' && label > 0 && i + 1 < name.size() && name[i + 1] != '.';
        if (c == '.' ? label == 0 : !word && !hyphen_inside) return false;
        label = c == '.' ? 0 : label + 1;
        if (label > 63) return false;
    }
    // Only digits and dots are a mistyped IPv4 address: no top-level domain is a number.
    return name.find_first_not_of("0123456789.") != std::string_view::npos;
}

// An IP address or a host name; never the unspecified address, which nobody can dial.
Result<wire::Target> make_target(std::string_view text, const HostPort& parts) {
    if (const auto ip = wire::IpAddress::parse(parts.host)) {
        if (parts.bracketed && parts.host.find(':') == std::string::npos)
            return fail(quoted(text) + ": brackets are for IPv6 addresses: write IPv4 like 1.2.3.4:4000");
        const auto significant = ip->significant();
        if (std::all_of(significant.begin(), significant.end(), [](uint8_t byte) { return byte == 0; }))
            return fail(quoted(text) + " is no address that can be dialled: write the address of the node");
        return wire::Target(wire::Endpoint{*ip, parts.port});
    }
    if (parts.bracketed)
        return fail(quoted(text) + " has no IPv6 address in its brackets: write it like [2001:db8::1]:4000");
    if (parts.host.empty()) return fail(quoted(text) + " has no host: write HOST:PORT");
    const auto target = wire::Target::from_name(parts.host, parts.port);
    if (!is_host_name(parts.host) || !target)
        return fail(quoted(text) + ": " + quoted(parts.host) +
                    " is neither an IP address nor a host name: write HOST:PORT");
    return *target;
}

// The parts of a multiaddr behind its first slash.
std::vector<std::string_view> split_multiaddr(std::string_view text) {
    std::vector<std::string_view> parts;
    for (size_t start = 1; start <= text.size();) {
        const size_t end = std::min(text.find('/', start), text.size());
        parts.push_back(text.substr(start, end - start));
        start = end + 1;
    }
    return parts;
}

Result<ParsedNodeAddress> parse_multiaddr(std::string_view text) {
    constexpr std::string_view kForm = ": write it like /ip4/1.2.3.4/tcp/4000/p2p/ID";
    const auto wrong = [&](std::string_view what) {
        return fail(quoted(text) + " " + std::string(what) + std::string(kForm));
    };
    const auto parts = split_multiaddr(text);
    for (const std::string_view part : parts)
        if (part == "p2p-circuit")
            return fail(quoted(text) + ": relays are not named in addresses: write them to relay, as ID@HOST:PORT");
    if (parts.size() != 4 && parts.size() != 6) return wrong("is not a multiaddr of a host, a TCP port and an id");
    if (parts[2] != "tcp") return wrong("does not use tcp, the only transport there is");
    if (parts.size() == 6 && parts[4] != "p2p") return wrong("has something else than /p2p/ID behind the port");

    const std::string_view kind = parts[0];
    ParsedNodeAddress parsed;
    const auto port = parse_port(parts[3]);
    if (!port) return bad_port(text, parts[3]);
    const auto ip = wire::IpAddress::parse(parts[1]);
    if (kind == "ip4" || kind == "ip6") {
        // The spelling counts, not the value: ::ffff:1.2.3.4 is written behind ip6 and becomes IPv4.
        const bool spelled_v6 = parts[1].find(':') != std::string_view::npos;
        if (!ip || spelled_v6 != (kind == "ip6"))
            return wrong("has no " + std::string(kind == "ip4" ? "IPv4" : "IPv6") + " address behind /" +
                         std::string(kind) + "/");
    } else if (kind == "dns" || kind == "dns4" || kind == "dns6") {
        if (ip) return wrong("has an address behind /" + std::string(kind) + "/, where a name belongs");
        parsed.address.family = kind == "dns4" ? NameFamily::v4 : kind == "dns6" ? NameFamily::v6 : NameFamily::any;
    } else {
        return wrong("begins with something else than ip4, ip6, dns, dns4 or dns6");
    }
    auto target = make_target(text, {std::string(parts[1]), ip && !ip->is_v4(), *port});
    if (!target) return tl::unexpected(target.error());
    parsed.address.target = *target;
    if (parts.size() == 6) {
        const auto id = parse_node_id(parts[5]);
        if (!id) return tl::unexpected(id.error());
        parsed.id = *id;
    }
    return parsed;
}

std::optional<std::string> decode_percent(std::string_view text) {
    std::string out;
    for (size_t i = 0; i < text.size(); ++i) {
        if (text[i] != '%') {
            out += text[i];
            continue;
        }
        if (i + 2 >= text.size()) return std::nullopt;
        uint8_t byte = 0;
        const auto [end, status] = std::from_chars(text.data() + i + 1, text.data() + i + 3, byte, 16);
        if (status != std::errc{} || end != text.data() + i + 3) return std::nullopt;
        out += static_cast<char>(byte);
        i += 2;
    }
    return out;
}

struct RedisScheme {
    std::string_view prefix;
    bool tls;
    bool unix_socket;
};

std::optional<RedisScheme> redis_scheme_of(std::string_view text) {
    for (const RedisScheme& scheme : {RedisScheme{"redis://", false, false}, RedisScheme{"rediss://", true, false},
                                      RedisScheme{"redis+unix://", false, true}, RedisScheme{"unix://", false, true}})
        if (text.starts_with(scheme.prefix)) return scheme;
    return std::nullopt;
}

// Never the text of a URL in an error: it may hold the password.
tl::unexpected<Error> wrong_url(std::string_view what) {
    return fail(std::string(what) + ": write it like redis://user:pass@localhost:6379/0");
}

tl::unexpected<Error> wrong_unix_url(std::string_view what) {
    return fail(std::string(what) + ": write it like redis+unix:///run/redis/redis.sock?db=0");
}

Result<void> read_login(std::string_view login, RedisUrl& url) {
    const size_t colon = login.find(':');
    if (colon == std::string_view::npos) return wrong_url("a user without a password in the Redis URL");
    const auto user = decode_percent(login.substr(0, colon));
    const auto pass = decode_percent(login.substr(colon + 1));
    if (!user || !pass) return wrong_url("a \"%\" without two hex digits in the Redis URL");
    if (pass->empty()) return wrong_url("an empty password in the Redis URL");
    url.user = *user;
    url.pass = *pass;
    return {};
}

// "" leaves the database alone.
bool read_database(std::string_view text, uint32_t& database) {
    if (text.empty()) return true;
    const auto [end, status] = std::from_chars(text.data(), text.data() + text.size(), database);
    return status == std::errc{} && end == text.data() + text.size() && database <= 65535;
}

// host[:port][/db]
Result<void> read_host_part(std::string_view rest, RedisAddress& address) {
    if (const size_t slash = rest.find('/'); slash != std::string_view::npos) {
        if (!read_database(rest.substr(slash + 1), address.database))
            return wrong_url("the database of the Redis URL is not a number from 0 to 65535");
        rest = rest.substr(0, slash);
    }
    const auto parts = split_host_port(rest, kRedisPort);
    if (!parts) return wrong_url("the host and the port of the Redis URL are malformed");
    const auto server = make_target(rest, *parts);
    if (!server) return wrong_url("the Redis URL has no valid host");
    address.server = *server;
    return {};
}

// /path[?db=N]
Result<void> read_unix_part(std::string_view rest, RedisAddress& address) {
    if (const size_t question = rest.find('?'); question != std::string_view::npos) {
        const std::string_view query = rest.substr(question + 1);
        if (!query.starts_with("db=")) return wrong_unix_url("the Redis URL has something else than db= behind its ?");
        if (!read_database(query.substr(3), address.database))
            return wrong_unix_url("the database of the Redis URL is not a number from 0 to 65535");
        rest = rest.substr(0, question);
    }
    if (!rest.starts_with('/')) return wrong_unix_url("the Redis URL has no absolute path of a Unix socket");
    const auto path = decode_percent(rest);
    if (!path) return wrong_unix_url("a \"%\" without two hex digits in the Redis URL");
    if (path->size() < 2 || path->size() > kUnixPathSizeMax || path->find('\0') != std::string::npos)
        return wrong_unix_url("the path of a Unix socket has 2 to 107 characters");
    address.unix_path = *path;
    return {};
}

}  // namespace

Result<wire::Endpoint> parse_listen(std::string_view text, uint16_t default_port) {
    if (text.empty()) return fail("an address is missing: write HOST:PORT, or :PORT for all addresses");
    const auto parts = split_host_port(text, default_port, Ports::to_listen);
    if (!parts) return tl::unexpected(parts.error());
    wire::Endpoint endpoint{{wire::IpAddress::Family::v6, {}}, parts->port};
    if (!parts->bracketed && (parts->host.empty() || parts->host == "*")) return endpoint;
    if (parts->host == "localhost") return wire::Endpoint{wire::IpAddress::v4(127, 0, 0, 1), parts->port};
    const auto ip = wire::IpAddress::parse(parts->host);
    if (!ip || parts->bracketed != (parts->host.find(':') != std::string::npos))
        return fail(quoted(text) + ": " + quoted(parts->host) +
                    " is not an IP address: listen on an address of this machine, or on :" +
                    std::to_string(parts->port) + " for all of them");
    endpoint.ip = *ip;
    return endpoint;
}

Result<wire::Endpoint> parse_loopback_listen(std::string_view text, uint16_t default_port) {
    auto endpoint = parse_listen(text, default_port);
    if (endpoint && !endpoint->ip.is_loopback())
        return fail(quoted(text) + " can be reached from other machines, and nothing here asks for a password: write " +
                    "127.0.0.1:" + std::to_string(endpoint->port) +
                    ", and let a proxy or a tunnel of your own reach it");
    return endpoint;
}

Result<wire::Target> parse_target(std::string_view text) {
    constexpr std::string_view kForm = ": write HOST:PORT, like example.org:443";
    if (text.empty()) return fail("the target is empty" + std::string(kForm));
    const auto parts = split_host_port(text, 0);
    if (!parts) return tl::unexpected(parts.error());
    if (parts->host.empty()) return fail(quoted(text) + " has no host" + std::string(kForm));
    if (parts->port == 0) return fail(quoted(text) + " has no port" + std::string(kForm));
    const auto ip = wire::IpAddress::parse(parts->host);
    if (parts->bracketed && (!ip || parts->host.find(':') == std::string::npos))
        return fail(quoted(text) + " has no IPv6 address in its brackets: write it like [2001:db8::1]:443");
    if (ip) return wire::Target(wire::Endpoint{*ip, parts->port});
    const auto target = wire::Target::from_name(parts->host, parts->port);
    if (!is_host_name(parts->host) || !target)
        return fail(quoted(text) + ": " + quoted(parts->host) + " is neither an IP address nor a host name" +
                    std::string(kForm));
    return *target;
}

Result<PublicKey> parse_node_id(std::string_view text) {
    const auto id = decode_node_id(text);
    // The text itself is not shown: it may be a secret in the wrong field.
    if (!id) return fail("not a node id: " + id.error().message() + "; 'qanat id' prints it on the node");
    return *id;
}

Result<ParsedNodeAddress> parse_node_address(std::string_view text) {
    if (text.empty()) return fail("an address is missing: write ID@HOST:PORT");
    if (text.starts_with('/')) return parse_multiaddr(text);
    ParsedNodeAddress parsed;
    std::string_view host = text;
    if (const size_t at = text.find('@'); at != std::string_view::npos) {
        const auto id = parse_node_id(text.substr(0, at));
        if (!id) return tl::unexpected(id.error());
        parsed.id = *id;
        host = text.substr(at + 1);
    }
    const auto parts = split_host_port(host, kTunnelPort);
    if (!parts) return tl::unexpected(parts.error());
    const auto target = make_target(host, *parts);
    if (!target) return tl::unexpected(target.error());
    parsed.address.target = *target;
    return parsed;
}

Result<PeerAddress> parse_peer_address(std::string_view text) {
    const auto parsed = parse_node_address(text);
    if (!parsed) return tl::unexpected(parsed.error());
    if (!parsed->id)
        return fail(quoted(text) +
                    " has no node id: write ID@HOST:PORT, with the id that 'qanat id' prints on the node");
    return PeerAddress{*parsed->id, parsed->address};
}

Result<void> parse_policy_entry(std::string_view text, PolicyList& list) {
    if (text == "private") {
        list.private_ranges = true;
        return {};
    }
    const auto block = wire::Cidr::parse(text);
    if (!block)
        return fail(quoted(text) + " is not a block of addresses: write it like 10.0.0.0/8, fc00::/7 or private");
    if (std::find(list.blocks.begin(), list.blocks.end(), *block) == list.blocks.end()) list.blocks.push_back(*block);
    return {};
}

Result<std::string> parse_topic(std::string_view text) {
    const bool blank = std::any_of(text.begin(), text.end(), [](char c) { return (c >= 0 && c <= ' ') || c == 0x7f; });
    if (text.empty() || text.size() > kTopicSizeMax || blank)
        return fail("not a topic: write 1 to 128 characters without spaces");
    return std::string(text);
}

Result<RedisUrl> parse_redis_url(std::string_view text) {
    const auto scheme = redis_scheme_of(text);
    if (!scheme) return wrong_url("not a Redis URL");
    std::string_view rest = text.substr(scheme->prefix.size());
    RedisUrl url;
    url.address.tls = scheme->tls;
    // A path may hold an "@"; a password may hold anything, so the last "@" before the path ends it.
    const size_t login_end = scheme->unix_socket ? rest.find('/') : rest.size();
    if (const size_t at = rest.substr(0, login_end).rfind('@'); at != std::string_view::npos) {
        if (const auto login = read_login(rest.substr(0, at), url); !login) return tl::unexpected(login.error());
        rest = rest.substr(at + 1);
    }
    const auto read = scheme->unix_socket ? read_unix_part(rest, url.address) : read_host_part(rest, url.address);
    if (!read) return tl::unexpected(read.error());
    return url;
}

std::string format_redis_address(const RedisAddress& address) {
    const std::string database = std::to_string(address.database);
    if (!address.unix_path.empty()) return "redis+unix://" + printable(address.unix_path) + "?db=" + database;
    return (address.tls ? "rediss://" : "redis://") + address.server.format() + "/" + database;
}

}  // namespace qanat::controlplane
