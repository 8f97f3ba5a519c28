// EngineLink: this plane's ends of the two rings of one engine, on the loop, with a bounded queue in front of the
// command ring for the moments in which it is full.
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <vector>

#include "common/ring/channel.h"
#include "common/ring/counters.h"
#include "controlplane/loop/fd_watch.h"
#include "controlplane/loop/timer.h"

namespace qanat::controlplane {

// Messages in both rings of one engine that have been published and not taken yet.
struct RingDepths {
    uint32_t commands = 0;
    uint32_t events = 0;
};

class EngineLink {
public:
    struct Handlers {
        std::function<void(const ring::MessageView&)> on_event;
        std::function<void(std::string reason)> on_fault;  // once; the link is dead then
        Callback on_progress;                              // queued commands have been written
    };

    // Commands that wait for room in the ring; an engine that does not take this many for kStuckTime is stuck.
    static constexpr size_t kQueueMax = 16384;
    static constexpr Duration kStuckTime = std::chrono::seconds(5);

    // `section` outlives the link.
    EngineLink(EventLoop& loop, ring::EngineSection& section, UniqueFd command_event, UniqueFd event_event,
               ring::Role role, Handlers handlers);
    ~EngineLink();
    EngineLink(const EngineLink&) = delete;
    EngineLink& operator=(const EngineLink&) = delete;

    void write(ring::MessageType type, Bytes message);

    // Commands given to write(), and commands the engine can see. Equal when nothing is queued.
    [[nodiscard]] uint64_t accepted() const { return accepted_; }
    [[nodiscard]] uint64_t written() const { return written_; }

    [[nodiscard]] const ring::EngineCounters& counters() const { return section_.counters; }
    [[nodiscard]] RingDepths depths() const;

private:
    // The ring takes messages by type; a queue holds them as bytes.
    class ByteSender : public ring::CommandSender {
    public:
        using ring::CommandSender::CommandSender;
        [[nodiscard]] bool send_bytes(ring::MessageType type, Bytes message) { return write(type, message); }
    };
    struct Queued {
        ring::MessageType type;
        std::vector<uint8_t> bytes;
    };

    void receive();
    void write_queued();
    void fail(std::string reason);
    static void wipe(Queued& queued);

    EventLoop& loop_;
    ring::EngineSection& section_;
    Handlers handlers_;
    ByteSender sender_;
    ring::Receiver receiver_;
    std::deque<Queued> queue_;
    uint64_t accepted_ = 0;
    uint64_t written_ = 0;
    Instant progress_at_{};
    bool failed_ = false;
    Timer receive_again_;
    Timer write_again_;
    FdWatch watch_;
};

}  // namespace qanat::controlplane
