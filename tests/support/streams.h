// Streams through an EnginePair, as tests open and count them.
#pragma once

#include <gtest/gtest.h>

#include <string>

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

inline uint64_t ended(LoneEngine& engine, ring::EndReason reason) {
    return engine.counters().ended[static_cast<size_t>(reason)].load();
}

}  // namespace qanat::dataplane::testing
