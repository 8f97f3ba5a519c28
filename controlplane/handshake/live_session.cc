#include "controlplane/handshake/live_session.h"

#include <algorithm>
#include <utility>

namespace qanat::controlplane {

LiveSession::LiveSession(OpenedSession opened)
    : id_(opened.session.secrets.session_id),
      engine_(opened.engine),
      connection_(opened.connection),
      path_(std::move(opened.path)),
      target_(std::move(opened.target)),
      address_(opened.address),
      channel_(std::move(opened.channel)),
      capabilities_(opened.session.node_capabilities) {}

bool LiveSession::goes_through(uint32_t relay) const {
    return std::find(path_.via.begin(), path_.via.end(), relay) != path_.via.end();
}

std::optional<size_t> LiveSession::rank_among(const std::vector<NodePath>& paths) const {
    for (size_t i = 0; i < paths.size(); ++i) {
        const NodePath& path = paths[i];
        if (path.via != path_.via || path.fixed != path_.fixed) continue;
        if (target_ ? std::find(path.addrs.begin(), path.addrs.end(), *target_) != path.addrs.end()
                    : path.addrs.empty())
            return i;
    }
    return std::nullopt;
}

bool LiveSession::send(CommandPort& port, const wire::ControlMessage& message) {
    const auto record = channel_->seal(message);
    if (!record || connection_ == 0) return false;
    ring::ControlSend send{};
    send.connection = connection_;
    send.size = static_cast<uint16_t>(record->size());
    send.authenticated = 1;
    std::copy(record->begin(), record->end(), send.bytes.begin());
    port.send(engine_, send);
    return true;
}

void LiveSession::close(CommandPort& port) const {
    if (connection_ == 0) return;
    ring::ControlClose message{};
    message.connection = connection_;
    message.how = ring::CloseHow::close;
    port.send(engine_, message);
}

}  // namespace qanat::controlplane
