// Dialer: when to connect to which address of a target, Happy Eyeballs (RFC 8305) without the sockets. One object per
// stream that is being connected; the owner makes the connects and reports what fails.
//
//     dialer.start(addresses, now);
//     on start, after every failure and at next_deadline_ns():
//         for (;;) switch (action = dialer.next(now); action.kind) {
//             connect: begin a connect to action.to in action.attempt_slot
//             give_up: cancel what is in flight, answer with outcome()
//             none:    wait
//         }
//     the first connect that succeeds wins; cancel the others and forget the dialer.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <span>

#include "common/wire/address.h"
#include "common/wire/stream_messages.h"

namespace qanat::dataplane {

// What an errno of connect(2) or socket(2) means to the client. Lack of descriptors, memory or local ports is
// at_capacity: another node may do better.
[[nodiscard]] wire::StreamStatus status_from_errno(int error_number);

class Dialer {
public:
    static constexpr size_t kAddressesMax = 16;
    static constexpr size_t kAttemptsMax = 4;                      // in flight at the same time
    static constexpr uint64_t kStaggerNs = 250'000'000;            // RFC 8305 section 5, Connection Attempt Delay
    static constexpr uint64_t kConnectTimeoutNs = 10'000'000'000;  // over all addresses
    static constexpr uint64_t kNever = std::numeric_limits<uint64_t>::max();

    explicit Dialer(uint64_t connect_timeout_ns = kConnectTimeoutNs) : connect_timeout_ns_(connect_timeout_ns) {}

    // Begins anew. Addresses beyond kAddressesMax are dropped. They are tried in their order, but families take turns
    // (RFC 8305 section 4), beginning with the first one's: a family that does not work costs one stagger, not many.
    void start(std::span<const wire::Endpoint> addresses, uint64_t now_ns);

    struct Action {
        enum class Kind : uint8_t { none, connect, give_up };
        using enum Kind;
        Kind kind = Kind::none;
        size_t attempt_slot = 0;  // of connect: 0 … kAttemptsMax − 1, not in flight before
        wire::Endpoint to;        // of connect
    };

    // What is to be done now; call it until it says none. give_up comes once: when every address has failed, or at the
    // deadline over all.
    [[nodiscard]] Action next(uint64_t now_ns);

    // The attempt has failed (also at once, in socket(2)). The next address is then due without waiting. Ignored for a
    // slot that is not in flight.
    void on_failed(size_t attempt_slot, int error_number);

    // When to call next() again at the latest, unless an attempt ends before; may lie in the past, kNever after
    // give_up.
    [[nodiscard]] uint64_t next_deadline_ns() const;

    // After give_up, the most telling of all errors: refused, then timed out, host unreachable, network unreachable, at
    // capacity, general failure.
    [[nodiscard]] wire::StreamStatus outcome() const { return outcome_; }

    [[nodiscard]] bool in_flight(size_t attempt_slot) const { return (in_flight_ >> attempt_slot & 1) != 0; }
    [[nodiscard]] size_t in_flight_count() const;

private:
    void note(wire::StreamStatus status);
    [[nodiscard]] bool has_free_slot() const { return in_flight_ != (1U << kAttemptsMax) - 1; }

    uint64_t connect_timeout_ns_;
    uint64_t give_up_at_ns_ = kNever;
    uint64_t next_start_ns_ = kNever;  // of the next address, if there is one and a slot is free
    std::array<wire::Endpoint, kAddressesMax> addresses_{};
    uint8_t count_ = 0;
    uint8_t begun_ = 0;      // addresses that have been tried
    uint8_t in_flight_ = 0;  // one bit per slot
    bool done_ = true;
    wire::StreamStatus outcome_ = wire::StreamStatus::general_failure;
};

}  // namespace qanat::dataplane
