#include "controlplane/config/private_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <system_error>

#include "common/base/log.h"
#include "common/base/unique_fd.h"

namespace qanat::controlplane {
namespace {

std::string reason(int error) {
    return std::generic_category().message(error);
}

tl::unexpected<Error> cannot(std::string_view verb, const std::string& path, int error, std::string_view remedy) {
    return fail(printable(path) + ": cannot be " + std::string(verb) + " (" + reason(error) +
                "): " + std::string(remedy));
}

std::string directory_of(const std::string& path) {
    const size_t slash = path.rfind('/');
    if (slash == std::string::npos) return ".";
    return slash == 0 ? "/" : path.substr(0, slash);
}

Result<void> check_private(const std::string& path, const struct stat& status) {
    const std::string name = printable(path);
    if (!S_ISREG(status.st_mode)) return fail(name + " is not a regular file: name the key file itself");
    const mode_t mode = status.st_mode & 07777U;
    if ((mode & 077U) != 0) {
        std::array<char, 8> octal{};
        std::snprintf(octal.data(), octal.size(), "%04o", static_cast<unsigned>(mode));
        const std::string_view what = (mode & 044U) != 0   ? "is readable by others"
                                      : (mode & 022U) != 0 ? "is writable by others"
                                                           : "is open to others";
        return fail(name + " " + std::string(what) + " (mode " + octal.data() + "): run 'chmod 600 " + name + "'");
    }
    return {};
}

bool write_all(int fd, std::string_view contents) {
    while (!contents.empty()) {
        const ssize_t count = ::write(fd, contents.data(), contents.size());
        if (count < 0 && errno == EINTR) continue;
        if (count <= 0) return false;
        contents.remove_prefix(static_cast<size_t>(count));
    }
    return true;
}

// Gives the finished file its name unless the name is taken: 0 or an errno. File systems without RENAME_NOREPLACE
// (renameat2(2): EINVAL) have hard links, which do not replace either.
int publish(const std::string& temporary, const std::string& path) {
    if (::renameat2(AT_FDCWD, temporary.c_str(), AT_FDCWD, path.c_str(), RENAME_NOREPLACE) == 0) return 0;
    if (errno != EINVAL && errno != ENOSYS) return errno;
    if (::link(temporary.c_str(), path.c_str()) != 0) return errno;
    ::unlink(temporary.c_str());
    return 0;
}

}  // namespace

Result<std::optional<PrivateFile>> read_private_file(const std::string& path) {
    // O_NONBLOCK: a FIFO must not make the program wait before it is refused.
    const UniqueFd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY));
    if (!fd) {
        if (errno == ENOENT) return std::nullopt;
        return cannot("opened", path, errno, "check the path, and that this user may read it");
    }
    struct stat status {};
    if (::fstat(fd.get(), &status) != 0) return cannot("examined", path, errno, "check the path");
    if (auto checked = check_private(path, status); !checked) return tl::unexpected(checked.error());

    PrivateFile file;
    const auto buffer = file.contents_.writable();
    while (file.size_ < buffer.size()) {
        const ssize_t count = ::read(fd.get(), buffer.data() + file.size_, buffer.size() - file.size_);
        if (count < 0 && errno == EINTR) continue;
        if (count < 0) return cannot("read", path, errno, "check the disk");
        if (count == 0) return file;
        file.size_ += static_cast<size_t>(count);
    }
    return fail(printable(path) + " is larger than " + std::to_string(kPrivateFileSizeMax) +
                " bytes: this is not a key file; check the path");
}

Result<CreateOutcome> create_private_file(const std::string& path, std::string_view contents) {
    const std::string directory = directory_of(path);
    constexpr std::string_view kRemedy = "choose another path, or make the directory and let this user write to it";
    std::string temporary = directory + "/.qanat-key-XXXXXX";
    const UniqueFd fd(::mkostemp(temporary.data(), O_CLOEXEC));  // O_EXCL, mode 0600
    if (!fd) return cannot("created", path, errno, kRemedy);
    // fchmod: a umask such as 0777 must not leave a key that its owner cannot read.
    if (::fchmod(fd.get(), 0600) != 0 || !write_all(fd.get(), contents) || ::fsync(fd.get()) != 0) {
        const int error = errno;
        ::unlink(temporary.c_str());
        return cannot("written", path, error, "check the free space of the disk");
    }
    if (const int error = publish(temporary, path); error != 0) {
        ::unlink(temporary.c_str());
        if (error == EEXIST) return CreateOutcome::existed;
        return cannot("created", path, error, kRemedy);
    }
    // The name itself reaches the disk with its directory. A file system that cannot do that has done what it can.
    const UniqueFd parent(::open(directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    if (parent) static_cast<void>(::fsync(parent.get()));
    return CreateOutcome::created;
}

Result<void> make_private_directory(const std::string& path) {
    for (size_t end = path.find('/', 1);; end = path.find('/', end + 1)) {
        const std::string part = path.substr(0, end);
        if (!part.empty() && ::mkdir(part.c_str(), 0700) != 0 && errno != EEXIST) {
            // A read-only or foreign parent that is there already is no obstacle.
            struct stat status {};
            const int error = errno;
            if (::stat(part.c_str(), &status) != 0 || !S_ISDIR(status.st_mode))
                return cannot("created", part, error, "make the directory, or give a path with --identity");
        }
        if (end == std::string::npos) break;
    }
    struct stat status {};
    if (::stat(path.c_str(), &status) != 0 || !S_ISDIR(status.st_mode))
        return fail(printable(path) + " is not a directory: move it away, or give a path with --identity");
    return {};
}

Result<Secret<32>> decode_hex_secret(std::string_view digits) {
    constexpr size_t kDigits = 64;
    for (size_t i = 0; i < digits.size() && i < kDigits; ++i) {
        const char c = digits[i];
        if ((c < '0' || c > '9') && (c < 'a' || c > 'f') && (c < 'A' || c > 'F'))
            return fail("character " + std::to_string(i + 1) + " is not a hex digit");
    }
    if (digits.size() != kDigits) return fail(std::to_string(digits.size()) + " characters where 64 hex digits belong");
    Secret<32> secret;
    size_t size = 0;
    const auto out = secret.writable();
    if (::sodium_hex2bin(out.data(), out.size(), digits.data(), digits.size(), nullptr, &size, nullptr) != 0 ||
        size != out.size())
        return fail("not 64 hex digits");
    return secret;
}

void encode_hex_secret(const Secret<32>& secret, std::span<uint8_t, 64> out) {
    // sodium_bin2hex ends its text with a NUL, for which `out` has no room.
    Secret<65> text;
    ::sodium_bin2hex(reinterpret_cast<char*>(text.writable().data()), Secret<65>::kSize, secret.bytes().data(), 32);
    std::memcpy(out.data(), text.bytes().data(), out.size());
}

}  // namespace qanat::controlplane
