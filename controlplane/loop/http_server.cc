#include "controlplane/loop/http_server.h"

#include <sys/socket.h>

#include <array>
#include <cerrno>

namespace qanat::controlplane {
namespace {

std::string response(std::string_view status, std::string_view headers, std::string_view body, bool with_body) {
    std::string text = "HTTP/1.1 " + std::string(status) + "\r\n" + std::string(headers) +
                       "Content-Length: " + std::to_string(body.size()) + "\r\nConnection: close\r\n\r\n";
    if (with_body) text += body;
    return text;
}

std::string refusal(std::string_view status, std::string_view headers = {}) {
    return response(status, "Content-Type: text/plain\r\n" + std::string(headers), std::string(status) + "\n", true);
}

}  // namespace

std::optional<HttpRequestLine> HttpRequestLine::parse(std::string_view line) {
    const size_t method_end = line.find(' ');
    const size_t target_end = line.rfind(' ');
    if (method_end == std::string_view::npos || method_end == 0 || target_end <= method_end) return std::nullopt;
    const std::string_view version = line.substr(target_end + 1);
    const std::string_view target = line.substr(method_end + 1, target_end - method_end - 1);
    if (version != "HTTP/1.1" && version != "HTTP/1.0") return std::nullopt;
    if (!target.starts_with('/') || target.find(' ') != std::string_view::npos) return std::nullopt;
    return HttpRequestLine{line.substr(0, method_end), target.substr(0, target.find('?'))};
}

struct HttpServer::Connection {
    enum class State : uint8_t { reading, writing, lingering };

    UniqueFd fd;
    State state = State::reading;
    std::string input;
    std::string output;
    size_t written = 0;
    Connections::iterator at;
    std::unique_ptr<Timer> deadline;
    std::unique_ptr<FdWatch> watch;

    ~Connection() { watch.reset(); }  // before its descriptor is closed
};

HttpServer::HttpServer(EventLoop& loop, UniqueFd listener, Handler handler)
    : loop_(loop),
      listener_(std::move(listener)),
      handler_(std::move(handler)),
      acceptor_(loop, "metrics", listener_.get(), [this](UniqueFd fd) { take(std::move(fd)); }) {}

HttpServer::~HttpServer() = default;

void HttpServer::take(UniqueFd fd) {
    // Whoever only holds connections does not keep those out that ask for something.
    if (connections_.size() >= kConnectionsMax) close(*connections_.front());
    Connection& connection = *connections_.emplace_back(std::make_unique<Connection>());
    connection.at = std::prev(connections_.end());
    connection.fd = std::move(fd);
    connection.deadline = std::make_unique<Timer>(loop_, [this, &connection] { close(connection); });
    connection.deadline->start(kConnectionTime);
    connection.watch = std::make_unique<FdWatch>(loop_, connection.fd.get(), Readiness{.readable = true},
                                                 [this, &connection](Readiness ready) {
                                                     if (ready.writable)
                                                         write(connection);
                                                     else
                                                         read(connection);
                                                 });
}

void HttpServer::read(Connection& connection) {
    std::array<char, 4096> bytes{};
    const ssize_t size = ::recv(connection.fd.get(), bytes.data(), bytes.size(), 0);
    if (size < 0 && (errno == EAGAIN || errno == EINTR)) return;
    if (size <= 0) return close(connection);
    if (connection.state == Connection::State::lingering) return;
    connection.input.append(bytes.data(), static_cast<size_t>(size));
    if (connection.input.size() > kRequestSizeMax)
        connection.output = refusal("431 Request Header Fields Too Large");
    else if (connection.input.find("\r\n\r\n") != std::string::npos)
        connection.output = answer(connection.input);
    else
        return;
    connection.state = Connection::State::writing;
    connection.watch->set_interest({.writable = true});
    write(connection);
}

std::string HttpServer::answer(std::string_view request) const {
    const auto line = HttpRequestLine::parse(request.substr(0, request.find("\r\n")));
    if (!line) return refusal("400 Bad Request");
    if (line->method != "GET" && line->method != "HEAD")
        return refusal("405 Method Not Allowed", "Allow: GET, HEAD\r\n");
    const bool with_body = line->method == "GET";
    const auto page = handler_(line->path);
    if (!page) return response("404 Not Found", "Content-Type: text/plain\r\n", "404 Not Found\n", with_body);
    return response("200 OK", "Content-Type: " + page->content_type + "\r\n", page->body, with_body);
}

void HttpServer::write(Connection& connection) {
    const std::string& output = connection.output;
    const ssize_t size = ::send(connection.fd.get(), output.data() + connection.written,
                                output.size() - connection.written, MSG_NOSIGNAL);
    if (size < 0 && (errno == EAGAIN || errno == EINTR)) return;
    if (size < 0) return close(connection);
    connection.written += static_cast<size_t>(size);
    if (connection.written < output.size()) return;
    // Closing with bytes unread would reset the connection, and the answer could be lost with it.
    connection.state = Connection::State::lingering;
    ::shutdown(connection.fd.get(), SHUT_WR);
    connection.watch->set_interest({.readable = true});
}

void HttpServer::close(Connection& connection) {
    connections_.erase(connection.at);
}

}  // namespace qanat::controlplane
