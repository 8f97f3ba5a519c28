#include "dataplane/exit/dialer.h"

#include <algorithm>
#include <bit>
#include <cerrno>

#include "common/base/assert.h"

namespace qanat::dataplane {
namespace {

using wire::StreamStatus;

// How much an error tells about the target; a higher one hides the others.
int telling(StreamStatus status) {
    switch (status) {
        case StreamStatus::connection_refused:
            return 5;
        case StreamStatus::timed_out:
            return 4;
        case StreamStatus::host_unreachable:
            return 3;
        case StreamStatus::network_unreachable:
            return 2;
        case StreamStatus::at_capacity:
            return 1;
        default:
            return 0;
    }
}

}  // namespace

StreamStatus status_from_errno(int error_number) {
    switch (error_number) {
        case 0:
            return StreamStatus::ok;
        case ECONNREFUSED:
        case ECONNRESET:
            return StreamStatus::connection_refused;
        case ETIMEDOUT:
            return StreamStatus::timed_out;
        case EHOSTUNREACH:
        case EHOSTDOWN:
            return StreamStatus::host_unreachable;
        case ENETUNREACH:
        case ENETDOWN:
        case ENONET:
        case EAFNOSUPPORT:
        // For IPv6 the usual answer of a host without it. (A host out of ports says the same, but then it has opened
        // 28 000 connections to one and the same target.)
        case EADDRNOTAVAIL:
            return StreamStatus::network_unreachable;
        case EMFILE:
        case ENFILE:
        case ENOBUFS:
        case ENOMEM:
        case EAGAIN:
            return StreamStatus::at_capacity;
        default:
            return StreamStatus::general_failure;
    }
}

void Dialer::start(std::span<const wire::Endpoint> addresses, uint64_t now_ns) {
    const size_t count = std::min(addresses.size(), kAddressesMax);
    addresses = addresses.first(count);
    count_ = 0;
    // One cursor per family; the turn goes to the other family as long as it has any left.
    const auto next_of = [&](size_t from, bool v4) {
        while (from < count && addresses[from].ip.is_v4() != v4) ++from;
        return from;
    };
    bool turn_v4 = count > 0 && addresses[0].ip.is_v4();
    size_t v4 = next_of(0, true);
    size_t v6 = next_of(0, false);
    while (v4 < count || v6 < count) {
        const bool take_v4 = v6 == count || (turn_v4 && v4 < count);
        size_t& cursor = take_v4 ? v4 : v6;
        addresses_[count_++] = addresses[cursor];
        cursor = next_of(cursor + 1, take_v4);
        turn_v4 = !take_v4;
    }
    begun_ = 0;
    in_flight_ = 0;
    done_ = false;
    outcome_ = StreamStatus::general_failure;
    next_start_ns_ = now_ns;
    give_up_at_ns_ = connect_timeout_ns_ > kNever - now_ns ? kNever : now_ns + connect_timeout_ns_;
}

Dialer::Action Dialer::next(uint64_t now_ns) {
    if (done_) return {};
    if (now_ns >= give_up_at_ns_) {
        note(StreamStatus::timed_out);
        done_ = true;
        return {Action::give_up, 0, {}};
    }
    if (begun_ == count_ && in_flight_ == 0) {
        done_ = true;
        return {Action::give_up, 0, {}};
    }
    if (begun_ == count_ || !has_free_slot() || now_ns < next_start_ns_) return {};
    const auto slot = static_cast<size_t>(std::countr_one(in_flight_));
    in_flight_ = static_cast<uint8_t>(in_flight_ | 1U << slot);
    next_start_ns_ = now_ns + kStaggerNs;
    return {Action::connect, slot, addresses_[begun_++]};
}

void Dialer::on_failed(size_t attempt_slot, int error_number) {
    QANAT_ASSERT(attempt_slot < kAttemptsMax);
    if (done_ || !in_flight(attempt_slot)) return;
    in_flight_ = static_cast<uint8_t>(in_flight_ & ~(1U << attempt_slot));
    note(error_number == 0 ? StreamStatus::general_failure : status_from_errno(error_number));
    next_start_ns_ = 0;
}

uint64_t Dialer::next_deadline_ns() const {
    if (done_) return kNever;
    if (begun_ == count_) return in_flight_ == 0 ? 0 : give_up_at_ns_;
    return has_free_slot() ? std::min(next_start_ns_, give_up_at_ns_) : give_up_at_ns_;
}

size_t Dialer::in_flight_count() const {
    return static_cast<size_t>(std::popcount(in_flight_));
}

void Dialer::note(StreamStatus status) {
    if (telling(status) > telling(outcome_)) outcome_ = status;
}

}  // namespace qanat::dataplane
