// RedisStream: one connection to a Redis server as a stream of bytes: TCP or a Unix socket, with or without TLS. Never
// blocks.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <variant>

#include "common/base/result.h"
#include "common/base/unique_fd.h"
#include "common/wire/address.h"
#include "controlplane/discovery/tls_client.h"
#include "controlplane/loop/fd_watch.h"

namespace qanat::controlplane {

class RedisStream {
public:
    struct Handlers {
        // Connected, and the TLS handshake is done.
        Callback on_open;
        std::function<void(Bytes)> on_bytes;
        // The connection has ended, for a reason that fits into a sentence; nothing is called after it.
        std::function<void(std::string reason)> on_closed;
    };
    using Address = std::variant<wire::Endpoint, std::string>;  // a string is the path of a Unix socket

    // More bytes than that waiting to be sent end the connection.
    static constexpr size_t kUnsentMax = 4U << 20;

    // Without `tls` (null), bytes go as they are. The handlers may close the stream, not destroy it.
    RedisStream(EventLoop& loop, std::unique_ptr<TlsClient> tls, Handlers handlers);

    // Call it once. No handler is called from inside, nor from write().
    [[nodiscard]] Result<void> connect(const Address& address);
    // After on_open. An error has ended the connection; on_closed is not called for it.
    [[nodiscard]] Result<void> write(std::string_view bytes);
    // Nothing is called any more.
    void close();

    [[nodiscard]] bool certificate_refused() const { return tls_ != nullptr && tls_->certificate_refused(); }

private:
    void on_ready(Readiness ready);
    [[nodiscard]] Result<void> finish_connect();
    [[nodiscard]] Result<bool> receive();  // false: nothing more now
    [[nodiscard]] Result<void> send_unsent();
    void open_if_established();
    void close_because(const Error& error);

    EventLoop& loop_;
    std::unique_ptr<TlsClient> tls_;
    Handlers handlers_;
    UniqueFd fd_;
    std::optional<FdWatch> watch_;
    bool connected_ = false;
    bool open_ = false;
    bool closed_ = false;
    std::string unsent_;
};

}  // namespace qanat::controlplane
