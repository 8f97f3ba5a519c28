// AdminServer: answers the operator's questions on the admin socket. One line of JSON in, {"cmd":"status"}; one line
// of JSON out, the answer or {"error":"…"}; then the connection is closed.
//
// Who can open the socket (mode 0600) may ask; requests are bounded in size and time all the same, and so are the
// connections, so that a stuck script cannot exhaust the descriptors of the process.
#pragma once

#include <functional>
#include <list>
#include <memory>
#include <string>
#include <string_view>

#include "common/base/unique_fd.h"
#include "controlplane/loop/fd_watch.h"
#include "controlplane/loop/timer.h"

namespace qanat::controlplane {

class AdminServer {
public:
    static constexpr size_t kRequestSizeMax = 4096;
    static constexpr size_t kConnectionsMax = 16;  // beyond: closed at once
    static constexpr Duration kDeadline = std::chrono::seconds(5);

    // `answer`: the whole answer to one request, a JSON text without newlines. `listener` outlives the server.
    using Answer = std::function<std::string(const std::string& command)>;
    AdminServer(EventLoop& loop, int listener, Answer answer);
    ~AdminServer();
    AdminServer(const AdminServer&) = delete;
    AdminServer& operator=(const AdminServer&) = delete;

private:
    struct Connection;
    using Connections = std::list<std::unique_ptr<Connection>>;

    void accept();
    void read(Connection& connection);
    void write(Connection& connection);
    void close(Connection& connection);
    [[nodiscard]] std::string answer_line(std::string_view request) const;

    EventLoop& loop_;
    int listener_;
    Answer answer_;
    Connections connections_;
    FdWatch watch_;
};

}  // namespace qanat::controlplane
