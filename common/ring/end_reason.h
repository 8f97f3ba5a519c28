// EndReason: why a stream ended. Every stream ends with exactly one of these, and each is counted per engine.
//
// The numbers are part of the ring ABI (they index EngineCounters::ended); names are what operators see in status,
// logs and metrics. Append only.
#pragma once

#include <cstdint>
#include <string_view>

namespace qanat::ring {

enum class EndReason : uint8_t {
    none = 0,           // still running
    completed,          // both directions closed cleanly
    application_reset,  // the application (client), target (exit) or next node (relay) reset or failed its connection
    tunnel_reset,       // the tunnel connection ended without an authenticated close; relay: who asked reset it
    peer_abort,         // the far side sent an authenticated abort
    protocol_error,     // a record failed: forged, truncated or malformed
    socks_malformed,    // not SOCKS5, or a malformed request
    socks_refused,      // no acceptable method, wrong password, unsupported command or address type
    handshake_timeout,  // SOCKS handshake or first flight not finished by the deadline
    no_exit,            // no usable exit node, or every try failed
    exit_refused,       // the exit answered, but not with OK (policy, refused, unreachable, …)
    unauthenticated,    // never proved to hold a session key (scanner, replay, old session)
    policy_denied,      // exit: the policy forbids the target
    resolve_failed,     // exit: the name does not exist or could not be resolved
    connect_failed,     // exit: refused, unreachable
    connect_timeout,    // exit: no answer from the target in time
    at_capacity,        // refused by a cap: streams, buffers, descriptors
    key_exhausted,      // a direction reached its byte limit
    drained,            // cut at the end of the shutdown grace time
    parked_expired,     // a pre-connected tunnel connection that was never used
    relay_refused,      // relay: not one, or a member's limit
    next_unreachable,   // relay: no way to the next node, or it did not answer in time
    count_
};

inline constexpr uint32_t kEndReasonCount = static_cast<uint32_t>(EndReason::count_);

[[nodiscard]] constexpr std::string_view end_reason_name(EndReason reason) {
    switch (reason) {
        case EndReason::none:
            return "none";
        case EndReason::completed:
            return "completed";
        case EndReason::application_reset:
            return "application_reset";
        case EndReason::tunnel_reset:
            return "tunnel_reset";
        case EndReason::peer_abort:
            return "peer_abort";
        case EndReason::protocol_error:
            return "protocol_error";
        case EndReason::socks_malformed:
            return "socks_malformed";
        case EndReason::socks_refused:
            return "socks_refused";
        case EndReason::handshake_timeout:
            return "handshake_timeout";
        case EndReason::no_exit:
            return "no_exit";
        case EndReason::exit_refused:
            return "exit_refused";
        case EndReason::unauthenticated:
            return "unauthenticated";
        case EndReason::policy_denied:
            return "policy_denied";
        case EndReason::resolve_failed:
            return "resolve_failed";
        case EndReason::connect_failed:
            return "connect_failed";
        case EndReason::connect_timeout:
            return "connect_timeout";
        case EndReason::at_capacity:
            return "at_capacity";
        case EndReason::key_exhausted:
            return "key_exhausted";
        case EndReason::drained:
            return "drained";
        case EndReason::parked_expired:
            return "parked_expired";
        case EndReason::relay_refused:
            return "relay_refused";
        case EndReason::next_unreachable:
            return "next_unreachable";
        case EndReason::count_:
            break;
    }
    return "unknown";
}

}  // namespace qanat::ring
