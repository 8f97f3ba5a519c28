#include "controlplane/discovery/redis_stream.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <system_error>
#include <utility>

namespace qanat::controlplane {
namespace {

// Of one stream before the loop gets its turn.
constexpr int kReadsPerTurn = 4;
constexpr size_t kReadSize = 65536;

tl::unexpected<Error> fail_with_errno(std::string_view what, int error) {
    return fail(std::string(what) + ": " + std::generic_category().message(error));
}

// Fills `out`, returns the size of the address in it.
socklen_t to_sockaddr(const RedisStream::Address& address, sockaddr_storage& out) {
    if (const auto* endpoint = std::get_if<wire::Endpoint>(&address)) return endpoint->to_sockaddr(out);
    sockaddr_un unix_address{};
    unix_address.sun_family = AF_UNIX;
    const std::string& path = std::get<std::string>(address);
    path.copy(unix_address.sun_path, sizeof unix_address.sun_path - 1);
    std::memcpy(&out, &unix_address, sizeof unix_address);
    return sizeof unix_address;
}

}  // namespace

RedisStream::RedisStream(EventLoop& loop, std::unique_ptr<TlsClient> tls, Handlers handlers)
    : loop_(loop), tls_(std::move(tls)), handlers_(std::move(handlers)) {}

void RedisStream::close() {
    closed_ = true;
    watch_.reset();
    fd_.reset();
}

void RedisStream::close_because(const Error& error) {
    close();
    handlers_.on_closed(error.message);
}

Result<void> RedisStream::connect(const Address& address) {
    sockaddr_storage storage{};
    const socklen_t size = to_sockaddr(address, storage);
    fd_.reset(::socket(storage.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
    if (!fd_) return fail_with_errno("no socket", errno);
    const int on = 1;
    if (storage.ss_family != AF_UNIX) ::setsockopt(fd_.get(), IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    if (::connect(fd_.get(), static_cast<sockaddr*>(static_cast<void*>(&storage)), size) != 0 && errno != EINPROGRESS)
        return fail_with_errno("cannot connect", errno);
    watch_.emplace(loop_, fd_.get(), Readiness{.readable = false, .writable = true},
                   [this](Readiness ready) { on_ready(ready); });
    return {};
}

Result<void> RedisStream::finish_connect() {
    int error = 0;
    socklen_t size = sizeof error;
    if (::getsockopt(fd_.get(), SOL_SOCKET, SO_ERROR, &error, &size) != 0) error = errno;
    if (error != 0) return fail_with_errno("cannot connect", error);
    connected_ = true;
    if (tls_ == nullptr) return {};
    if (auto begun = tls_->write({}); !begun) return begun;
    return send_unsent();
}

void RedisStream::on_ready(Readiness ready) {
    if (!connected_) {
        if (const auto finished = finish_connect(); !finished) return close_because(finished.error());
        open_if_established();
    }
    for (int i = 0; ready.readable && !closed_ && i < kReadsPerTurn; ++i) {
        const auto more = receive();
        if (closed_) return;
        if (!more) return close_because(more.error());
        if (!*more) break;
    }
    if (closed_) return;
    if (const auto sent = send_unsent(); !sent) close_because(sent.error());
}

Result<bool> RedisStream::receive() {
    std::array<uint8_t, kReadSize> buffer;
    const ssize_t size = ::recv(fd_.get(), buffer.data(), buffer.size(), 0);
    if (size < 0 && (errno == EAGAIN || errno == EINTR)) return false;
    if (size < 0) return fail_with_errno("the connection broke", errno);
    if (size == 0) return fail("closed by Redis");
    const Bytes received = Bytes(buffer).first(static_cast<size_t>(size));
    const bool more = received.size() == buffer.size();
    if (tls_ == nullptr) {
        handlers_.on_bytes(received);
        return more;
    }
    if (auto fed = tls_->feed(received); !fed) return tl::unexpected(fed.error());
    open_if_established();
    std::string plain;
    const auto read = tls_->read(plain);
    if (!plain.empty() && !closed_) handlers_.on_bytes(as_bytes(plain));
    if (!read) return tl::unexpected(read.error());
    return more;
}

void RedisStream::open_if_established() {
    if (open_ || (tls_ != nullptr && !tls_->established())) return;
    open_ = true;
    handlers_.on_open();
}

Result<void> RedisStream::write(std::string_view bytes) {
    if (tls_ == nullptr)
        unsent_ += bytes;
    else if (auto written = tls_->write(bytes); !written)
        return written;
    return send_unsent();
}

Result<void> RedisStream::send_unsent() {
    if (tls_ != nullptr) tls_->take_output(unsent_);
    size_t sent = 0;
    while (sent < unsent_.size()) {
        const ssize_t size = ::send(fd_.get(), unsent_.data() + sent, unsent_.size() - sent, MSG_NOSIGNAL);
        if (size < 0 && errno == EINTR) continue;
        if (size < 0 && errno != EAGAIN) return fail_with_errno("the connection broke", errno);
        if (size < 0) break;
        sent += static_cast<size_t>(size);
    }
    unsent_.erase(0, sent);
    if (unsent_.size() > kUnsentMax) return fail("Redis does not take what it is sent");
    watch_->set_interest({.readable = true, .writable = !unsent_.empty()});
    return {};
}

}  // namespace qanat::controlplane
