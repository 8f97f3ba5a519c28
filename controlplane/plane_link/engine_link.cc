#include "controlplane/plane_link/engine_link.h"

#include <sodium.h>

#include <algorithm>
#include <utility>

#include "common/ring/codec.h"

namespace qanat::controlplane {
namespace {

// One turn of the loop takes this many events of one engine, so that a busy engine starves neither the others nor the
// timers.
constexpr int kEventsPerTurn = 256;
constexpr Duration kWriteRetry = std::chrono::milliseconds(1);

// For people: the positions are the other plane's word, and may move while they are read.
uint32_t depth_of(const ring::RingSection& ring) {
    const uint64_t head = ring.head.value.load(std::memory_order_relaxed);
    const uint64_t tail = ring.tail.value.load(std::memory_order_relaxed);
    return tail < head ? 0 : static_cast<uint32_t>(std::min<uint64_t>(tail - head, ring::kSlotsPerRing));
}

}  // namespace

EngineLink::EngineLink(EventLoop& loop, ring::EngineSection& section, UniqueFd command_event, UniqueFd event_event,
                       ring::Role role, Handlers handlers)
    : loop_(loop),
      section_(section),
      handlers_(std::move(handlers)),
      sender_(section.commands, std::move(command_event)),
      receiver_(ring::Direction::event, section.events, std::move(event_event), role),
      receive_again_(loop, [this] { receive(); }),
      write_again_(loop, [this] { write_queued(); }),
      watch_(loop, receiver_.event_fd(), {.readable = true}, [this](Readiness) { receive(); }) {
    // The engine rings only for a sleeper; the first look puts us to sleep.
    receive_again_.start(Duration(0));
}

EngineLink::~EngineLink() {
    for (Queued& queued : queue_) wipe(queued);
}

RingDepths EngineLink::depths() const {
    return {depth_of(section_.commands), depth_of(section_.events)};
}

void EngineLink::write(ring::MessageType type, Bytes message) {
    if (failed_) return;
    ++accepted_;
    if (queue_.empty() && sender_.send_bytes(type, message)) {
        ++written_;
        sender_.flush();
        return;
    }
    if (sender_.broken()) return fail("the command ring is broken");
    if (queue_.size() >= kQueueMax) return fail("the engine takes no commands");
    if (queue_.empty()) {
        progress_at_ = EventLoop::now();
        write_again_.start(kWriteRetry);
    }
    queue_.push_back({type, std::vector<uint8_t>(message.begin(), message.end())});
}

void EngineLink::write_queued() {
    bool progress = false;
    while (!queue_.empty() && sender_.send_bytes(queue_.front().type, queue_.front().bytes)) {
        wipe(queue_.front());
        queue_.pop_front();
        ++written_;
        progress = true;
    }
    sender_.flush();
    if (sender_.broken()) return fail("the command ring is broken");
    const Instant now = EventLoop::now();
    if (progress) progress_at_ = now;
    if (!queue_.empty()) {
        if (now - progress_at_ > kStuckTime) return fail("the engine takes no commands");
        write_again_.start(kWriteRetry);
    }
    if (progress) handlers_.on_progress();
}

void EngineLink::receive() {
    if (failed_) return;
    receiver_.drain_eventfd();
    for (int i = 0; i < kEventsPerTurn; ++i) {
        const auto message = receiver_.next();
        if (!message) return fail(ring::describe(message.error()));
        if (!message->has_value()) {
            if (receiver_.prepare_to_sleep()) return;
            continue;
        }
        handlers_.on_event(**message);
        // The handler may have caused a fault of this link.
        if (failed_) return;
    }
    receive_again_.start(Duration(0));
}

void EngineLink::fail(std::string reason) {
    if (std::exchange(failed_, true)) return;
    write_again_.cancel();
    receive_again_.cancel();
    watch_.set_interest({});
    // Deferred: the owner destroys this object, and we are inside one of its members.
    loop_.defer([on_fault = handlers_.on_fault, reason = std::move(reason)] { on_fault(reason); });
}

void EngineLink::wipe(Queued& queued) {
    if (ring::carries_secrets(queued.type)) sodium_memzero(queued.bytes.data(), queued.bytes.size());
}

}  // namespace qanat::controlplane
