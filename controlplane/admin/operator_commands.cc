#include "controlplane/admin/operator_commands.h"

#include <functional>

#include "common/base/log.h"
#include "controlplane/admin/client.h"
#include "controlplane/admin/json_text.h"
#include "controlplane/admin/peers_table.h"
#include "controlplane/admin/socket_file.h"
#include "controlplane/admin/status_table.h"

namespace qanat::controlplane {
namespace {

using Render = std::function<std::string(const Json::Value&)>;

void print(const OperatorContext& context, const AdminClient::Line& line, const Render& render) {
    // Line by line as it happens, also into a pipe.
    context.out << (context.format == OutputFormat::json ? line.text + "\n" : render(line.value)) << std::flush;
}

// The sockets in the default directory that somebody listens on; those left behind by a crash are passed over.
Result<std::vector<std::string>> find_instances(const Environment& environment) {
    const auto directory = admin_directory(environment);
    if (!directory) return tl::unexpected(directory.error());
    std::vector<std::string> found;
    for (const std::string& socket : admin_sockets(environment))
        if (AdminClient::connect(socket)) found.push_back(socket);
    if (found.empty())
        return fail("no running node or client found in " + printable(*directory) +
                    ": start one, or name its socket with --admin");
    return found;
}

Result<std::string> find_one(const OperatorContext& context) {
    if (!context.path.empty()) return context.path;
    const auto found = find_instances(context.environment);
    if (!found) return tl::unexpected(found.error());
    if (found->size() == 1) return found->front();
    std::string names;
    for (const std::string& name : *found) names += (names.empty() ? "" : ", ") + printable(name);
    return fail("several programs are running: name the socket of one with --admin: " + names);
}

// One command to one instance or to all of them, one after the other.
Result<void> ask_each(const OperatorContext& context, const std::string& command, const Render& render) {
    std::vector<std::string> sockets{context.path};
    if (context.path.empty()) {
        auto found = find_instances(context.environment);
        if (!found) return tl::unexpected(found.error());
        sockets = std::move(*found);
    }
    for (const std::string& socket : sockets) {
        const auto line = ask_admin(socket, admin_request(command));
        if (!line) return tl::unexpected(line.error());
        if (&socket != &sockets.front() && context.format == OutputFormat::table) context.out << "\n";
        print(context, *line, render);
    }
    return {};
}

Result<void> ask_one(const OperatorContext& context, const Json::Value& request, const Render& render) {
    const auto path = find_one(context);
    if (!path) return tl::unexpected(path.error());
    const auto line = ask_admin(*path, request);
    if (!line) return tl::unexpected(line.error());
    print(context, *line, render);
    return {};
}

std::string streams_of(const Json::Value& count) {
    return text_of(count) + (number_of(count) == 1 ? " stream" : " streams");
}

std::string render_progress(const Json::Value& line) {
    if (!member(line, "cut").isNull()) return number_of(member(line, "cut")) == 0 ? "drained\n" : "";
    std::string text = "draining: " + streams_of(member(line, "streams")) + " left";
    if (member(line, "seconds_left").isUInt64())
        text += ", " + format_seconds(number_of(member(line, "seconds_left"))) + " to the deadline";
    return text + "\n";
}

}  // namespace

Result<void> run_status(const OperatorContext& context) {
    return ask_each(context, "status", render_status);
}

Result<void> run_peers(const OperatorContext& context) {
    return ask_each(context, "peers", render_peers);
}

Result<void> run_explain(const OperatorContext& context, const wire::Target& target) {
    Json::Value request = admin_request("explain");
    request["target"] = target.format();
    return ask_one(context, request, render_explanation);
}

Result<void> run_reload(const OperatorContext& context) {
    return ask_one(context, admin_request("reload"),
                   [](const Json::Value& answer) { return describe_reload(answer) + "\n"; });
}

Result<void> run_drain(const OperatorContext& context, std::optional<Duration> timeout) {
    const auto path = find_one(context);
    if (!path) return tl::unexpected(path.error());
    auto client = AdminClient::connect(*path);
    if (!client) return tl::unexpected(client.error());
    Json::Value request = admin_request("drain");
    if (timeout) request["timeout_ms"] = Json::Int64{timeout->count()};
    if (auto asked = client->ask(request); !asked) return asked;

    Json::Value last;
    for (bool first = true;; first = false) {
        const auto line = client->next_line();
        if (!line)
            return first ? tl::unexpected(line.error())
                         : Result<void>(fail("the program ended without saying what became of its streams"));
        const bool changed = member(line->value, "streams") != member(last, "streams");
        last = line->value;
        const bool done = !member(last, "cut").isNull();
        if (first || changed || done || context.format == OutputFormat::json) print(context, *line, render_progress);
        if (done) break;
    }
    client->wait_for_exit();
    if (const Json::Value& cut = member(last, "cut"); number_of(cut) != 0)
        return fail(streams_of(cut) + (number_of(cut) == 1 ? " was" : " were") +
                    " cut: give them more time with --timeout");
    return {};
}

std::string describe_reload(const Json::Value& answer) {
    const std::string applied = list_of(member(answer, "applied"));
    const std::string restart = list_of(member(answer, "needs_restart"));
    if (applied == "-" && restart == "-") return "reloaded: nothing has changed";
    if (restart == "-") return "reloaded: " + applied;
    return (applied == "-" ? "reloaded: nothing to apply" : "reloaded: " + applied) +
           "; these need a restart: " + restart;
}

}  // namespace qanat::controlplane
