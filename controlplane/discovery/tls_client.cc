#include "controlplane/discovery/tls_client.h"

#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>

#include <array>

#include "common/base/assert.h"
#include "common/base/log.h"

namespace qanat::controlplane {
namespace {

std::string library_error() {
    std::array<char, 256> text{};
    ERR_error_string_n(ERR_get_error(), text.data(), text.size());
    return printable(text.data());
}

std::string_view remedy_for(long verify_result) {
    switch (verify_result) {
        case X509_V_ERR_HOSTNAME_MISMATCH:
        case X509_V_ERR_IP_ADDRESS_MISMATCH:
            return "write the name that the certificate is made out to in discovery.address";
        case X509_V_ERR_CERT_HAS_EXPIRED:
        case X509_V_ERR_CERT_NOT_YET_VALID:
            return "renew the certificate, or set the clock of this machine";
        default:
            return "add its CA to this system (update-ca-certificates), or name the CA's file in SSL_CERT_FILE";
    }
}

}  // namespace

void TlsContext::Free::operator()(ssl_ctx_st* context) const {
    SSL_CTX_free(context);
}

Result<TlsContext> TlsContext::load() {
    ERR_clear_error();
    TlsContext made;
    made.context_.reset(SSL_CTX_new(TLS_client_method()));
    SSL_CTX* context = made.context_.get();
    if (context == nullptr || SSL_CTX_set_min_proto_version(context, TLS1_2_VERSION) != 1 ||
        SSL_CTX_set_default_verify_paths(context) != 1)
        return fail("TLS cannot be set up: " + library_error());
    SSL_CTX_set_verify(context, SSL_VERIFY_PEER, nullptr);
    SSL_CTX_set_options(context, SSL_OP_NO_RENEGOTIATION);
    return made;
}

void TlsClient::Free::operator()(ssl_st* ssl) const {
    SSL_free(ssl);
}

TlsClient::TlsClient(const TlsContext& context, const wire::Target& server)
    : ssl_(SSL_new(context.get())), from_network_(BIO_new(BIO_s_mem())), to_network_(BIO_new(BIO_s_mem())) {
    QANAT_ASSERT(ssl_ != nullptr && from_network_ != nullptr && to_network_ != nullptr);
    SSL_set_bio(ssl_.get(), from_network_, to_network_);
    SSL_set_connect_state(ssl_.get());
    server_ = server.is_name() ? std::string(server.name()) : server.endpoint().ip.format();
    if (server.is_name()) {
        if (server_.ends_with('.')) server_.pop_back();
        // Not the macro SSL_set_tlsext_host_name: it casts a const away in the old style.
        SSL_ctrl(ssl_.get(), SSL_CTRL_SET_TLSEXT_HOSTNAME, TLSEXT_NAMETYPE_host_name, server_.data());
        SSL_set_hostflags(ssl_.get(), X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS);
        QANAT_ASSERT(SSL_set1_host(ssl_.get(), server_.c_str()) == 1);
    } else {
        QANAT_ASSERT(X509_VERIFY_PARAM_set1_ip_asc(SSL_get0_param(ssl_.get()), server_.c_str()) == 1);
    }
}

Result<void> TlsClient::feed(Bytes ciphertext) {
    const int size = static_cast<int>(ciphertext.size());
    QANAT_ASSERT(BIO_write(from_network_, ciphertext.data(), size) == size);
    return go_on();
}

Result<void> TlsClient::write(std::string_view plain) {
    unsent_ += plain;
    return go_on();
}

Result<void> TlsClient::go_on() {
    ERR_clear_error();
    if (!established())
        if (const int result = SSL_do_handshake(ssl_.get()); result != 1) return explain(result);
    if (unsent_.empty()) return {};
    // The memory takes everything at once.
    const int result = SSL_write(ssl_.get(), unsent_.data(), static_cast<int>(unsent_.size()));
    unsent_.clear();
    if (result > 0) return {};
    return explain(result);
}

Result<void> TlsClient::read(std::string& out) {
    ERR_clear_error();
    if (!established()) return {};
    std::array<char, 16384> plain;
    for (;;) {
        const int size = SSL_read(ssl_.get(), plain.data(), static_cast<int>(plain.size()));
        if (size <= 0) return explain(size);
        out.append(plain.data(), static_cast<size_t>(size));
    }
}

// An error, unless OpenSSL only wants more bytes.
Result<void> TlsClient::explain(int result) {
    const int error = SSL_get_error(ssl_.get(), result);
    if (error == SSL_ERROR_WANT_READ || error == SSL_ERROR_WANT_WRITE) return {};
    if (error == SSL_ERROR_ZERO_RETURN) return fail("closed by Redis");
    if (const long verified = SSL_get_verify_result(ssl_.get()); verified != X509_V_OK)
        return fail("the certificate of " + printable(server_) + " is not accepted (" +
                    X509_verify_cert_error_string(verified) + "): " + std::string(remedy_for(verified)));
    return fail("TLS failed (" + library_error() + "): does Redis listen with TLS on this port?");
}

void TlsClient::take_output(std::string& out) {
    std::array<char, 16384> chunk;
    for (int size = 0; (size = BIO_read(to_network_, chunk.data(), static_cast<int>(chunk.size()))) > 0;)
        out.append(chunk.data(), static_cast<size_t>(size));
}

bool TlsClient::established() const {
    return SSL_is_init_finished(ssl_.get()) == 1;
}

bool TlsClient::certificate_refused() const {
    return SSL_get_verify_result(ssl_.get()) != X509_V_OK;
}

}  // namespace qanat::controlplane
