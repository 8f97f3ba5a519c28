#include "controlplane/cli/command_line.h"

#include <CLI/CLI.hpp>
#include <algorithm>
#include <functional>
#include <map>
#include <memory>
#include <utility>

#include "common/base/log.h"
#include "common/base/text_distance.h"
#include "controlplane/cli/help.h"
#include "controlplane/config/addresses.h"
#include "controlplane/config/cores.h"

namespace qanat::controlplane {
namespace {

// Declares the flags of one command with CLI11, which only collects texts. What they mean is decided by the same
// parsers as for the configuration file, after CLI11 has done its part; the first that fails gives the error.
class Flags {
public:
    explicit Flags(CLI::App* app) : app_(app) {}

    // A flag with one value, at most once.
    template <class Take>
    void value(const std::string& name, const std::string& type, const std::string& description, Take take) {
        add(name, type, description, false, take);
    }

    // The same, any number of times.
    template <class Take>
    void values(const std::string& name, const std::string& type, const std::string& description, Take take) {
        add(name, type, description + "\n(may be given several times)", true, take);
    }

    void path(const std::string& name, const std::string& description, std::string& out) {
        value(name, "PATH", description, [&out](const std::string& text) -> Result<void> {
            if (text.empty()) return fail("the path is empty: name a file");
            out = text;
            return {};
        });
    }

    // The one word that stands without a flag; it must be there. `type` names it in errors.
    template <class Take>
    void word(const std::string& name, const std::string& type, const std::string& description, Take take) {
        auto texts = std::make_shared<std::vector<std::string>>();
        app_->add_option(name, *texts, description)
            ->type_name(type)
            ->type_size(1)
            ->expected(1)
            ->allow_extra_args(false);
        takers_.push_back([type, texts, take]() -> Result<void> {
            if (texts->empty()) return fail(type + " is missing: write it behind the command");
            if (Result<void> taken = take(texts->front()); !taken) return fail(type + ": " + taken.error().message);
            return {};
        });
    }

    void boolean(const std::string& name, const std::string& description, bool& out) {
        app_->add_flag(name, out, description)->disable_flag_override();
    }

    // Empty, or the error of the first flag whose value is wrong: "--listen: …".
    [[nodiscard]] Result<void> take_values() const {
        for (const auto& taker : takers_)
            if (auto taken = taker(); !taken) return taken;
        return {};
    }

private:
    template <class Take>
    void add(const std::string& name, const std::string& type, const std::string& description, bool several,
             Take take) {
        auto texts = std::make_shared<std::vector<std::string>>();
        // expected(1) without extra arguments: each occurrence takes exactly one value.
        app_->add_option(name, *texts, description)
            ->type_name(type)
            ->type_size(1)
            ->expected(1)
            ->allow_extra_args(false)
            ->multi_option_policy(CLI::MultiOptionPolicy::TakeAll);
        takers_.push_back([name, texts, several, take]() -> Result<void> {
            if (!several && texts->size() > 1)
                return fail(name + ": given " + std::to_string(texts->size()) + " times: give it once");
            for (const std::string& text : *texts) {
                // CLI11 takes the next word whatever it is.
                if (text.starts_with("--")) return fail(name + ": the value is missing: write one behind the flag");
                if (Result<void> taken = take(text); !taken) return fail(name + ": " + taken.error().message);
            }
            return {};
        });
    }

    CLI::App* app_;
    std::vector<std::function<Result<void>()>> takers_;
};

// Makes a taker out of a parser with a Result<T>: stores the value in `out`, or passes the error on.
template <class T, class Parse>
auto store(T& out, Parse parse) {
    return [&out, parse](const std::string& text) -> Result<void> {
        auto parsed = parse(text);
        if (!parsed) return tl::unexpected(parsed.error());
        out = std::move(*parsed);
        return {};
    };
}

template <class T, class Parse>
auto append(std::vector<T>& out, Parse parse) {
    return [&out, parse](const std::string& text) -> Result<void> {
        auto parsed = parse(text);
        if (!parsed) return tl::unexpected(parsed.error());
        if (std::find(out.begin(), out.end(), *parsed) == out.end()) out.push_back(std::move(*parsed));
        return {};
    };
}

template <class T, class Parse>
auto choose(std::optional<T>& out, std::string names, Parse parse) {
    return [&out, names, parse](const std::string& text) -> Result<void> {
        out = parse(text);
        if (!out) return fail("unknown value \"" + printable(text) + "\": use " + names);
        return {};
    };
}

void declare_role_flags(Flags& flags, RoleFlags& out) {
    flags.path("--config", "configuration file, JSON with comments", out.config);
    flags.path("--key", "network key file", out.key);
    flags.path("--identity", "identity file, created if it does not exist", out.identity);
    flags.value("--cores", "LIST", "CPUs with one engine each: auto, or a list like 0,2-3",
                store(out.cores, parse_cores));
    flags.path("--admin",
               "admin socket\n(default: /run/qanat/ROLE.sock for root, else $XDG_RUNTIME_DIR/qanat/ROLE.sock)",
               out.admin);
    flags.value("--log-level", "LEVEL", "debug, info, warn or error",
                choose(out.log_level, "debug, info, warn or error", parse_log_level));
    flags.value("--log-format", "FORMAT", "text, or json: one object per line",
                choose(out.log_format, "text or json", parse_log_format));
    flags.value("--metrics", "HOST:PORT", "serve metrics for Prometheus on this loopback address",
                store(out.metrics, [](std::string_view text) { return parse_loopback_listen(text, kMetricsPort); }));
    flags.boolean("--discover", "a node announces itself in Redis, a client finds nodes there", out.discover);
    flags.value("--discover-address", "URL",
                "redis://[user:pass@]host:port[/db], rediss://... for TLS, or redis+unix:///path[?db=N]\n(default: "
                "redis://localhost:6379; a password is better kept in the configuration file)",
                [&out](const std::string& text) -> Result<void> {
                    if (const auto url = parse_redis_url(text); !url) return tl::unexpected(url.error());
                    out.discover_address = text;
                    return {};
                });
    flags.value("--discover-topic", "TOPIC", "keeps networks in one Redis apart (default: qanat-nodes)",
                store(out.discover_topic, parse_topic));
}

void declare_admin_flags(Flags& flags, AdminFlags& out) {
    flags.boolean("--json", "print JSON, one object per line", out.json);
    flags.path("--admin", "admin socket (default: those of the node and the client of this user)", out.admin);
}

// All commands, declared once per parse.
struct CommandLine {
    CLI::App app{help::kProgram, "qanat"};
    KeygenCommand keygen;
    IdCommand id;
    NodeCommand node;
    ClientCommand client;
    StatusCommand status;
    PeersCommand peers;
    ExplainCommand explain;
    ReloadCommand reload;
    DrainCommand drain;
    bool node_busy_poll = false;
    bool client_busy_poll = false;
    std::vector<std::pair<CLI::App*, Flags>> flags;
    std::map<const CLI::App*, std::string> descriptions;

    CommandLine() {
        app.require_subcommand(1);
        app.footer(help::kProgramFooter);
        app.set_help_flag("-h,--help", "show this help");
        app.set_version_flag("--version", "", "print the version");
        app.get_formatter()->column_width(34);
        flags.reserve(10);
        declare_keygen(command("keygen", help::kKeygen, help::kKeygenFooter));
        declare_id(command("id", help::kId, help::kIdFooter));
        declare_node(command("node", help::kNode, help::kNodeFooter));
        declare_client(command("client", help::kClient, help::kClientFooter));
        declare_admin_flags(command("status", help::kStatus, help::kStatusFooter), status);
        declare_admin_flags(command("peers", help::kPeers, help::kPeersFooter), peers);
        declare_explain(command("explain", help::kExplain, help::kExplainFooter));
        declare_admin_flags(command("reload", help::kReload, help::kReloadFooter), reload);
        declare_drain(command("drain", help::kDrain, help::kDrainFooter));
        command("version", help::kVersion, "");
    }

    Flags& command(const char* name, const char* description, const char* footer) {
        const std::string_view text = description;
        CLI::App* sub = app.add_subcommand(name, std::string(text.substr(0, text.find('\n'))));
        sub->footer(footer);
        descriptions[sub] = description;
        return flags.emplace_back(sub, Flags(sub)).second;
    }

    // The list of commands shows the first line of each description, the help of one command all of it.
    [[nodiscard]] std::string help() {
        if (!app.get_subcommands().empty()) {
            CLI::App* sub = app.get_subcommands().front();
            sub->description(descriptions[sub]);
        }
        return app.help();
    }

    void declare_keygen(Flags& f) {
        f.path("--out", "where to write the key (default: ./network.key); - for standard output", keygen.out);
    }

    void declare_id(Flags& f) { f.path("--identity", "identity file, created if it does not exist", id.identity); }

    void declare_node(Flags& f) {
        f.values("--listen", "HOST:PORT",
                 "tunnel address to listen on (default: 0.0.0.0:4000); :4000 and [::]:4000 are all\naddresses of both "
                 "families",
                 append(node.listen, [](std::string_view text) { return parse_listen(text, kTunnelPort); }));
        f.values("--allow", "CIDR|private", "targets the exit may connect to although they are refused by default",
                 [this](const std::string& text) {
                     if (!node.allow) node.allow.emplace();
                     return parse_policy_entry(text, *node.allow);
                 });
        declare_role_flags(f, node.flags);
        f.boolean("--busy-poll", "engines spin instead of sleeping: lower latency, whole CPUs busy", node_busy_poll);
        f.boolean("--relay-mode", "carry streams for other nodes of the network, those behind NAT included",
                  node.relay_mode);
        f.values("--connect-relay", "ID@HOST:PORT", "be reachable through this relay, for a node behind NAT",
                 append(node.connect_relay, parse_peer_address));
        f.value("--relays-from-discovery", "COUNT", "be reachable through so many relays that announce themselves",
                [this](const std::string& text) -> Result<void> {
                    const bool digit = text.size() == 1 && text[0] >= '0' && text[0] <= '9';
                    const auto count = digit ? static_cast<uint32_t>(text[0] - '0') : UINT32_MAX;
                    if (count > kRelaysFromDiscoveryMax)
                        return fail("\"" + printable(text) + "\" is no number of relays: write 0 to " +
                                    std::to_string(kRelaysFromDiscoveryMax));
                    node.relays_from_discovery = count;
                    return {};
                });
    }

    void declare_client(Flags& f) {
        f.values("--node", "ID@HOST:PORT", "exit node to use", append(client.nodes, parse_peer_address));
        f.value("--socks", "HOST:PORT", "address of the SOCKS5 listener (default: 127.0.0.1:1080)",
                store(client.socks, [](std::string_view text) { return parse_listen(text, kSocksPort); }));
        f.value("--strategy", "NAME", "which node a stream takes: random, round-robin, fastest or least-loaded",
                choose(client.strategy, "random, round-robin, fastest or least-loaded", parse_strategy));
        declare_role_flags(f, client.flags);
        f.boolean("--busy-poll", "engines spin instead of sleeping: lower latency, whole CPUs busy", client_busy_poll);
    }

    void declare_explain(Flags& f) {
        f.word("TARGET", "HOST:PORT", "where the stream would go", store(explain.target, parse_target));
        declare_admin_flags(f, explain);
    }

    void declare_drain(Flags& f) {
        f.value("--timeout", "DURATION", "how long streams may finish (default: data_plane.shutdown_grace)",
                [this](const std::string& text) -> Result<void> {
                    const auto timeout = parse_duration(text);
                    if (!timeout) return tl::unexpected(timeout.error());
                    if (*timeout > kDrainTimeMax)
                        return fail("\"" + text + "\" is too long: write at most " + format_duration(kDrainTimeMax));
                    drain.timeout = *timeout;
                    return {};
                });
        declare_admin_flags(f, drain);
    }

    [[nodiscard]] const CLI::App* chosen() const {
        const auto parsed = app.get_subcommands();
        return parsed.empty() ? nullptr : parsed.front();
    }
};

CliExit usage_error(const CLI::App* command, std::string_view message) {
    const std::string name = command == nullptr ? "qanat" : "qanat " + command->get_name();
    return {kExitUsage, error_line(std::string(message) + " (see '" + name + " --help')")};
}

// An argument nobody asked for: a mistyped command, a mistyped flag, or a word too many.
std::string describe_extra(const CommandLine& line, const std::string& extra) {
    const CLI::App& app = line.chosen() == nullptr ? line.app : *line.chosen();
    std::vector<std::string> names;
    const bool is_flag = extra.size() > 1 && extra[0] == '-';
    if (is_flag)
        for (const CLI::Option* option : app.get_options()) {
            if (!option->get_positional()) names.push_back("--" + option->get_lnames().front());
        }
    else if (line.chosen() == nullptr)
        for (const CLI::App* sub : app.get_subcommands({})) names.push_back(sub->get_name());
    const std::vector<std::string_view> candidates(names.begin(), names.end());
    const std::string word = extra.substr(0, is_flag ? extra.find('=') : std::string::npos);
    const std::string what = is_flag                    ? "unknown flag"
                             : line.chosen() == nullptr ? "unknown command"
                                                        : "unexpected argument";
    return what + " \"" + printable(word.substr(0, 80)) + "\"" + did_you_mean(word, candidates);
}

// CLI11 says "--listen: 1 required HOST:PORT missing" and "busy-poll was given a disallowed flag override".
std::string describe_mismatch(const std::string& what) {
    const size_t override_at = what.find(" was given a disallowed");
    if (override_at != std::string::npos)
        return "--" + what.substr(0, override_at) + ": takes no value: write it alone";
    return what.substr(0, what.find(':')) + ": the value is missing: write one behind the flag";
}

CliExit explain(const CommandLine& line, const CLI::ParseError& error) {
    // Flags before the command make CLI11 miss the command first; the flag is what should be reported.
    auto extras = line.app.remaining(true);
    std::erase(extras, "--");
    if (!extras.empty()) return usage_error(line.chosen(), describe_extra(line, extras.front()));
    if (line.chosen() == nullptr && dynamic_cast<const CLI::RequiredError*>(&error) != nullptr)
        return usage_error(
            nullptr, "no command: use keygen, id, node, client, status, peers, explain, reload, drain or version");
    if (dynamic_cast<const CLI::ArgumentMismatch*>(&error) != nullptr)
        return usage_error(line.chosen(), describe_mismatch(error.what()));
    return usage_error(line.chosen(), error.what());
}

Command take_command(CommandLine& line, const std::string& name) {
    if (line.node_busy_poll) line.node.flags.busy_poll = true;
    if (line.client_busy_poll) line.client.flags.busy_poll = true;
    if (name == "keygen") return std::move(line.keygen);
    if (name == "id") return std::move(line.id);
    if (name == "node") return std::move(line.node);
    if (name == "client") return std::move(line.client);
    if (name == "status") return std::move(line.status);
    if (name == "peers") return std::move(line.peers);
    if (name == "explain") return std::move(line.explain);
    if (name == "reload") return std::move(line.reload);
    if (name == "drain") return std::move(line.drain);
    return VersionCommand{};
}

}  // namespace

// What messages quote is escaped where they are made; this is the last gate, which must not escape twice: it leaves
// backslashes alone.
std::string error_line(std::string_view message) {
    std::string line = "qanat: ";
    for (const char c : message) line += c >= 0x20 && c < 0x7f ? std::string(1, c) : printable({&c, 1});
    return line + "\n";
}

std::variant<Command, CliExit> parse_command_line(const std::vector<std::string>& arguments) {
    CommandLine line;
    try {
        // CLI11 takes its arguments from the back.
        line.app.parse(std::vector<std::string>(arguments.rbegin(), arguments.rend()));
    } catch (const CLI::CallForHelp&) {
        return CliExit{kExitOk, line.help()};
    } catch (const CLI::CallForVersion&) {
        return Command(VersionCommand{});
    } catch (const CLI::ParseError& error) {
        return explain(line, error);
    }
    for (const auto& [sub, flags] : line.flags) {
        if (sub != line.chosen()) continue;
        if (const auto taken = flags.take_values(); !taken) return usage_error(sub, taken.error().message);
    }
    return take_command(line, line.chosen()->get_name());
}

}  // namespace qanat::controlplane
