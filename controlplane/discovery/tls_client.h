// TLS towards Redis, with OpenSSL and without a socket: bytes from the network go in, bytes for it come out. TLS 1.2 or
// 1.3; the server's certificate must be signed by a CA of this system and be made out to the name that was dialled.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "common/base/bytes.h"
#include "common/base/result.h"
#include "common/wire/address.h"

struct ssl_ctx_st;
struct ssl_st;
struct bio_st;

namespace qanat::controlplane {

// The certificate authorities of this system: OpenSSL's default places, or what SSL_CERT_FILE and SSL_CERT_DIR name.
// Reading them takes some milliseconds: make one and keep it.
class TlsContext {
public:
    [[nodiscard]] static Result<TlsContext> load();

    [[nodiscard]] ssl_ctx_st* get() const { return context_.get(); }

private:
    struct Free {
        void operator()(ssl_ctx_st* context) const;
    };

    std::unique_ptr<ssl_ctx_st, Free> context_;
};

class TlsClient {
public:
    // `server`: the name or the address that the certificate must be made out to. The context may go before the client.
    TlsClient(const TlsContext& context, const wire::Target& server);

    // Bytes from the network. An error is final: the certificate was not accepted, or the other side speaks no TLS.
    [[nodiscard]] Result<void> feed(Bytes ciphertext);
    // Appends what has been decrypted to `out`.
    [[nodiscard]] Result<void> read(std::string& out);
    // Takes bytes to be sent; they wait here until the handshake is done.
    [[nodiscard]] Result<void> write(std::string_view plain);
    // Moves what must go to the network to the end of `out`.
    void take_output(std::string& out);

    [[nodiscard]] bool established() const;
    // After an error: whether it was the server's certificate.
    [[nodiscard]] bool certificate_refused() const;

private:
    struct Free {
        void operator()(ssl_st* ssl) const;
    };

    [[nodiscard]] Result<void> go_on();
    [[nodiscard]] Result<void> explain(int result);

    std::unique_ptr<ssl_st, Free> ssl_;
    bio_st* from_network_ = nullptr;  // both belong to ssl_
    bio_st* to_network_ = nullptr;
    std::string unsent_;
    std::string server_;
};

}  // namespace qanat::controlplane
