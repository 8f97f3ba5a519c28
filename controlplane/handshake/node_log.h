// NodeLog: the log lines about one node of a client. What goes on and on is said once, until it is different: the same
// error every few seconds would hide everything else.
#pragma once

#include <chrono>
#include <optional>
#include <string>

#include "common/base/log.h"
#include "common/crypto/suite.h"
#include "controlplane/handshake/live_session.h"
#include "controlplane/handshake/route.h"
#include "controlplane/routing/node_spec.h"
#include "controlplane/sessions/ejection.h"

namespace qanat::controlplane {

class NodeLog {
public:
    // Both outlive it; the node's spec may change.
    NodeLog(const NodeSpec& spec, const RelayView& relays) : spec_(spec), relays_(relays) {}

    enum class Opened : uint8_t {
        first,    // there was no session before
        moved,    // there was one, over another path or to another address
        renewed,  // there was the same one
    };
    void opened(Opened how, const LiveSession& session, crypto::Suite suite, std::chrono::seconds lifetime);
    void lost(const LiveSession& session, const std::string& reason);
    void unreachable(const std::string& reason);

    // A direct connection was made, or tried in vain. nullptr: there is no session any more.
    void punched(bool made, const LiveSession* session);
    void ejection(const Ejection& ejection, Instant now);

private:
    [[nodiscard]] std::string id() const;
    // One that a member of the network has named, perhaps made up, is none of the operator's business.
    void line(LogLevel level, std::string_view message, LogFields fields) const;

    const NodeSpec& spec_;
    const RelayView& relays_;
    std::string last_error_;
    std::optional<bool> last_punched_;
};

}  // namespace qanat::controlplane
