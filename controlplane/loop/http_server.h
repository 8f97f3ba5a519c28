// HttpServer: a small HTTP server on the loop, for pages that are made on the spot: GET and HEAD, one request per
// connection, no body taken. Connections, the size of a request and the time of each are bounded.
//
// Not libevent's: that one bounds neither the number of connections nor the whole time of one (its timeout begins anew
// with each byte), and cannot be handed a connection that was accepted outside.
#pragma once

#include <functional>
#include <list>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "common/base/unique_fd.h"
#include "controlplane/loop/acceptor.h"
#include "controlplane/loop/fd_watch.h"
#include "controlplane/loop/timer.h"

namespace qanat::controlplane {

// What a request line asks for: "GET /metrics?x=1 HTTP/1.1" → GET, /metrics. Pure.
struct HttpRequestLine {
    std::string_view method;
    std::string_view path;  // without its query

    // nullopt: not the request line of an HTTP/1 request in origin form.
    [[nodiscard]] static std::optional<HttpRequestLine> parse(std::string_view line);
};

class HttpServer {
public:
    static constexpr size_t kConnectionsMax = 16;  // beyond: the oldest makes room
    static constexpr size_t kRequestSizeMax = 8192;
    static constexpr Duration kConnectionTime = std::chrono::seconds(10);  // from accept to the end

    struct Page {
        std::string content_type;
        std::string body;
    };
    // The page at a path, "/metrics"; nullopt: 404.
    using Handler = std::function<std::optional<Page>(std::string_view path)>;

    // `listener`: a listening, non-blocking socket.
    HttpServer(EventLoop& loop, UniqueFd listener, Handler handler);
    ~HttpServer();
    HttpServer(const HttpServer&) = delete;
    HttpServer& operator=(const HttpServer&) = delete;

private:
    struct Connection;
    using Connections = std::list<std::unique_ptr<Connection>>;

    void take(UniqueFd fd);
    void read(Connection& connection);
    void write(Connection& connection);
    void close(Connection& connection);
    [[nodiscard]] std::string answer(std::string_view request) const;

    EventLoop& loop_;
    UniqueFd listener_;
    Handler handler_;
    Connections connections_;
    Acceptor acceptor_;
};

}  // namespace qanat::controlplane
