#include "controlplane/handshake/installed_sessions.h"

#include <sodium.h>

#include <algorithm>
#include <cstring>

namespace qanat::controlplane {

void InstalledSessions::install(uint32_t node, const PublicKey& id, const handshake::ClientSession& session) {
    ring::InstallSession message{};
    message.session_id = session.secrets.session_id;
    message.node = node;
    message.window = session.window;
    message.side = ring::SessionSide::client;
    message.suite = static_cast<uint8_t>(session.secrets.suite);
    std::memcpy(message.data_secret.data(), session.secrets.data.bytes().data(), message.data_secret.size());
    std::memcpy(message.header_key.data(), session.header_key.bytes().data(), message.header_key.size());
    message.peer = id;
    port_.send_all(message);
    sodium_memzero(&message, sizeof message);
}

void InstalledSessions::remove(uint64_t session_id, bool node_lost) {
    ring::RemoveSession message{};
    message.session_id = session_id;
    message.node_lost = node_lost ? 1 : 0;
    port_.send_all(message);
}

void InstalledSessions::tick(Instant now) {
    std::erase_if(retired_, [&](const Retired& retired) {
        if (now < retired.remove_at) return false;
        remove(retired.session_id, false);
        return true;
    });
}

std::optional<Instant> InstalledSessions::deadline() const {
    std::optional<Instant> next;
    for (const Retired& retired : retired_) next = next ? std::min(*next, retired.remove_at) : retired.remove_at;
    return next;
}

}  // namespace qanat::controlplane
