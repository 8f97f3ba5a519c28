// CommandPort: what the rest of the control plane sees of the data plane. Implemented by Supervisor; tests bring their
// own.
//
// Commands to one engine arrive in order; there is no order between engines, except by when_flushed(). While there is
// no data plane, commands vanish: whoever owns a piece of state sends it again when the next one is ready.
#pragma once

#include <cstdint>

#include "common/base/bytes.h"
#include "common/ring/messages.h"
#include "common/ring/permissions.h"
#include "common/wire/address.h"
#include "controlplane/loop/event_loop.h"

namespace qanat::controlplane {

class CommandPort {
public:
    virtual ~CommandPort() = default;

    // 0: there is no data plane now.
    [[nodiscard]] virtual uint32_t engines() const = 0;

    template <ring::Message M>
    requires(ring::direction_of(M::kType) == ring::Direction::command) void send(uint32_t engine, const M& message) {
        write(engine, M::kType, Bytes(static_cast<const uint8_t*>(static_cast<const void*>(&message)), sizeof(M)));
    }

    template <ring::Message M>
    requires(ring::direction_of(M::kType) == ring::Direction::command) void send_all(const M& message) {
        for (uint32_t engine = 0; engine < engines(); ++engine) send(engine, message);
    }

    // Calls back when all commands sent until now can be seen by their engines; at once, from inside this call, if
    // they can be seen already. Never, if the data plane ends before.
    virtual void when_flushed(Callback callback) = 0;

protected:
    virtual void write(uint32_t engine, ring::MessageType type, Bytes message) = 0;
};

// Addresses as they travel through the rings.
[[nodiscard]] ring::RingEndpoint to_ring(const wire::Endpoint& endpoint);
// IPv4-mapped addresses come out as IPv4.
[[nodiscard]] wire::Endpoint from_ring(const ring::RingEndpoint& endpoint);

}  // namespace qanat::controlplane
