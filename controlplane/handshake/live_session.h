// LiveSession: a session that has been agreed with a node over one of its paths, and the control connection that
// carries its records: what a ClientAttempt leaves behind when it succeeds.
//
// Nothing blocks, and nothing happens by itself: bytes come from the owner, commands go to the port it names. The end
// of the object tells nobody; an owner that wants the connection closed calls close() before.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "controlplane/handshake/client_attempt.h"
#include "controlplane/handshake/control_channel.h"
#include "controlplane/plane_link/command_port.h"
#include "controlplane/routing/node_spec.h"

namespace qanat::controlplane {

class LiveSession {
public:
    explicit LiveSession(OpenedSession opened);

    [[nodiscard]] uint64_t id() const { return id_; }
    [[nodiscard]] const NodePath& path() const { return path_; }
    // Of the node itself; none: it was reached by a reservation.
    [[nodiscard]] const std::optional<wire::Endpoint>& address() const { return address_; }
    // Whether the node said so in the handshake.
    [[nodiscard]] bool node_can(uint32_t capability) const { return (capabilities_ & capability) != 0; }

    [[nodiscard]] bool goes_through(uint32_t relay) const;
    // The place of its path among these, which may have changed since; none: it is not one of them any more.
    [[nodiscard]] std::optional<size_t> rank_among(const std::vector<NodePath>& paths) const;

    // 0: it has ended.
    [[nodiscard]] uint64_t connection() const { return connection_; }
    void connection_ended() { connection_ = 0; }
    // What came on the control connection.
    [[nodiscard]] ControlChannel::Input feed(Bytes bytes) { return channel_->feed(bytes); }
    // False, and nothing is sent: the key is used up, or the connection has ended.
    [[nodiscard]] bool send(CommandPort& port, const wire::ControlMessage& message);
    // Closes the control connection, unless it has ended.
    void close(CommandPort& port) const;

private:
    uint64_t id_;
    uint32_t engine_;
    uint64_t connection_;
    NodePath path_;
    std::optional<NodeAddress> target_;  // of the path's addresses, the one that answered; none: a reservation
    std::optional<wire::Endpoint> address_;
    std::unique_ptr<ControlChannel> channel_;
    uint32_t capabilities_;
};

}  // namespace qanat::controlplane
