// The commands of `qanat` as values: what the command line said, parsed and valid, nothing done yet.
#pragma once

#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "controlplane/config/config.h"

namespace qanat::controlplane {

// qanat keygen
struct KeygenCommand {
    std::string out;  // where to write the key; "-": standard output; empty: ./network.key
};

// qanat id
struct IdCommand {
    std::string identity;  // path; empty: the default places of a node's identity
};

// Flags that `node` and `client` share. What was not given is empty and leaves the file's value alone.
struct RoleFlags {
    std::string config;
    std::string key;
    std::string identity;
    std::string admin;
    std::optional<Cores> cores;
    std::optional<bool> busy_poll;
    std::optional<LogLevel> log_level;
    std::optional<LogFormat> log_format;
    std::optional<wire::Endpoint> metrics;
    bool discover = false;
    std::string discover_address;
    std::string discover_topic;
};

// qanat node
struct NodeCommand {
    RoleFlags flags;
    std::vector<wire::Endpoint> listen;
    bool relay_mode = false;
    std::vector<PeerAddress> connect_relay;
    std::optional<uint32_t> relays_from_discovery;
    std::optional<PolicyList> allow;
};

// qanat client
struct ClientCommand {
    RoleFlags flags;
    std::optional<wire::Endpoint> socks;
    std::vector<PeerAddress> nodes;
    std::optional<Strategy> strategy;
};

// What the commands that ask a running program share.
struct AdminFlags {
    bool json = false;
    std::string admin;  // path of the admin socket; empty: the defaults of both roles
};

// qanat status, qanat peers, qanat reload
struct StatusCommand : AdminFlags {};
struct PeersCommand : AdminFlags {};
struct ReloadCommand : AdminFlags {};

// qanat explain
struct ExplainCommand : AdminFlags {
    wire::Target target;
};

// qanat drain
struct DrainCommand : AdminFlags {
    std::optional<Duration> timeout;  // empty: data_plane.shutdown_grace of the program
};

// qanat version, qanat --version
struct VersionCommand {};

using Command = std::variant<KeygenCommand, IdCommand, NodeCommand, ClientCommand, StatusCommand, PeersCommand,
                             ExplainCommand, ReloadCommand, DrainCommand, VersionCommand>;

}  // namespace qanat::controlplane
