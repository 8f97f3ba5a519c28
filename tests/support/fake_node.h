// FakeNode: the test in the place of a node or relay that an engine connects to: accepts tunnel connections and answers
// them by hand.
#pragma once

#include <poll.h>

#include <string>

#include "tests/support/engine_pair.h"
#include "tests/support/sockets.h"
#include "tests/support/test_relay.h"

namespace qanat::dataplane::testing {

// What EnginePair installs on the client's side; or another session like it.
inline ring::InstallSession pair_session(uint64_t id, uint32_t node = 7) {
    ring::InstallSession install{};
    install.session_id = id;
    install.node = node;
    install.window = 8192;
    install.side = ring::SessionSide::client;
    install.suite = static_cast<uint8_t>(crypto::Suite::aes_128_gcm);
    install.data_secret.fill(static_cast<uint8_t>(id));
    install.header_key.fill(0x5a);
    return install;
}

inline std::string text_of(Bytes bytes) {
    return {bytes.begin(), bytes.end()};
}

// A connection whose first flight has been read.
struct FakeTunnel : Asked {
    void answer(wire::StreamStatus status) { send(side.answer(status)); }
    // The REQUEST that follows PARKED.
    wire::Request next_request() {
        std::string record = socket.receive(wire::kRequestFlightMultiple);
        const auto content = side.read_control(std::span(reinterpret_cast<uint8_t*>(record.data()), record.size()));
        if (!content) throw std::runtime_error("no REQUEST");
        return *wire::decode_request(*content);
    }
};

class FakeNode {
public:
    explicit FakeNode(const ring::InstallSession& session) : session_(session) {}

    [[nodiscard]] uint16_t port() const { return listener_.port(); }
    FakeTunnel accept() { return {accept_request(listener_, session_)}; }
    // True if somebody connects within this time.
    [[nodiscard]] bool is_called(int within_ms) const {
        pollfd wait{.fd = listener_.fd(), .events = POLLIN, .revents = 0};
        return ::poll(&wait, 1, within_ms) == 1;
    }
    void close() { listener_.close(); }

private:
    ring::InstallSession session_;
    ::qanat::testing::TestListener listener_;
};

}  // namespace qanat::dataplane::testing
