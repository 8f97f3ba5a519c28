// The admin socket as a file: where it is, how it is made, and that it is removed again.
#pragma once

#include <sys/types.h>

#include <string>
#include <vector>

#include "common/base/result.h"
#include "common/base/unique_fd.h"
#include "controlplane/config/paths.h"

namespace qanat::controlplane {

// /run/qanat for root; otherwise $XDG_RUNTIME_DIR/qanat, or ~/.cache/qanat where there is no such directory.
[[nodiscard]] Result<std::string> admin_directory(const Environment& environment);

// The sockets in that directory, sorted by name; dead ones too. Empty if there is no such directory.
[[nodiscard]] std::vector<std::string> admin_sockets(const Environment& environment);

// A listening Unix socket, mode 0600, non-blocking. The file is removed with it, unless another process has put its
// own in the same place meanwhile.
class SocketFile {
public:
    // `configured` empty: ROLE.sock in the default directory, which is made (mode 0700) if need be. A file that nobody
    // listens on any more is replaced. If somebody does listen, a configured path is an error, and the default one
    // becomes ROLE-PID.sock, see warning().
    [[nodiscard]] static Result<SocketFile> open(const std::string& configured, Role role,
                                                 const Environment& environment);

    SocketFile(SocketFile&& other) noexcept;
    SocketFile& operator=(SocketFile&&) = delete;
    ~SocketFile();

    [[nodiscard]] int fd() const { return fd_.get(); }
    [[nodiscard]] const std::string& path() const { return path_; }
    [[nodiscard]] const std::string& warning() const { return warning_; }  // empty: none

private:
    SocketFile(UniqueFd fd, std::string path);

    UniqueFd fd_;
    std::string path_;
    std::string warning_;
    dev_t device_ = 0;
    ino_t inode_ = 0;
};

}  // namespace qanat::controlplane
