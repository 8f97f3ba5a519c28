#include "controlplane/handshake/node_log.h"

#include "common/handshake/node_id.h"

namespace qanat::controlplane {
namespace {

std::string address_of(const LiveSession& session) {
    return session.address() ? session.address()->format() : "";
}

}  // namespace

void NodeLog::opened(Opened how, const LiveSession& session, crypto::Suite suite, std::chrono::seconds lifetime) {
    last_error_.clear();
    if (how == Opened::renewed) return log_debug("session renewed", {{"node", id()}, {"address", address_of(session)}});
    line(LogLevel::info, how == Opened::moved ? "node reached over another path" : "node connected",
         {{"node", id()},
          {"address", address_of(session)},
          {"path", describe_path(relays_, session.path().via)},
          {"suite", crypto::suite_name(suite)},
          {"lifetime_s", lifetime.count()}});
}

void NodeLog::lost(const LiveSession& session, const std::string& reason) {
    line(LogLevel::warn, "node lost",
         {{"node", id()},
          {"address", address_of(session)},
          {"path", describe_path(relays_, session.path().via)},
          {"reason", reason}});
}

void NodeLog::unreachable(const std::string& reason) {
    if (last_error_ == reason) return;
    last_error_ = reason;
    line(LogLevel::warn, "cannot reach node", {{"node", id()}, {"error", reason}});
}

void NodeLog::punched(bool made, const LiveSession* session) {
    // Each way only once in a row: most NATs do not change their mind.
    if (last_punched_ == made) return;
    last_punched_ = made;
    log_info(
        made ? "direct connections through NAT work" : "no direct connection through NAT: streams go over the relay",
        {{"node", id()}, {"path", session != nullptr ? describe_path(relays_, session->path().via) : std::string()}});
}

void NodeLog::ejection(const Ejection& ejection, Instant now) {
    switch (ejection.state()) {
        case Ejection::State::ejected:
            return log_warn("node left out: its streams fail",
                            {{"node", id()},
                             {"for_ms", std::chrono::duration_cast<Duration>(ejection.until() - now).count()},
                             {"times", ejection.times()}});
        case Ejection::State::trial:
            return log_debug("node on trial", {{"node", id()}});
        case Ejection::State::in:
            return log_info("node serves again", {{"node", id()}});
    }
}

std::string NodeLog::id() const {
    return encode_node_id(spec_.id);
}

void NodeLog::line(LogLevel level, std::string_view message, LogFields fields) const {
    const LogLevel actual = spec_.on_request ? LogLevel::debug : level;
    if (log_enabled(actual)) log_line(actual, message, {fields.begin(), fields.size()});
}

}  // namespace qanat::controlplane
