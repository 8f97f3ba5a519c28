#include "common/ring/permissions.h"

namespace qanat::ring {
namespace {

// States in which a role's ring may carry a message.
using States = uint8_t;
constexpr States bit(LinkState state) {
    return static_cast<States>(1U << static_cast<unsigned>(state));
}
constexpr States kNever = 0;
constexpr States kStarting = bit(LinkState::starting);
constexpr States kOpen = bit(LinkState::running) | bit(LinkState::draining);
constexpr States kUntilDrain = bit(LinkState::starting) | bit(LinkState::running);
constexpr States kAlways = kStarting | kOpen;

struct Permission {
    MessageType type;
    std::string_view name;
    States client;
    States node;
};

// clang-format off
constexpr Permission kTable[] = {
    // commands                                                     client       node
    {MessageType::listen, "listen",                                 kUntilDrain, kUntilDrain},
    {MessageType::install_session, "install_session",               kAlways,     kOpen},
    {MessageType::remove_session, "remove_session",                 kAlways,     kOpen},
    {MessageType::node_keys, "node_keys",                           kNever,      kStarting},
    {MessageType::plan_part, "plan_part",                           kAlways,     kNever},
    {MessageType::policy_part, "policy_part",                       kNever,      kAlways},
    {MessageType::users, "users",                                   kAlways,     kNever},
    {MessageType::resolve_result, "resolve_result",                 kNever,      kOpen},
    {MessageType::control_connect, "control_connect",               kAlways,     kOpen},
    {MessageType::control_send, "control_send",                     kAlways,     kOpen},
    {MessageType::control_close, "control_close",                   kAlways,     kOpen},
    {MessageType::drain, "drain",                                   kAlways,     kAlways},
    {MessageType::stop, "stop",                                     kAlways,     kAlways},
    {MessageType::settings, "settings",                             kAlways,     kAlways},
    {MessageType::offer, "offer",                                   kNever,      kOpen},
    {MessageType::relay_settings, "relay_settings",                 kNever,      kAlways},
    {MessageType::member_result, "member_result",                   kNever,      kOpen},
    {MessageType::punch, "punch",                                   kNever,      kOpen},
    {MessageType::punch_peer, "punch_peer",                         kAlways,     kOpen},
    // events
    {MessageType::listen_result, "listen_result",                   kAlways,     kAlways},
    {MessageType::control_accepted, "control_accepted",             kNever,      kOpen},
    {MessageType::control_opened, "control_opened",                 kAlways,     kOpen},
    {MessageType::control_data, "control_data",                     kAlways,     kOpen},
    {MessageType::control_closed, "control_closed",                 kAlways,     kOpen},
    {MessageType::resolve, "resolve",                               kNever,      kOpen},
    {MessageType::session_confirmed, "session_confirmed",           kNever,      kOpen},
    {MessageType::hop_failed, "hop_failed",                         kAlways,     kNever},
    {MessageType::stream_ended, "stream_ended",                     kOpen,       kOpen},
    {MessageType::drained, "drained",                               kAlways,     kAlways},
    {MessageType::node_stats, "node_stats",                         kAlways,     kNever},
    {MessageType::offer_state, "offer_state",                       kNever,      kOpen},
    {MessageType::member_wanted, "member_wanted",                   kNever,      kOpen},
    {MessageType::punch_observed, "punch_observed",                 kAlways,     kOpen},
};
// clang-format on

const Permission* find(MessageType type) {
    for (const Permission& permission : kTable)
        if (permission.type == type) return &permission;
    return nullptr;
}

}  // namespace

bool permitted(MessageType type, Direction direction, Role role, LinkState state) {
    const Permission* permission = find(type);
    if (permission == nullptr || direction_of(type) != direction) return false;
    switch (role) {
        case Role::client:
            return (permission->client & bit(state)) != 0;
        case Role::node:
            return (permission->node & bit(state)) != 0;
    }
    return false;
}

LinkState next_state(LinkState state, MessageType type) {
    if (type == MessageType::drain || type == MessageType::stop || type == MessageType::drained)
        return LinkState::draining;
    if (state == LinkState::starting && (type == MessageType::listen || type == MessageType::listen_result))
        return LinkState::running;
    return state;
}

std::string_view message_name(MessageType type) {
    const Permission* permission = find(type);
    return permission != nullptr ? permission->name : "unknown";
}

std::string_view link_state_name(LinkState state) {
    switch (state) {
        case LinkState::starting:
            return "starting";
        case LinkState::running:
            return "running";
        case LinkState::draining:
            return "draining";
    }
    return "unknown";
}

}  // namespace qanat::ring
