// Streams through an EnginePair, as tests open and count them.
#pragma once

#include <gtest/gtest.h>

#include <chrono>
#include <functional>
#include <string>
#include <thread>

#include "tests/support/engine_pair.h"
#include "tests/support/sockets.h"

namespace qanat::dataplane::testing {

// Greeting without authentication, and CONNECT to 127.0.0.1, in one.
inline std::string socks_request(uint16_t port) {
    std::string request("\x05\x01\x00\x05\x01\x00\x01\x7f\x00\x00\x01", 11);
    request.push_back(static_cast<char>(port >> 8));
    request.push_back(static_cast<char>(port & 0xff));
    return request;
}

struct Opened {
    ::qanat::testing::TestSocket app;
    ::qanat::testing::TestSocket target;
};

inline Opened open_stream(EnginePair& pair, ::qanat::testing::TestListener& listener) {
    Opened opened;
    opened.app = ::qanat::testing::TestSocket::connect(pair.socks_port);
    opened.app.send(socks_request(listener.port()));
    opened.target = listener.accept();
    const std::string reply = opened.app.receive(2 + 10);
    EXPECT_EQ(reply.substr(0, 6), std::string("\x05\x00\x05\x00\x00\x01", 6));
    return opened;
}

// There and back.
inline void talk(Opened& stream, const std::string& text) {
    stream.app.send(text);
    EXPECT_TRUE(stream.target.receive(text.size()) == text);
    stream.target.send(text);
    EXPECT_TRUE(stream.app.receive(text.size()) == text);
}

inline void close_both(Opened& stream) {
    stream.app.shut_down();
    stream.target.shut_down();
    EXPECT_EQ(stream.app.receive_end(), 0);
    EXPECT_EQ(stream.target.receive_end(), 0);
}

// Waits until it is so: an engine writes its counters a moment after the sockets tell.
inline bool eventually(const std::function<bool()>& condition,
                       std::chrono::milliseconds within = std::chrono::seconds(10)) {
    for (const auto end = std::chrono::steady_clock::now() + within; std::chrono::steady_clock::now() < end;) {
        if (condition()) return true;
        std::this_thread::sleep_for(std::chrono::milliseconds(5));
    }
    return condition();
}

inline uint64_t ended(LoneEngine& engine, ring::EndReason reason) {
    return engine.counters().ended[static_cast<size_t>(reason)].load();
}

}  // namespace qanat::dataplane::testing
