// Streams through a relay, between two members that the test drives byte by byte, and what it looks at from the side.
#pragma once

#include <gtest/gtest.h>

#include <chrono>
#include <random>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>

#include "tests/support/relay_engines.h"
#include "tests/support/sockets.h"
#include "tests/support/streams.h"

namespace qanat::dataplane::testing {

using ::qanat::testing::TestSocket;

inline constexpr uint8_t kAsker = 0xaa;
inline constexpr uint8_t kNode = 0xbb;

inline std::string random_text(size_t size, unsigned seed) {
    std::mt19937_64 random(seed);
    std::string text(size, '\0');
    for (char& c : text) c = static_cast<char>(random());
    return text;
}

inline wire::Taken taken(RawStream& offered) {
    const auto content = offered.next_record();
    if (!content) throw std::runtime_error("no TAKEN");
    EXPECT_EQ(offered.record_size(), 256u);
    const auto message = wire::decode_taken(as_bytes(*content));
    if (!message) throw std::runtime_error("not TAKEN");
    return *message;
}

inline ring::MemberResult answer(uint64_t query, ring::MemberStatus status, uint16_t port = 0) {
    ring::MemberResult result{};
    result.query = query;
    result.status = status;
    if (port != 0) result.address = loopback(port);
    return result;
}

// Both ends of a stream through the relay.
struct Pair {
    RawStream asker;
    RawStream node;
};

inline Pair open_pair(RelayEngines& relay, uint32_t asker_engine = 0, uint32_t node_engine = 0,
                      const std::string& early = "") {
    RawStream node = relay.offer(kNode, node_engine);
    RawStream asker = relay.connect(kAsker, asker_engine);
    asker.socket().send(RelayEngines::forward(asker, kNode) + early);
    taken(node);
    EXPECT_EQ(asker.response(), wire::StreamStatus::ok);
    return {std::move(asker), std::move(node)};
}

inline void expect_carries(TestSocket& a, TestSocket& b) {
    a.send("to and");
    EXPECT_EQ(b.receive(6), "to and");
    b.send("fro");
    EXPECT_EQ(a.receive(3), "fro");
}

// The engine writes a counter a moment after the sockets tell.
inline bool becomes(const ring::Counter& counter, uint64_t value) {
    return eventually([&] { return counter.load() == value; });
}

inline uint64_t restlessness(LoneEngine& engine) {
    const uint64_t before = engine.counters().loops.load();
    std::this_thread::sleep_for(std::chrono::milliseconds(500));
    return engine.counters().loops.load() - before;
}
inline constexpr uint64_t kRestful = 150;

}  // namespace qanat::dataplane::testing
