// AdminServer: answers the operator's questions on the admin socket. One line of JSON in, {"cmd":"status"}; one line
// of JSON out, the answer or {"error":"…"}; then the connection is closed. A command that takes its time (drain) may
// send lines about its progress before the last one.
//
// Who can open the socket (mode 0600) may ask; requests are bounded in size and time all the same, and so are the
// connections, so that a stuck script cannot exhaust the descriptors of the process.
#pragma once

#include <json/value.h>

#include <functional>
#include <list>
#include <memory>
#include <string>
#include <string_view>

#include "common/base/unique_fd.h"
#include "controlplane/loop/acceptor.h"
#include "controlplane/loop/fd_watch.h"
#include "controlplane/loop/timer.h"

namespace qanat::controlplane {

class AdminServer {
    struct Connection;
    using Connections = std::list<std::shared_ptr<Connection>>;

public:
    static constexpr size_t kRequestSizeMax = 4096;
    static constexpr size_t kConnectionsMax = 16;                        // beyond: closed at once
    static constexpr Duration kDeadline = std::chrono::seconds(5);       // to send a request, to take an answer
    static constexpr Duration kAnswerTime = std::chrono::seconds(15);    // from the request to the first line
    static constexpr Duration kProgressTime = std::chrono::seconds(15);  // between two lines

    // The way back to whoever asked. Copies are the same reply; it may outlive the connection and the server, then
    // nothing happens.
    class Reply {
    public:
        // Sends the last line, a JSON text without newlines, and closes. A second call does nothing.
        void finish(const std::string& answer) const;
        // Sends a line that more will follow. Left out while the reader has not taken the one before.
        void progress(const std::string& line) const;
        // Nobody waits for it any more.
        [[nodiscard]] bool gone() const;

    private:
        friend class AdminServer;
        explicit Reply(std::weak_ptr<Connection> connection) : connection_(std::move(connection)) {}

        std::weak_ptr<Connection> connection_;
    };

    // `answer` gets one request, an object with a string "cmd", and answers from inside the call or later.
    // `listener` outlives the server.
    using Answer = std::function<void(const Json::Value& request, const Reply& reply)>;
    AdminServer(EventLoop& loop, int listener, Answer answer);
    ~AdminServer();
    AdminServer(const AdminServer&) = delete;
    AdminServer& operator=(const AdminServer&) = delete;

private:
    void take(UniqueFd fd);
    void read(Connection& connection);
    void write(Connection& connection);
    void close(Connection& connection);
    void send_line(Connection& connection, const std::string& line, bool last);
    void ask(Connection& connection, std::string_view line);

    EventLoop& loop_;
    Answer answer_;
    Connections connections_;
    Acceptor acceptor_;
};

}  // namespace qanat::controlplane
