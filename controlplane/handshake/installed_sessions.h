// InstalledSessions: which of a client's sessions the engines have, as commands to all of them. A session that another
// one has replaced stays there for a while (it is retired), for streams that are just being opened with it.
//
// Time is an argument; nothing blocks. While there is no data plane the commands vanish, and forget() says that it has
// ended.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "common/handshake/session_client.h"
#include "controlplane/config/config.h"
#include "controlplane/plane_link/command_port.h"

namespace qanat::controlplane {

class InstalledSessions {
public:
    static constexpr Duration kRetiredTime = std::chrono::seconds(30);

    // The port outlives it.
    explicit InstalledSessions(CommandPort& port) : port_(port) {}

    // The keys of the session are copied into the rings and wiped from the stack.
    void install(uint32_t node, const PublicKey& id, const handshake::ClientSession& session);
    // At once. See ring::RemoveSession for what node_lost changes.
    void remove(uint64_t session_id, bool node_lost);
    // Removes it after kRetiredTime.
    void retire(uint64_t session_id, Instant now) { retired_.push_back({session_id, now + kRetiredTime}); }
    // The engines ended, and their sessions with them.
    void forget() { retired_.clear(); }

    // To be called at deadline(), or any time.
    void tick(Instant now);
    [[nodiscard]] std::optional<Instant> deadline() const;
    [[nodiscard]] size_t retired() const { return retired_.size(); }

private:
    struct Retired {
        uint64_t session_id = 0;
        Instant remove_at{};
    };

    CommandPort& port_;
    std::vector<Retired> retired_;
};

}  // namespace qanat::controlplane
