#include "controlplane/admin/socket_file.h"

#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <utility>

#include "common/base/log.h"
#include "controlplane/config/private_file.h"

namespace qanat::controlplane {
namespace {

std::string explain(const std::string& path, int error) {
    return "admin socket " + printable(path) + ": " + std::strerror(error) + ": name another place with --admin";
}

Result<sockaddr_un> address_of(const std::string& path) {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    if (path.size() >= sizeof address.sun_path) return fail(explain(path, ENAMETOOLONG));
    std::memcpy(address.sun_path, path.c_str(), path.size());
    return address;
}

const sockaddr* generic(const sockaddr_un& address) {
    return static_cast<const sockaddr*>(static_cast<const void*>(&address));
}

enum class Occupant { nobody, stale, alive, other_file };

Occupant find_occupant(const std::string& path, const sockaddr_un& address) {
    struct stat status {};
    if (::lstat(path.c_str(), &status) != 0) return Occupant::nobody;
    if (!S_ISSOCK(status.st_mode)) return Occupant::other_file;
    const UniqueFd probe(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
    if (::connect(probe.get(), generic(address), sizeof address) == 0) return Occupant::alive;
    // EAGAIN: its backlog is full. EACCES and the like: not ours to remove.
    return errno == ECONNREFUSED ? Occupant::stale : Occupant::alive;
}

Result<UniqueFd> bind_socket(const std::string& path, const sockaddr_un& address) {
    UniqueFd fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
    if (!fd) return fail(explain(path, errno));
    // The file must never exist with a wider mode, not even for a moment.
    const mode_t mask = ::umask(0177);
    const int result = ::bind(fd.get(), generic(address), sizeof address);
    const int error = errno;
    ::umask(mask);
    if (result != 0) return fail(explain(path, error));
    if (::listen(fd.get(), 16) != 0) return fail(explain(path, errno));
    return fd;
}

}  // namespace

Result<std::string> admin_directory(const Environment& environment) {
    if (environment.uid == 0) return environment.system_runtime_directory;
    if (environment.xdg_runtime_dir.starts_with('/')) return environment.xdg_runtime_dir + "/qanat";
    if (environment.home.starts_with('/')) return environment.home + "/.cache/qanat";
    return fail(
        "no place for the admin socket, neither XDG_RUNTIME_DIR nor HOME is set: set one, or name a path with --admin");
}

std::vector<std::string> admin_sockets(const Environment& environment) {
    std::vector<std::string> sockets;
    const auto directory = admin_directory(environment);
    if (!directory) return sockets;
    std::error_code error;
    for (std::filesystem::directory_iterator entry(*directory, error), end; !error && entry != end;
         entry.increment(error)) {
        std::error_code ignored;
        if (entry->path().extension() == ".sock" && entry->is_socket(ignored))
            sockets.push_back(entry->path().string());
    }
    std::sort(sockets.begin(), sockets.end());
    return sockets;
}

Result<SocketFile> SocketFile::open(const std::string& configured, Role role, const Environment& environment) {
    std::string path = configured;
    std::string directory;
    if (configured.empty()) {
        auto found = admin_directory(environment);
        if (!found) return tl::unexpected(found.error());
        directory = std::move(*found);
        if (auto made = make_private_directory(directory); !made) return tl::unexpected(made.error());
        path = directory + "/" + std::string(name_of(role)) + ".sock";
    }
    auto address = address_of(path);
    if (!address) return tl::unexpected(address.error());

    std::string warning;
    switch (find_occupant(path, *address)) {
        case Occupant::nobody:
            break;
        case Occupant::stale:
            ::unlink(path.c_str());
            break;
        case Occupant::other_file:
            return fail("admin socket " + printable(path) +
                        ": the file exists and is no socket: remove it, or name another place with --admin");
        case Occupant::alive:
            if (!configured.empty())
                return fail("admin socket " + printable(path) +
                            ": another program listens on it: stop that one, or name another place with --admin");
            const std::string taken = path;
            path = directory + "/" + std::string(name_of(role)) + "-" + std::to_string(::getpid()) + ".sock";
            warning = "another " + std::string(name_of(role)) + " listens on " + taken + ", using " + path;
            address = address_of(path);
            if (!address) return tl::unexpected(address.error());
            // A file of that name is of a process that had our number before.
            if (find_occupant(path, *address) == Occupant::stale) ::unlink(path.c_str());
            break;
    }
    auto fd = bind_socket(path, *address);
    if (!fd) return tl::unexpected(fd.error());
    SocketFile file(std::move(*fd), path);
    file.warning_ = std::move(warning);
    return file;
}

SocketFile::SocketFile(UniqueFd fd, std::string path) : fd_(std::move(fd)), path_(std::move(path)) {
    struct stat status {};
    if (::lstat(path_.c_str(), &status) == 0) {
        device_ = status.st_dev;
        inode_ = status.st_ino;
    }
}

SocketFile::SocketFile(SocketFile&& other) noexcept
    : fd_(std::move(other.fd_)),
      path_(std::exchange(other.path_, {})),
      warning_(std::move(other.warning_)),
      device_(other.device_),
      inode_(other.inode_) {}

SocketFile::~SocketFile() {
    if (path_.empty()) return;
    struct stat status {};
    if (::lstat(path_.c_str(), &status) == 0 && status.st_dev == device_ && status.st_ino == inode_)
        ::unlink(path_.c_str());
}

}  // namespace qanat::controlplane
