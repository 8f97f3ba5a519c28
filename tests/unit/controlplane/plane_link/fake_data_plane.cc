// A data plane that moves no byte: it speaks the bootstrap and the rings, and misbehaves as FAKE_DATA_PLANE_MODE says.
//
//   (unset)   answers Listen (port 0 becomes 40000 + listener, port 1 is in use), Drain and Stop
//   exit      ends at once with status 3
//   refuse    answers the bootstrap with an error
//   silent    never answers the bootstrap
//   stubborn  ignores Stop
//   forge     sends an event that its role may not send
#include <poll.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <string>
#include <vector>

#include "common/ring/bootstrap.h"
#include "common/ring/channel.h"
#include "common/ring/region.h"

namespace {

using namespace qanat;

struct Engine {
    Engine(ring::EngineSection& section, ring::Role role, UniqueFd command_event, UniqueFd event_event)
        : commands(ring::Direction::command, section.commands, std::move(command_event), role),
          events(section.events, std::move(event_event)) {
        ring::add(section.counters.streams_total, 3);
    }
    ring::Receiver commands;
    ring::EventSender events;
};

int serve(const std::string& mode) {
    const auto bootstrap = ring::receive_bootstrap(ring::kBootstrapFd);
    if (!bootstrap) return 4;
    ring::BootstrapReply reply{};
    reply.magic = ring::kBootstrapMagic;
    reply.abi_version = ring::kAbiVersion;
    reply.engines = bootstrap->engines;
    if (mode == "refuse") {
        reply.error = ENOMEM;
        std::strncpy(reply.message.data(), "no memory for anything", reply.message.size() - 1);
        (void)ring::send_reply(ring::kBootstrapFd, reply, {}).has_value();
        ::pause();
    }
    if (mode == "silent") ::pause();

    auto region = ring::Region::create(bootstrap->engines);
    if (!region) return 5;
    reply.region_size = region->size();
    reply.memory_budget = 1 << 20;
    std::strncpy(reply.message.data(), "fake", reply.message.size() - 1);
    std::vector<std::unique_ptr<Engine>> engines;
    std::vector<int> fds{region->fd()};
    for (uint32_t i = 0; i < bootstrap->engines; ++i) {
        auto command_event = ring::make_eventfd();
        auto event_event = ring::make_eventfd();
        if (!command_event || !event_event) return 6;
        fds.push_back(command_event->get());
        fds.push_back(event_event->get());
        engines.push_back(std::make_unique<Engine>(region->engine(i), bootstrap->role, std::move(*command_event),
                                                   std::move(*event_event)));
    }
    if (!ring::send_reply(ring::kBootstrapFd, reply, fds)) return 7;

    if (mode == "forge") {
        ring::StreamEnded ended{};  // not before ListenResult
        ended.reason = 1;
        (void)engines[0]->events.send(ended);
        engines[0]->events.flush();
    }
    size_t stops = 0;
    while (true) {
        for (auto& engine : engines) {
            engine->commands.drain_eventfd();
            while (true) {
                const auto message = engine->commands.next();
                if (!message) return 8;
                if (!message->has_value()) break;
                if ((*message)->type() == ring::MessageType::listen) {
                    const auto& listen = (*message)->get<ring::Listen>();
                    ring::ListenResult result{};
                    result.listener = listen.listener;
                    result.address = listen.address;
                    if (listen.address.port == 0) result.address.port = static_cast<uint16_t>(40000 + listen.listener);
                    if (listen.address.port == 1) result.error = EADDRINUSE;
                    (void)engine->events.send(result);
                } else if ((*message)->type() == ring::MessageType::drain) {
                    (void)engine->events.send(ring::Drained{});
                } else if ((*message)->type() == ring::MessageType::stop && mode != "stubborn") {
                    if (++stops == engines.size()) return 0;
                }
            }
            engine->events.flush();
            (void)engine->commands.prepare_to_sleep();
        }
        std::vector<pollfd> waits;
        for (const auto& engine : engines) waits.push_back({engine->commands.event_fd(), POLLIN, 0});
        ::poll(waits.data(), waits.size(), 10);
        // The real one would go on without a control plane; a test must leave nothing behind.
        pollfd parent{ring::kBootstrapFd, POLLIN, 0};
        if (::poll(&parent, 1, 0) > 0) return 9;
    }
}

}  // namespace

int main() {
    const char* mode = std::getenv("FAKE_DATA_PLANE_MODE");
    if (mode != nullptr && std::string(mode) == "exit") return 3;
    return serve(mode == nullptr ? "" : mode);
}
