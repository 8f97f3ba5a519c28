// InstallSession messages for the tests of this folder.
#pragma once

#include <cstdint>

#include "common/ring/messages.h"

namespace qanat::dataplane {

inline ring::InstallSession install_session(uint64_t id, uint32_t node = 0,
                                            ring::SessionSide side = ring::SessionSide::client) {
    ring::InstallSession install{};
    install.session_id = id;
    install.node = node;
    install.window = 65536;
    install.side = side;
    install.suite = 3;
    install.data_secret.fill(static_cast<uint8_t>(id));
    install.header_key.fill(static_cast<uint8_t>(id + 1));
    install.peer.fill(static_cast<uint8_t>(id + 2));
    return install;
}

}  // namespace qanat::dataplane
