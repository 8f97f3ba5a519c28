// The typed ends of a ring, as both planes use them: Sender and Receiver. Each belongs to one thread, allocates nothing
// and never blocks.
//
//   control plane: CommandSender + Receiver(Direction::event)      per engine
//   engine:        EventSender   + Receiver(Direction::command)
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>

#include "common/base/assert.h"
#include "common/base/bytes.h"
#include "common/base/result.h"
#include "common/base/unique_fd.h"
#include "common/ring/codec.h"
#include "common/ring/permissions.h"
#include "common/ring/spsc_ring.h"

namespace qanat::ring {

// An eventfd for one direction: non-blocking, close-on-exec. The data plane makes two per engine.
[[nodiscard]] Result<UniqueFd> make_eventfd();

enum class LinkFault : uint8_t {
    broken_ring = 1,    // indices, sequence or size of a slot: see `ring`
    invalid_message,    // validate() refused it: see `codec`
    forbidden_message,  // not permitted in this direction, role or state
};

// Why a link ended. Nothing that comes after it can be trusted, so a Receiver that failed once fails for good.
struct LinkError {
    LinkFault fault;
    RingFault ring = RingFault::none;
    CodecError codec = CodecError::none;
    MessageType type{};  // of the offending message, 0 when none was read
    LinkState state{};
};

// One line for the log, for example "message install_session (2) is not permitted in state starting".
[[nodiscard]] std::string describe(const LinkError& error);

// A message that passed every check. Valid until the next call of Receiver::next().
class MessageView {
public:
    [[nodiscard]] MessageType type() const { return type_; }

    // The message itself. M must be the struct of type().
    template <Message M>
    [[nodiscard]] const M& get() const {
        QANAT_ASSERT(type_ == M::kType);
        return *static_cast<const M*>(static_cast<const void*>(payload_));
    }

private:
    friend class Receiver;
    MessageView(MessageType type, const uint8_t* payload) : type_(type), payload_(payload) {}

    MessageType type_;
    const uint8_t* payload_;
};

// The part of Sender that does not depend on the direction.
class SenderBase {
public:
    // Shows everything sent to the other plane and wakes it if it sleeps. Once per batch; cheap when nothing was sent.
    void flush();

    // Messages that send() takes from here on; 0 on a broken link.
    [[nodiscard]] uint32_t free_slots() { return producer_.free_slots(); }

    // The other plane published a position that it cannot have; send() returns false for good.
    [[nodiscard]] bool broken() const { return producer_.fault() != RingFault::none; }

    [[nodiscard]] int event_fd() const { return event_fd_.get(); }

protected:
    // `ring` must outlive the sender. `event_fd` is the eventfd that the other plane waits on.
    SenderBase(RingSection& ring, UniqueFd event_fd) : producer_(ring), event_fd_(std::move(event_fd)) {}
    [[nodiscard]] bool write(MessageType type, Bytes bytes);

private:
    SpscProducer producer_;
    UniqueFd event_fd_;
};

template <Direction D>
class Sender : public SenderBase {
public:
    Sender(RingSection& ring, UniqueFd event_fd) : SenderBase(ring, std::move(event_fd)) {}

    // Queues a copy of the message; the other plane sees it after flush(). False: the ring is full (flush, try again
    // later) or broken, and nothing was written. The message must pass validate(): one that does not is our own bug
    // and ends the process.
    template <Message M>
    requires(direction_of(M::kType) == D) [[nodiscard]] bool send(const M& message) {
        return write(M::kType, Bytes(static_cast<const uint8_t*>(static_cast<const void*>(&message)), sizeof(M)));
    }
};

using CommandSender = Sender<Direction::command>;
using EventSender = Sender<Direction::event>;

// Use it in this order, or a wake-up can be lost:
//
//   on event_fd() readable (or on every turn of a loop that polls): drain_eventfd();
//   take next() until it is empty, or as many as one turn may;
//   before waiting: prepare_to_sleep(); if it says false there is more: do not wait.
class Receiver {
public:
    // `ring` must outlive the receiver. `event_fd` is the eventfd that this plane waits on. A control plane that
    // attaches to a running data plane starts in the state that it finds.
    Receiver(Direction direction, RingSection& ring, UniqueFd event_fd, Role role,
             LinkState state = LinkState::starting);
    ~Receiver();
    Receiver(const Receiver&) = delete;
    Receiver& operator=(const Receiver&) = delete;
    Receiver(Receiver&&) = default;
    Receiver& operator=(Receiver&&) = default;

    // The next message, copied out of shared memory once, validated and permitted; nothing when the ring is empty. The
    // state of the link advances with it. After an error every call returns that error.
    [[nodiscard]] Result<std::optional<MessageView>, LinkError> next();

    // True: the ring is empty and the other plane will write event_fd() when that changes; wait for it. False: there is
    // something to read.
    [[nodiscard]] bool prepare_to_sleep() { return consumer_.prepare_to_sleep(); }

    // Awake for another reason: spares the other plane the write. Optional.
    void cancel_sleep() { consumer_.cancel_sleep(); }

    // Resets event_fd() to "not readable"; does nothing when it is that already. Before next(), never between
    // prepare_to_sleep() and waiting.
    void drain_eventfd();

    [[nodiscard]] int event_fd() const { return event_fd_.get(); }
    [[nodiscard]] LinkState state() const { return state_; }

private:
    tl::unexpected<LinkError> fail_link(LinkError error);

    SpscConsumer consumer_;
    UniqueFd event_fd_;
    Direction direction_;
    Role role_;
    LinkState state_;
    std::optional<LinkError> failed_;
    SlotCopy message_;
};

}  // namespace qanat::ring
