#include "dataplane/tunnel/shared_session.h"

#include "common/crypto/sha256.h"
#include "common/ring/codec.h"

namespace qanat::dataplane {
namespace {

// A client keeps no window of its own, but the smallest costs less than a special case.
uint32_t window_of(const ring::InstallSession& install) {
    return install.side == ring::SessionSide::node ? install.window : 64;
}

}  // namespace

bool SharedSession::valid(const ring::InstallSession& install) {
    const bool side_ok = install.side == ring::SessionSide::client || install.side == ring::SessionSide::node;
    const uint32_t window = window_of(install);
    const bool window_ok = window >= 64 && window % 64 == 0 && window <= ring::kSessionWindowMax;
    return install.session_id != 0 && side_ok && window_ok && crypto::suite_from_id(install.suite).has_value();
}

SharedSession::SharedSession(const ring::InstallSession& install)
    : id(install.session_id),
      side(install.side),
      suite(crypto::suite_from_id(install.suite).value_or(crypto::Suite::chacha20_poly1305)),
      node(install.node),
      data_secret(std::span<const uint8_t, 32>(install.data_secret)),
      header_key(std::span<const uint8_t, 32>(install.header_key)),
      peer(install.peer),
      window_storage(wire::ReplayWindow::words_for(window_of(install))),
      window(window_storage, window_of(install)),
      confirmed(install.side == ring::SessionSide::client) {}

bool SharedSession::matches(const ring::InstallSession& install) const {
    return id == install.session_id && side == install.side && static_cast<uint8_t>(suite) == install.suite &&
           node == install.node && peer == install.peer && window.window() == window_of(install) &&
           crypto::equal_constant_time(data_secret.bytes(), install.data_secret) &&
           crypto::equal_constant_time(header_key.bytes(), install.header_key);
}

}  // namespace qanat::dataplane
