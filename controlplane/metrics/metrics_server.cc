#include "controlplane/metrics/metrics_server.h"

#include <sys/socket.h>

#include <cerrno>
#include <cstring>
#include <utility>

namespace qanat::controlplane {
namespace {

constexpr const char* kContentType = "text/plain; version=0.0.4; charset=utf-8";

sockaddr* generic(sockaddr_storage& address) {
    return static_cast<sockaddr*>(static_cast<void*>(&address));
}

}  // namespace

Result<std::unique_ptr<MetricsServer>> MetricsServer::open(EventLoop& loop, const wire::Endpoint& address,
                                                           Collect collect) {
    const auto failed = [&](int error) {
        return fail("--metrics or metrics.listen: cannot listen on " + address.format() + ": " + std::strerror(error) +
                    ": choose another port");
    };
    sockaddr_storage where{};
    socklen_t size = address.to_sockaddr(where);
    UniqueFd fd(::socket(where.ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
    if (!fd) return failed(errno);
    const int yes = 1;
    ::setsockopt(fd.get(), SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
    if (::bind(fd.get(), generic(where), size) != 0 || ::listen(fd.get(), 16) != 0) return failed(errno);
    size = sizeof where;
    if (::getsockname(fd.get(), generic(where), &size) != 0) return failed(errno);
    return std::unique_ptr<MetricsServer>(new MetricsServer(
        loop, std::move(fd), wire::Endpoint::from_sockaddr(where).value_or(address), std::move(collect)));
}

MetricsServer::MetricsServer(EventLoop& loop, UniqueFd listener, const wire::Endpoint& address, Collect collect)
    : address_(address),
      http_(loop, std::move(listener),
            [collect = std::move(collect)](std::string_view path) -> std::optional<HttpServer::Page> {
                if (path != "/metrics") return std::nullopt;
                MetricsPage page;
                collect(page);
                return HttpServer::Page{kContentType, page.text()};
            }) {}

}  // namespace qanat::controlplane
