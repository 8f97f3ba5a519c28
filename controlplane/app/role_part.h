// RolePart: what makes a Daemon a node or a client. All members are called from the loop.
#pragma once

#include <json/value.h>

#include <cstdint>

#include "common/ring/channel.h"

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
    // Adds the role's part to the status.
    virtual void report(Json::Value& status) const = 0;
};

}  // namespace qanat::controlplane
