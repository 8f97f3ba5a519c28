#include "controlplane/admin/client.h"

#include <json/json.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <memory>

#include "common/base/log.h"

namespace qanat::controlplane {
namespace {

constexpr size_t kLineSizeMax = 64 << 20;

tl::unexpected<Error> cannot_connect(const std::string& path, int error) {
    if (error == ENOENT || error == ECONNREFUSED)
        return fail("nobody listens on " + printable(path) +
                    ": start 'qanat node' or 'qanat client', or name another socket with --admin");
    return fail("cannot connect to " + printable(path) + ": " + std::strerror(error) +
                ": ask as the user that runs it, or name another socket with --admin");
}

// The process that listens, as a descriptor that tells its end; none if it is in another pid namespace, or this one.
UniqueFd open_peer(int fd) {
    ucred peer{};
    socklen_t size = sizeof peer;
    const bool known = ::getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &size) == 0;
    if (!known || peer.pid <= 0 || peer.pid == ::getpid()) return {};
    return UniqueFd(static_cast<int>(::syscall(SYS_pidfd_open, peer.pid, 0)));  // close-on-exec by itself
}

// null if it is no JSON object.
Json::Value parse_object(const std::string& text) {
    const std::unique_ptr<Json::CharReader> reader(Json::CharReaderBuilder().newCharReader());
    Json::Value value;
    std::string problem;
    try {
        if (!reader->parse(text.data(), text.data() + text.size(), &value, &problem) || !value.isObject()) return {};
    } catch (const Json::Exception&) {  // too deep
        return {};
    }
    return value;
}

}  // namespace

Result<AdminClient> AdminClient::connect(const std::string& path) {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    if (path.size() >= sizeof address.sun_path) return cannot_connect(path, ENAMETOOLONG);
    std::memcpy(address.sun_path, path.c_str(), path.size());
    UniqueFd fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
    if (!fd) return cannot_connect(path, errno);
    const timeval wait{std::chrono::duration_cast<std::chrono::seconds>(kPatience).count(), 0};
    ::setsockopt(fd.get(), SOL_SOCKET, SO_RCVTIMEO, &wait, sizeof wait);
    ::setsockopt(fd.get(), SOL_SOCKET, SO_SNDTIMEO, &wait, sizeof wait);
    if (::connect(fd.get(), static_cast<const sockaddr*>(static_cast<const void*>(&address)), sizeof address) != 0)
        return cannot_connect(path, errno);
    UniqueFd process = open_peer(fd.get());
    return AdminClient(std::move(fd), std::move(process), path);
}

Result<void> AdminClient::ask(const Json::Value& request) {
    Json::StreamWriterBuilder builder;
    builder["indentation"] = "";
    const std::string line = Json::writeString(builder, request) + "\n";
    if (::send(fd_.get(), line.data(), line.size(), MSG_NOSIGNAL) != static_cast<ssize_t>(line.size()))
        return fail(printable(path_) + ": the program there does not take requests: is it a Qanat admin socket?");
    return {};
}

Result<AdminClient::Line> AdminClient::next_line() {
    std::array<char, 16384> bytes{};
    size_t end = received_.find('\n');
    while (end == std::string::npos) {
        const ssize_t size = ::recv(fd_.get(), bytes.data(), bytes.size(), 0);
        if (size < 0 && errno == EINTR) continue;
        if (size <= 0 || received_.size() > kLineSizeMax)
            return fail(printable(path_) + ": no answer: is it a Qanat admin socket?");
        const size_t searched = received_.size();
        received_.append(bytes.data(), static_cast<size_t>(size));
        end = received_.find('\n', searched);
    }
    Line line{received_.substr(0, end), {}};
    received_.erase(0, end + 1);

    line.value = parse_object(line.text);
    if (!line.value.isObject()) return fail(printable(path_) + ": the answer is not JSON: is it a Qanat admin socket?");
    // Escaped where it was made, and once more where errors are printed.
    if (line.value["error"].isString()) return fail(line.value["error"].asString());
    return line;
}

void AdminClient::wait_for_exit() const {
    if (!process_) return;
    pollfd wait{process_.get(), POLLIN, 0};
    while (::poll(&wait, 1, static_cast<int>(kPatience.count())) < 0 && errno == EINTR) {
    }
}

Result<AdminClient::Line> ask_admin(const std::string& path, const Json::Value& request) {
    auto client = AdminClient::connect(path);
    if (!client) return tl::unexpected(client.error());
    if (auto asked = client->ask(request); !asked) return tl::unexpected(asked.error());
    return client->next_line();
}

Json::Value admin_request(const std::string& command) {
    Json::Value request;
    request["cmd"] = command;
    return request;
}

}  // namespace qanat::controlplane
