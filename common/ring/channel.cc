#include "common/ring/channel.h"

#include <sodium.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <cerrno>
#include <string>
#include <system_error>

namespace qanat::ring {
namespace {

// Slots are given back this often within a long batch, so that a full ring moves again before the batch ends.
constexpr uint32_t kReleaseBatch = 64;

std::string_view fault_name(RingFault fault) {
    switch (fault) {
        case RingFault::none:
            return "none";
        case RingFault::bad_index:
            return "a position it cannot have";
        case RingFault::bad_sequence:
            return "a slot that was not written for its position";
        case RingFault::bad_size:
            return "a slot larger than a slot";
    }
    return "unknown";
}

}  // namespace

Result<UniqueFd> make_eventfd() {
    UniqueFd fd(::eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC));
    if (!fd) return fail("eventfd: " + std::generic_category().message(errno));
    return fd;
}

std::string describe(const LinkError& error) {
    const auto message = [&error] {
        return "message " + std::string(message_name(error.type)) + " (" +
               std::to_string(static_cast<uint32_t>(error.type)) + ")";
    };
    switch (error.fault) {
        case LinkFault::broken_ring:
            return "broken ring: " + std::string(fault_name(error.ring));
        case LinkFault::invalid_message:
            return message() + " is invalid: " + std::string(codec_error_name(error.codec));
        case LinkFault::forbidden_message:
            return message() + " is not permitted in state " + std::string(link_state_name(error.state));
    }
    return "unknown";
}

bool SenderBase::write(MessageType type, Bytes bytes) {
    QANAT_ASSERT(validate(type, bytes) == CodecError::none);
    return producer_.try_write(type, bytes);
}

void SenderBase::flush() {
    if (!producer_.publish()) return;
    const uint64_t one = 1;
    // EAGAIN: the counter is at its top, so the descriptor is readable already. Nothing else can fail here.
    [[maybe_unused]] const auto written = ::write(event_fd_.get(), &one, sizeof one);
}

Receiver::Receiver(Direction direction, RingSection& ring, UniqueFd event_fd, Role role, LinkState state)
    : consumer_(ring), event_fd_(std::move(event_fd)), direction_(direction), role_(role), state_(state) {}

Receiver::~Receiver() {
    sodium_memzero(message_.payload.data(), message_.payload.size());
}

Result<std::optional<MessageView>, LinkError> Receiver::next() {
    if (failed_) return fail_with(*failed_);
    if (carries_secrets(MessageType{message_.type})) {
        sodium_memzero(message_.payload.data(), message_.payload.size());
        message_.type = 0;
    }
    if (!consumer_.read(message_)) {
        if (consumer_.fault() != RingFault::none)
            return fail_link({.fault = LinkFault::broken_ring, .ring = consumer_.fault(), .state = state_});
        consumer_.release();
        return std::nullopt;
    }
    if (consumer_.unreleased() >= kReleaseBatch) consumer_.release();

    const MessageType type{message_.type};
    if (const CodecError error = validate(type, message_.bytes()); error != CodecError::none)
        return fail_link({.fault = LinkFault::invalid_message, .codec = error, .type = type, .state = state_});
    if (!permitted(type, direction_, role_, state_))
        return fail_link({.fault = LinkFault::forbidden_message, .type = type, .state = state_});
    state_ = next_state(state_, type);
    return MessageView(type, message_.payload.data());
}

void Receiver::drain_eventfd() {
    uint64_t rings = 0;
    // EAGAIN: nobody rang. One read resets the whole counter.
    [[maybe_unused]] const auto size = ::read(event_fd_.get(), &rings, sizeof rings);
}

tl::unexpected<LinkError> Receiver::fail_link(LinkError error) {
    failed_ = error;
    return fail_with(error);
}

}  // namespace qanat::ring
