// Where files are when nobody says where. In this order: the working directory (keys only), then the configuration
// directory: /etc/qanat for root, $XDG_CONFIG_HOME/qanat or ~/.config/qanat for everybody else.
#pragma once

#include <sys/types.h>

#include <optional>
#include <string>

#include "common/base/result.h"
#include "controlplane/config/config.h"

namespace qanat::controlplane {

// What the surroundings of the process say; an argument, so that a test can be anybody anywhere.
struct Environment {
    uid_t uid = 0;                        // effective
    std::string working_directory = ".";  // in front of relative default names
    std::string home;                     // empty: unknown
    std::string xdg_config_home;          // empty: unset. Relative ones count as unset (XDG Base Directory 0.8)
    std::string xdg_runtime_dir;          // likewise
    std::string system_config_directory = "/etc/qanat";  // for root
    std::string system_runtime_directory = "/run/qanat";

    [[nodiscard]] static Environment of_process();
};

// nullopt if there is no place to look: not root, and neither HOME nor XDG_CONFIG_HOME is known.
[[nodiscard]] std::optional<std::string> config_directory(const Environment& environment);

// node.json or client.json in the configuration directory, if there is one. Never ./node.json: a program must not
// change its behaviour because of the directory it was started in.
[[nodiscard]] std::optional<std::string> find_config_file(Role role, const Environment& environment);

// `configured` if it is not empty, else the first network.key that exists. The error lists where it was looked for.
[[nodiscard]] Result<std::string> find_network_key(const std::string& configured, const Environment& environment);

// `configured` if it is not empty, else the first node.key or client.key that exists, else its path in the
// configuration directory, which is made (mode 0700) if need be. For load_or_create_identity().
[[nodiscard]] Result<std::string> find_identity(const std::string& configured, Role role,
                                                const Environment& environment);

// `configured` if it is not empty, else /run/qanat/ROLE.sock for root and $XDG_RUNTIME_DIR/qanat/ROLE.sock otherwise.
// Makes nothing.
[[nodiscard]] Result<std::string> admin_socket_path(const std::string& configured, Role role,
                                                    const Environment& environment);

}  // namespace qanat::controlplane
