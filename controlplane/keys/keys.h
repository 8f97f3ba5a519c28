// The long-term secrets of this process, in memory: the network keys that are in force and the identity. They stay in
// the control plane; the data plane gets session secrets only.
#pragma once

#include <string>
#include <vector>

#include "common/crypto/psk.h"
#include "common/crypto/suite.h"
#include "common/handshake/key_pair.h"
#include "controlplane/config/config.h"
#include "controlplane/config/paths.h"

namespace qanat::controlplane {

struct Keys {
    // What the network keys stand for; the keys themselves are wiped after deriving. One in this version. A node
    // accepts all of them, a client calls with the first.
    std::vector<crypto::NetworkKeys> network;
    Identity identity;
    std::string identity_path;

    [[nodiscard]] std::string id() const;           // "…", 56 characters
    [[nodiscard]] std::string fingerprint() const;  // of the first network key, hex
};

// Reads both files where `config` or the default places say; the identity is made if there is none. The error names
// file and remedy.
[[nodiscard]] Result<Keys> load_keys(const Config& config, Role role, const Environment& environment);

// The capabilities of PROTOCOL.md section 3 that this machine has, and those of `suites` that it can run.
[[nodiscard]] uint32_t own_capabilities();
[[nodiscard]] std::vector<crypto::Suite> runnable_suites(const std::vector<crypto::Suite>& suites);

}  // namespace qanat::controlplane
