#include "controlplane/config/paths.h"

#include <fcntl.h>
#include <pwd.h>
#include <unistd.h>

#include <cstdlib>

#include "common/base/log.h"
#include "controlplane/config/private_file.h"

namespace qanat::controlplane {
namespace {

std::string variable(const char* name) {
    const char* value = std::getenv(name);
    return value == nullptr ? std::string() : value;
}

std::string join(const std::string& directory, std::string_view name) {
    return directory + "/" + std::string(name);
}

// lstat-like: a link that leads nowhere is there too, and is reported by whoever opens it rather than passed over.
bool exists(const std::string& path) {
    return ::faccessat(AT_FDCWD, path.c_str(), F_OK, AT_SYMLINK_NOFOLLOW) == 0;
}

std::string key_name(Role role) {
    return std::string(name_of(role)) + ".key";
}

}  // namespace

Environment Environment::of_process() {
    Environment environment;
    environment.uid = ::geteuid();
    environment.home = variable("HOME");
    environment.xdg_config_home = variable("XDG_CONFIG_HOME");
    environment.xdg_runtime_dir = variable("XDG_RUNTIME_DIR");
    if (environment.home.empty() && environment.uid != 0) {
        const passwd* user = ::getpwuid(environment.uid);
        if (user != nullptr && user->pw_dir != nullptr) environment.home = user->pw_dir;
    }
    return environment;
}

std::optional<std::string> config_directory(const Environment& environment) {
    if (environment.uid == 0) return environment.system_config_directory;
    if (environment.xdg_config_home.starts_with('/')) return join(environment.xdg_config_home, "qanat");
    if (environment.home.starts_with('/')) return join(environment.home, ".config/qanat");
    return std::nullopt;
}

std::optional<std::string> find_config_file(Role role, const Environment& environment) {
    const auto directory = config_directory(environment);
    if (!directory) return std::nullopt;
    const std::string path = join(*directory, std::string(name_of(role)) + ".json");
    return exists(path) ? std::optional(path) : std::nullopt;
}

Result<std::string> find_network_key(const std::string& configured, const Environment& environment) {
    if (!configured.empty()) return configured;
    const std::string here = join(environment.working_directory, "network.key");
    if (exists(here)) return here;
    std::string places = printable(here);
    if (const auto directory = config_directory(environment)) {
        const std::string there = join(*directory, "network.key");
        if (exists(there)) return there;
        places += " and " + printable(there);
    }
    return fail("no network key, looked for " + places +
                ": make one with 'qanat keygen', copy the one of your network there, or name it with --key");
}

Result<std::string> find_identity(const std::string& configured, Role role, const Environment& environment) {
    if (!configured.empty()) return configured;
    const std::string here = join(environment.working_directory, key_name(role));
    if (exists(here)) return here;
    const auto directory = config_directory(environment);
    if (!directory) return fail("no place for the identity, HOME is not set: set it, or name a file with --identity");
    const std::string there = join(*directory, key_name(role));
    if (exists(there)) return there;
    if (auto made = make_private_directory(*directory); !made) return tl::unexpected(made.error());
    return there;
}

Result<std::string> admin_socket_path(const std::string& configured, Role role, const Environment& environment) {
    if (!configured.empty()) return configured;
    const std::string name = std::string(name_of(role)) + ".sock";
    if (environment.uid == 0) return join(environment.system_runtime_directory, name);
    if (environment.xdg_runtime_dir.starts_with('/')) return join(environment.xdg_runtime_dir, "qanat/" + name);
    return fail("no place for the admin socket, XDG_RUNTIME_DIR is not set: set it, or name a path with --admin");
}

}  // namespace qanat::controlplane
