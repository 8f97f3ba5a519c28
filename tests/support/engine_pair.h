// EnginePair: a client engine and an exit engine in this process, each on its own thread, with the test in the place of
// both control planes: it speaks the rings, installs one session and routes every stream to the exit.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "common/crypto/suite.h"
#include "common/ring/region.h"
#include "dataplane/loop/engine.h"

namespace qanat::dataplane::testing {

// One engine with the test as its control plane.
class LoneEngine {
public:
    explicit LoneEngine(ring::Role role, ring::DataPlaneLimits limits, uint32_t chunks);
    // One of several of a process that relays: they share `registry` and what `relay` points to. Confined, with a
    // descriptor table of its own.
    LoneEngine(ring::DataPlaneLimits limits, uint32_t chunks, SessionRegistry& registry, const RelayRole& relay);
    ~LoneEngine();

    ring::CommandSender& commands() { return *commands_; }
    ring::EngineCounters& counters() { return region_->engine(0).counters; }
    // Sends a command at once.
    template <class M>
    void tell(const M& command) {
        while (!commands_->send(command)) std::this_thread::yield();
        commands_->flush();
    }
    // The next event of type M, within ten seconds; other events are dropped.
    template <class M>
    M expect() {
        while (true) {
            auto message = next_event();
            if (message && message->type() == M::kType) return message->get<M>();
        }
    }
    // Opens a listener on 127.0.0.1 and returns its port.
    uint16_t listen(ring::ListenerKind kind);
    // Cuts the lifeline: the engine believes that its control plane died.
    void cut_lifeline() { lifeline_far_.reset(); }
    // SIGTERM.
    void terminate() { terminate_.store(true); }
    void stop();

private:
    void start(ring::Role role, ring::DataPlaneLimits limits, uint32_t chunks, SessionRegistry& registry,
               const RelayRole& relay);
    std::optional<ring::MessageView> next_event();

    std::unique_ptr<ring::Region> region_;
    UniqueFd lifeline_near_;
    UniqueFd lifeline_far_;
    std::atomic<bool> terminate_{false};
    SessionRegistry registry_;
    std::unique_ptr<ring::CommandSender> commands_;
    std::unique_ptr<ring::Receiver> events_;
    std::thread thread_;
};

ring::DataPlaneLimits small_limits();
ring::RingEndpoint loopback(uint16_t port);

class EnginePair {
public:
    explicit EnginePair(crypto::Suite suite = crypto::Suite::aes_128_gcm, ring::DataPlaneLimits limits = small_limits(),
                        uint32_t chunks = 256);

    // Installs one more session on both sides; new streams use it.
    void install_session(uint64_t id);
    // Sends the client's streams to this port instead of the exit's.
    void route_to(uint16_t port);

    LoneEngine client;
    LoneEngine exit;
    uint16_t socks_port = 0;
    uint16_t tunnel_port = 0;

private:
    crypto::Suite suite_;
    uint32_t plan_version_ = 0;
};

}  // namespace qanat::dataplane::testing
