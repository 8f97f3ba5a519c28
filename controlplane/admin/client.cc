#include "controlplane/admin/client.h"

#include <json/json.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <array>
#include <cerrno>
#include <cstring>

#include "common/base/log.h"
#include "common/base/unique_fd.h"
#include "controlplane/admin/socket_file.h"
#include "controlplane/admin/status_table.h"

namespace qanat::controlplane {
namespace {

constexpr size_t kAnswerSizeMax = 64 << 20;

// ECONNREFUSED and ENOENT: nobody is there. The caller decides whether that is an error.
Result<UniqueFd, int> connect_to(const std::string& path) {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    if (path.size() >= sizeof address.sun_path) return fail_with(ENAMETOOLONG);
    std::memcpy(address.sun_path, path.c_str(), path.size());
    UniqueFd fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
    if (!fd) return fail_with(errno);
    const timeval wait{5, 0};
    ::setsockopt(fd.get(), SOL_SOCKET, SO_RCVTIMEO, &wait, sizeof wait);
    ::setsockopt(fd.get(), SOL_SOCKET, SO_SNDTIMEO, &wait, sizeof wait);
    if (::connect(fd.get(), static_cast<const sockaddr*>(static_cast<const void*>(&address)), sizeof address) != 0)
        return fail_with(errno);
    return fd;
}

Result<std::string> exchange_lines(int fd, const std::string& path, const std::string& command) {
    Json::Value request;
    request["cmd"] = command;
    Json::StreamWriterBuilder builder;
    builder["indentation"] = "";
    const std::string line = Json::writeString(builder, request) + "\n";
    if (::send(fd, line.data(), line.size(), MSG_NOSIGNAL) != static_cast<ssize_t>(line.size()))
        return fail(printable(path) + ": the program there does not take requests: is it a Qanat admin socket?");

    std::string answer;
    std::array<char, 16384> bytes{};
    while (answer.find('\n') == std::string::npos && answer.size() < kAnswerSizeMax) {
        const ssize_t size = ::recv(fd, bytes.data(), bytes.size(), 0);
        if (size < 0 && errno == EINTR) continue;
        if (size <= 0) return fail(printable(path) + ": no answer: is it a Qanat admin socket?");
        answer.append(bytes.data(), static_cast<size_t>(size));
    }
    answer.resize(std::min(answer.find('\n'), answer.size()));
    return answer;
}

Result<void> print_status(const std::string& answer, const std::string& path, StatusFormat format, std::ostream& out) {
    Json::CharReaderBuilder builder;
    const std::unique_ptr<Json::CharReader> reader(builder.newCharReader());
    Json::Value value;
    std::string problem;
    if (!reader->parse(answer.data(), answer.data() + answer.size(), &value, &problem) || !value.isObject())
        return fail(printable(path) + ": the answer is not JSON: is it a Qanat admin socket?");
    if (value["error"].isString()) return fail(printable(path) + ": " + printable(value["error"].asString()));
    if (format == StatusFormat::json)
        out << answer << "\n";
    else
        out << render_status(value);
    return {};
}

}  // namespace

Result<std::string> ask_admin(const std::string& path, const std::string& command) {
    const auto fd = connect_to(path);
    if (!fd) {
        if (fd.error() == ENOENT || fd.error() == ECONNREFUSED)
            return fail("nobody listens on " + printable(path) +
                        ": start 'qanat node' or 'qanat client', or name another socket with --admin");
        return fail("cannot connect to " + printable(path) + ": " + std::strerror(fd.error()) +
                    ": ask as the user that runs it, or name another socket with --admin");
    }
    return exchange_lines(fd->get(), path, command);
}

Result<void> run_status(const std::string& path, StatusFormat format, const Environment& environment,
                        std::ostream& out) {
    if (!path.empty()) {
        const auto answer = ask_admin(path, "status");
        if (!answer) return tl::unexpected(answer.error());
        return print_status(*answer, path, format, out);
    }
    const auto directory = admin_directory(environment);
    if (!directory) return tl::unexpected(directory.error());
    size_t found = 0;
    for (const std::string& socket : admin_sockets(environment)) {
        const auto fd = connect_to(socket);
        if (!fd) continue;  // left behind by a crash, or ended just now
        const auto answer = exchange_lines(fd->get(), socket, "status");
        if (!answer) return tl::unexpected(answer.error());
        if (found++ > 0 && format == StatusFormat::table) out << "\n";
        if (auto printed = print_status(*answer, socket, format, out); !printed) return printed;
    }
    if (found == 0)
        return fail("no running node or client found in " + printable(*directory) +
                    ": start one, or name its socket with --admin");
    return {};
}

}  // namespace qanat::controlplane
