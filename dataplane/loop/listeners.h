// Listeners: the listening sockets of one engine. Each shares its port with the other engines' through SO_REUSEPORT,
// so that the kernel spreads connections and no engine hands one to another.
//
// A listener on all addresses gets one on loopback beside it, because what is accepted there is treated differently
// (listen_on, dataplane/engine/socket.h).
#pragma once

#include <array>
#include <functional>

#include "common/ring/messages.h"
#include "dataplane/engine/socket.h"
#include "dataplane/stream/services.h"

namespace qanat::dataplane {

class Listeners {
public:
    static constexpr size_t kListenersMax = 64;
    using OnAccept = std::function<void(ring::ListenerKind kind, UniqueFd fd)>;

    Listeners(EngineServices& services, OnAccept on_accept);

    // Answers with a ListenResult event.
    void open(const ring::Listen& command);
    void on_completion(const Completion& completion);
    void on_timer(Timer& timer);
    // Connections that wait in the kernel's queue are refused by the kernel.
    void close_all();

private:
    struct Listener {
        Timer timer;  // armed while accepting pauses
        UniqueFd fd;
        uint32_t id = 0;
        ring::ListenerKind kind{};
        uint16_t generation = 0;
    };

    // The address with the port that it got, or an errno value.
    [[nodiscard]] Result<wire::Endpoint, int> open_at(const wire::Endpoint& address, PortCheck check,
                                                      const ring::Listen& command);
    void accept(Listener& listener);
    void shed(Listener& listener);
    [[nodiscard]] Token token(const Listener& listener) const;

    EngineServices& services_;
    OnAccept on_accept_;
    std::array<Listener, kListenersMax> listeners_;
    UniqueFd reserve_;  // given up for a moment to refuse connections when descriptors run out
};

}  // namespace qanat::dataplane
