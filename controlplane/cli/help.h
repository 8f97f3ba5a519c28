// What `qanat --help` and `qanat COMMAND --help` say around the list of flags.
#pragma once

namespace qanat::controlplane::help {

inline constexpr const char* kProgram =
    "Qanat, a private exit-node network: a local SOCKS5 proxy carries every stream, encrypted, to an exit node.";
inline constexpr const char* kProgramFooter =
    "First steps:\n"
    "  qanat keygen                            make the network key, copy it to every machine of the network\n"
    "  qanat node                              on the exit node; 'qanat id' there prints its id\n"
    "  qanat client --node ID@HOST:4000        on your machine\n"
    "  curl --socks5-hostname 127.0.0.1:1080 https://example.org\n"
    "\n"
    "Exit status: 0 ok, 1 failure, 2 wrong usage. 'qanat COMMAND --help' explains one command.";

inline constexpr const char* kKeygen =
    "Make a new network key: the secret that all nodes and clients of one network share.\n"
    "Writes three text lines with mode 0600, never over an existing file, and prints the path and the key's\n"
    "fingerprint. The fingerprint is no secret: it tells whether two machines have the same key.";
inline constexpr const char* kKeygenFooter =
    "Examples:\n"
    "  qanat keygen                            writes ./network.key\n"
    "  qanat keygen --out /etc/qanat/network.key\n"
    "  qanat keygen --out - | ssh exit 'umask 077; cat > network.key'";

inline constexpr const char* kId =
    "Print the id of a node: what clients write in front of the @ in ID@HOST:PORT.\n"
    "The id is the public half of the identity file, which is created on first use. Nothing else is printed.";
inline constexpr const char* kIdFooter =
    "Examples:\n"
    "  qanat id                                ./node.key, else node.key in the configuration directory\n"
    "  qanat id --identity client.key          the id of a client on this machine";

inline constexpr const char* kNode =
    "Run an exit node: accept tunnels from clients that hold the network key, and open connections for them.\n"
    "Loopback, link-local, private and the node's own addresses are refused as targets unless --allow names them.\n"
    "A flag beats the configuration file; a list given by flags replaces the file's list.";
inline constexpr const char* kNodeFooter =
    "Files, when no flag and no configuration names them:\n"
    "  configuration   node.json in the configuration directory, if it is there\n"
    "  network key     ./network.key, then network.key in the configuration directory\n"
    "  identity        ./node.key, then node.key in the configuration directory, where it is made on first use\n"
    "The configuration directory is /etc/qanat for root, else $XDG_CONFIG_HOME/qanat or ~/.config/qanat.\n"
    "\n"
    "Examples:\n"
    "  qanat node                              listen on all IPv4 addresses, port 4000\n"
    "  qanat node --listen :4000               the same, IPv6 as well\n"
    "  qanat node --listen 203.0.113.50:443 --listen '[2001:db8::1]:443'\n"
    "  qanat node --allow 10.20.0.0/16         let clients reach this private network\n"
    "  qanat node --cores 2-5 --busy-poll      four engines, on a machine that does nothing else";

inline constexpr const char* kClient =
    "Run a client: offer SOCKS5 on this machine and carry every stream to an exit node.\n"
    "Host names are resolved by the exit node, never here. Nodes come from --node, the file or discovery.\n"
    "A flag beats the configuration file; nodes given by flags replace the file's nodes.";
inline constexpr const char* kClientFooter =
    "Nodes are written ID@HOST:PORT (IPv6 in brackets, port 4000 if left out) or as multiaddrs,\n"
    "/ip4/1.2.3.4/tcp/4000/p2p/ID (also ip6, dns, dns4, dns6). The same ID may be given with several addresses.\n"
    "\n"
    "Strategies: random; round-robin, one after the other; fastest, by measured latency; least-loaded.\n"
    "\n"
    "Files, when no flag and no configuration names them:\n"
    "  configuration   client.json in the configuration directory, if it is there\n"
    "  network key     ./network.key, then network.key in the configuration directory\n"
    "  identity        ./client.key, then client.key in the configuration directory, where it is made on first use\n"
    "The configuration directory is /etc/qanat for root, else $XDG_CONFIG_HOME/qanat or ~/.config/qanat.\n"
    "\n"
    "Examples:\n"
    "  qanat client --node ID@203.0.113.50:4000\n"
    "  qanat client --node ID1@exit1.example --node ID2@exit2.example --strategy fastest\n"
    "  qanat client --config client.json --socks 127.0.0.1:9050";

inline constexpr const char* kStatus =
    "Show what the node or client on this machine is doing: sessions, streams, nodes and their health.\n"
    "Asks the running program through its admin socket.";
inline constexpr const char* kStatusFooter =
    "Examples:\n"
    "  qanat status\n"
    "  qanat status --json\n"
    "  qanat status --admin /run/qanat/node.sock";

inline constexpr const char* kPeers =
    "List everybody the node or client on this machine deals with: state, latency, streams and bytes.\n"
    "A client shows its nodes, a node the members that it relays for and its own relays.";
inline constexpr const char* kPeersFooter =
    "Examples:\n"
    "  qanat peers\n"
    "  qanat peers --json";

inline constexpr const char* kExplain =
    "Show which node a stream to HOST:PORT would take, and why: every candidate and what its exit policy says.\n"
    "Opens no stream: no packet goes to HOST.";
inline constexpr const char* kExplainFooter =
    "Examples:\n"
    "  qanat explain example.org:443\n"
    "  qanat explain '[2001:db8::1]:22' --json";

inline constexpr const char* kReload =
    "Read the configuration again and apply what can be applied; running streams are not touched.\n"
    "Prints what was applied and what needs a restart. A configuration with a mistake is refused as a whole.";
inline constexpr const char* kReloadFooter =
    "Examples:\n"
    "  qanat reload\n"
    "  qanat reload --admin /run/qanat/node.sock";

inline constexpr const char* kDrain =
    "End the node or client without cutting streams: nothing new is accepted, running streams may finish.\n"
    "Prints how many are left until the program has ended. Exit status 1 when some were cut at the deadline.";
inline constexpr const char* kDrainFooter =
    "Examples:\n"
    "  qanat drain\n"
    "  qanat drain --timeout 10m --admin /run/qanat/node.sock";

inline constexpr const char* kVersion = "Print the version of the program.";

}  // namespace qanat::controlplane::help
