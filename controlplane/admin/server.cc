#include "controlplane/admin/server.h"

#include <json/json.h>
#include <sys/socket.h>

#include <array>
#include <cerrno>
#include <optional>

namespace qanat::controlplane {
namespace {

std::string error_answer(const std::string& message) {
    Json::Value answer;
    answer["error"] = message;
    Json::StreamWriterBuilder builder;
    builder["indentation"] = "";
    return Json::writeString(builder, answer);
}

// nullopt: not an object with a string "cmd".
std::optional<Json::Value> parse_request(std::string_view line) {
    Json::CharReaderBuilder builder;
    Json::CharReaderBuilder::strictMode(&builder.settings_);
    builder["stackLimit"] = 16;
    const std::unique_ptr<Json::CharReader> reader(builder.newCharReader());
    Json::Value value;
    std::string problem;
    try {
        if (!reader->parse(line.data(), line.data() + line.size(), &value, &problem) || !value.isObject() ||
            !value["cmd"].isString())
            return std::nullopt;
    } catch (const Json::Exception&) {  // too deep
        return std::nullopt;
    }
    return value;
}

}  // namespace

struct AdminServer::Connection {
    enum class State : uint8_t { reading, waiting, finished };

    AdminServer& server;
    UniqueFd fd;
    State state = State::reading;
    std::string input;
    std::string output;
    size_t written = 0;
    Connections::iterator at;
    std::unique_ptr<Timer> deadline;
    std::unique_ptr<FdWatch> watch;

    explicit Connection(AdminServer& owner) : server(owner) {}
    ~Connection() { watch.reset(); }  // before its descriptor is closed
};

void AdminServer::Reply::finish(const std::string& answer) const {
    if (const auto connection = connection_.lock()) connection->server.send_line(*connection, answer, true);
}

void AdminServer::Reply::progress(const std::string& line) const {
    if (const auto connection = connection_.lock()) connection->server.send_line(*connection, line, false);
}

bool AdminServer::Reply::gone() const {
    return connection_.expired();
}

AdminServer::AdminServer(EventLoop& loop, int listener, Answer answer)
    : loop_(loop),
      answer_(std::move(answer)),
      acceptor_(loop, "admin socket", listener, [this](UniqueFd fd) { take(std::move(fd)); }) {}

AdminServer::~AdminServer() = default;

void AdminServer::take(UniqueFd fd) {
    if (connections_.size() >= kConnectionsMax) return;
    Connection& connection = *connections_.emplace_back(std::make_shared<Connection>(*this));
    connection.at = std::prev(connections_.end());
    connection.fd = std::move(fd);
    connection.deadline = std::make_unique<Timer>(loop_, [this, &connection] {
        if (connection.state == Connection::State::waiting && connection.output.empty())
            send_line(connection, error_answer("no answer in time: try again"), true);
        else
            close(connection);
    });
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
    if (connection.state != Connection::State::reading) {
        // A half-closed connection still waits for its answer; one that is gone shows when a line is sent.
        if (size < 0) close(connection);
        if (size == 0) connection.watch->set_interest({});
        return;
    }
    if (size <= 0) return close(connection);
    connection.input.append(bytes.data(), static_cast<size_t>(size));
    const size_t end = connection.input.find('\n');
    if (end == std::string::npos && connection.input.size() <= kRequestSizeMax) return;
    connection.state = Connection::State::waiting;
    if (end == std::string::npos || end > kRequestSizeMax)
        return send_line(connection, error_answer("the request is too long"), true);
    connection.deadline->start(kAnswerTime);
    ask(connection, std::string_view(connection.input).substr(0, end));
}

void AdminServer::ask(Connection& connection, std::string_view line) {
    const auto request = parse_request(line);
    if (!request) return send_line(connection, error_answer("write one line like {\"cmd\":\"status\"}"), true);
    answer_(*request, Reply(*connection.at));
}

void AdminServer::send_line(Connection& connection, const std::string& line, bool last) {
    if (connection.state != Connection::State::waiting) return;
    if (!last && !connection.output.empty()) return;
    connection.output += line + "\n";
    if (last) connection.state = Connection::State::finished;
    connection.deadline->start(last ? kDeadline : kProgressTime);
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
    if (connection.written < output.size()) return;
    if (connection.state == Connection::State::finished) return close(connection);
    connection.output.clear();
    connection.written = 0;
    connection.watch->set_interest({.readable = true});
}

void AdminServer::close(Connection& connection) {
    // Not at once: a reply may be in use by whoever holds the connection for its call.
    const std::shared_ptr<Connection> kept = *connection.at;
    connection.state = Connection::State::finished;
    connection.watch.reset();
    connection.fd.reset();
    connections_.erase(connection.at);
}

}  // namespace qanat::controlplane
