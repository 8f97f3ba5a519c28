// TestRelay: the relay's part of PROTOCOL.md section 6.1, blocking, one connection after the other, for tests of those
// who use relays. It carries on to the address in the request, or to `next_port` if that names none.
#pragma once

#include <atomic>
#include <optional>
#include <string>
#include <thread>

#include "common/ring/messages.h"
#include "tests/support/node_side.h"
#include "tests/support/sockets.h"

namespace qanat::dataplane::testing {

inline std::string text_of(const std::vector<uint8_t>& bytes) {
    return {bytes.begin(), bytes.end()};
}

// The client's side of a session with node number `node`.
inline ring::InstallSession client_session(uint64_t id, uint32_t node) {
    ring::InstallSession install{};
    install.session_id = id;
    install.node = node;
    install.window = 8192;
    install.suite = 3;
    install.side = ring::SessionSide::client;
    install.data_secret.fill(static_cast<uint8_t>(id));
    install.header_key.fill(static_cast<uint8_t>(id + 1));
    install.peer.fill(static_cast<uint8_t>(node));
    return install;
}

// A first flight that was read from a connection, as its receiver sees it.
struct Asked {
    ::qanat::testing::TestSocket socket;
    NodeSide side;
    wire::Request request;

    void send(const std::vector<uint8_t>& bytes) { socket.send(text_of(bytes)); }
};

inline Asked accept_request(::qanat::testing::TestListener& listener, const ring::InstallSession& session) {
    Asked asked{.socket = listener.accept(), .side = NodeSide(session), .request = {}};
    const std::string text = asked.socket.receive(wire::kRequestFlightMultiple);
    std::vector<uint8_t> flight(text.begin(), text.end());
    const auto request = asked.side.read_request(flight);
    if (!request) throw std::runtime_error("no authentic request");
    asked.request = *request;
    return asked;
}

class TestRelay {
public:
    explicit TestRelay(const ring::InstallSession& session, uint16_t next_port = 0)
        : session_(session), next_port_(next_port), thread_([this] { run(); }) {}
    ~TestRelay() {
        leaving_ = true;
        ::shutdown(listener_.fd(), SHUT_RDWR);
        thread_.join();
    }
    TestRelay(const TestRelay&) = delete;
    TestRelay& operator=(const TestRelay&) = delete;

    [[nodiscard]] uint16_t port() const { return listener_.port(); }
    [[nodiscard]] int carried() const { return carried_; }
    // Whom the last request named.
    [[nodiscard]] std::array<uint8_t, 32> asked_for() const { return asked_for_; }

private:
    void run() {
        while (!leaving_) {
            try {
                carry(accept_request(listener_, session_));
            } catch (const std::runtime_error&) {
                // Nobody came, or nobody stayed.
            }
        }
    }

    void carry(Asked asked) {
        asked_for_ = asked.request.next.id;
        const uint16_t port = asked.request.next.hint ? asked.request.next.hint->port : next_port_;
        auto next = ::qanat::testing::TestSocket::connect(port);
        asked.send(asked.side.answer());
        ++carried_;
        std::thread back([&] { pump(next, asked.socket); });
        pump(asked.socket, next);
        back.join();
    }

    static void pump(::qanat::testing::TestSocket& from, ::qanat::testing::TestSocket& to) {
        char buffer[65536];
        try {
            while (true) {
                const ssize_t got = ::recv(from.fd(), buffer, sizeof buffer, 0);
                if (got <= 0) break;
                to.send(std::string(buffer, static_cast<size_t>(got)));
            }
        } catch (const std::runtime_error&) {
            ::shutdown(from.fd(), SHUT_RDWR);
        }
        to.shut_down();
    }

    ring::InstallSession session_;
    uint16_t next_port_;
    ::qanat::testing::TestListener listener_;
    std::array<uint8_t, 32> asked_for_{};
    std::atomic<bool> leaving_{false};
    std::atomic<int> carried_{0};
    std::thread thread_;
};

}  // namespace qanat::dataplane::testing
