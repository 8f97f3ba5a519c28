// RolePart: what makes a Daemon a node or a client. All members are called from the loop.
#pragma once

#include <json/value.h>

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "common/ring/channel.h"
#include "common/wire/address.h"
#include "controlplane/config/config.h"
#include "controlplane/loop/event_loop.h"
#include "controlplane/metrics/metrics_page.h"

namespace qanat::controlplane {

class RolePart {
public:
    virtual ~RolePart() = default;

    // A data plane without any state is there, in the link state "starting": send it everything but listeners.
    virtual void send_state() = 0;
    // Every engine listens on every address. Again after each restart of the data plane.
    virtual void on_listening() = 0;
    virtual void on_event(uint32_t engine, const ring::MessageView& event) = 0;
    // The data plane ended, and all sessions, streams and connections with it.
    virtual void on_lost() = 0;
    // Shutdown has begun: say goodbye; Drain follows.
    virtual void on_draining() = 0;
    // The data plane has left. Calls `done` when goodbye has been said, not from inside, within about a second.
    virtual void finish(Callback done) = 0;
    // Adds the role's part to the status.
    virtual void report(Json::Value& status) const = 0;

    // Takes over what it can of a configuration that has been checked as a whole; running streams are not touched.
    // Returns the fields that differ and take effect at the next start only, by their names in the file.
    [[nodiscard]] virtual std::vector<std::string> reload(const Config& next) = 0;
    // Everyone this process deals with, for `qanat peers`.
    virtual void list_peers(Json::Value& peers) const = 0;
    // Why a stream to `target` would go where, for `qanat explain`. Answers once, at the latest after some seconds; no
    // packet goes to the target.
    virtual void explain(const wire::Target& target, std::function<void(Json::Value)> done) = 0;
    virtual void collect(MetricsPage& page) const = 0;
};

}  // namespace qanat::controlplane
