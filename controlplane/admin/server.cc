#include "controlplane/admin/server.h"

#include <json/json.h>
#include <sys/socket.h>

#include <array>
#include <cerrno>

namespace qanat::controlplane {
namespace {

std::string error_answer(const std::string& message) {
    Json::Value answer;
    answer["error"] = message;
    Json::StreamWriterBuilder builder;
    builder["indentation"] = "";
    return Json::writeString(builder, answer);
}

}  // namespace

struct AdminServer::Connection {
    UniqueFd fd;
    std::string input;
    std::string output;
    size_t written = 0;
    Connections::iterator at;
    std::unique_ptr<Timer> deadline;
    std::unique_ptr<FdWatch> watch;

    ~Connection() { watch.reset(); }  // before its descriptor is closed
};

AdminServer::AdminServer(EventLoop& loop, int listener, Answer answer)
    : loop_(loop),
      listener_(listener),
      answer_(std::move(answer)),
      watch_(loop, listener, {.readable = true}, [this](Readiness) { accept(); }) {}

AdminServer::~AdminServer() = default;

void AdminServer::accept() {
    UniqueFd fd(::accept4(listener_, nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
    if (!fd || connections_.size() >= kConnectionsMax) return;
    Connection& connection = *connections_.emplace_back(std::make_unique<Connection>());
    connection.at = std::prev(connections_.end());
    connection.fd = std::move(fd);
    connection.deadline = std::make_unique<Timer>(loop_, [this, &connection] { close(connection); });
    connection.deadline->start(kDeadline);
    connection.watch = std::make_unique<FdWatch>(loop_, connection.fd.get(), Readiness{.readable = true},
                                                 [this, &connection](Readiness ready) {
                                                     if (ready.writable)
                                                         write(connection);
                                                     else
                                                         read(connection);
                                                 });
}

void AdminServer::read(Connection& connection) {
    std::array<char, 1024> bytes{};
    const ssize_t size = ::recv(connection.fd.get(), bytes.data(), bytes.size(), 0);
    if (size < 0 && (errno == EAGAIN || errno == EINTR)) return;
    if (size <= 0) return close(connection);
    connection.input.append(bytes.data(), static_cast<size_t>(size));
    const size_t end = connection.input.find('\n');
    if (end == std::string::npos && connection.input.size() <= kRequestSizeMax) return;
    connection.output = end == std::string::npos || end > kRequestSizeMax
                            ? error_answer("the request is too long")
                            : answer_line(std::string_view(connection.input).substr(0, end));
    connection.output += '\n';
    connection.watch->set_interest({.writable = true});
    write(connection);
}

void AdminServer::write(Connection& connection) {
    const std::string& output = connection.output;
    const ssize_t size = ::send(connection.fd.get(), output.data() + connection.written,
                                output.size() - connection.written, MSG_NOSIGNAL);
    if (size < 0 && (errno == EAGAIN || errno == EINTR)) return;
    if (size < 0) return close(connection);
    connection.written += static_cast<size_t>(size);
    if (connection.written == output.size()) close(connection);
}

void AdminServer::close(Connection& connection) {
    connections_.erase(connection.at);
}

std::string AdminServer::answer_line(std::string_view request) const {
    Json::CharReaderBuilder builder;
    Json::CharReaderBuilder::strictMode(&builder.settings_);
    builder["stackLimit"] = 16;
    const std::unique_ptr<Json::CharReader> reader(builder.newCharReader());
    Json::Value value;
    std::string problem;
    try {
        if (!reader->parse(request.data(), request.data() + request.size(), &value, &problem) || !value.isObject() ||
            !value["cmd"].isString())
            return error_answer("write one line like {\"cmd\":\"status\"}");
    } catch (const Json::Exception&) {  // too deep
        return error_answer("write one line like {\"cmd\":\"status\"}");
    }
    return answer_(value["cmd"].asString());
}

}  // namespace qanat::controlplane
