// Many streams at once whose ends do anything at any time, over few buffers, while sessions come and go. Whatever
// happens: no byte is wrong, an end of file means that everything came, and at the end nothing is left over.

#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <array>
#include <atomic>
#include <chrono>
#include <memory>
#include <mutex>
#include <random>
#include <thread>
#include <vector>

#include "tests/support/engine_pair.h"
#include "tests/support/sockets.h"

namespace qanat::dataplane {
namespace {

using testing::EnginePair;
using testing::LoneEngine;
using namespace std::chrono_literals;
using Clock = std::chrono::steady_clock;
using Random = std::mt19937;

void limit_waits(int fd, int milliseconds) {
    const timeval limit{.tv_sec = 0, .tv_usec = milliseconds * 1000};
    ::setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
    ::setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit);
}

UniqueFd connect_to(uint16_t port) {
    UniqueFd fd(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    const sockaddr_in address = ::qanat::testing::loopback_address(port);
    if (::connect(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) fd.reset();
    return fd;
}

// What one end of a stream has sent; read by the other end.
struct Sent {
    std::atomic<uint64_t> bytes{0};
    std::atomic<bool> finished{false};  // set before the end is told cleanly
};

struct Ends {
    std::array<Sent, 2> sent;  // 0 = application, 1 = target
};

class Registry {
public:
    std::pair<uint32_t, std::shared_ptr<Ends>> make() {
        const std::scoped_lock lock(mutex_);
        all_.push_back(std::make_shared<Ends>());
        return {static_cast<uint32_t>(all_.size() - 1), all_.back()};
    }
    std::shared_ptr<Ends> find(uint32_t id) {
        const std::scoped_lock lock(mutex_);
        return id < all_.size() ? all_[id] : nullptr;
    }

private:
    std::mutex mutex_;
    std::vector<std::shared_ptr<Ends>> all_;
};

struct Tally {
    std::atomic<uint64_t> wrong_bytes{0};
    std::atomic<uint64_t> false_ends{0};
    std::atomic<uint64_t> true_ends{0};
    std::atomic<uint64_t> resets{0};
    std::atomic<uint64_t> opened{0};
};

constexpr char pattern(uint64_t offset, size_t side) {
    return static_cast<char>(offset * 167 + offset / 251 + side * 91);
}

// One end at work: a few random acts, then an end of some kind.
void play(UniqueFd fd, Ends& ends, size_t side, Random& random, Tally& tally) {
    limit_waits(fd.get(), 60);
    Sent& mine = ends.sent[side];
    Sent& theirs = ends.sent[1 - side];
    uint64_t sent = 0;
    uint64_t received = 0;
    bool may_send = true;
    bool may_read = true;
    std::vector<char> buffer(1 << 18);
    const auto pick = [&](uint32_t below) { return static_cast<uint32_t>(random() % below); };
    const auto read_some = [&](size_t most) {
        const ssize_t count = ::recv(fd.get(), buffer.data(), most, 0);
        if (count > 0) {
            for (ssize_t i = 0; i < count; ++i)
                if (buffer[static_cast<size_t>(i)] != pattern(received + static_cast<uint64_t>(i), 1 - side))
                    ++tally.wrong_bytes;
            received += static_cast<uint64_t>(count);
        } else if (count == 0) {
            may_read = false;
            // `bytes` does not move any more once `finished` is set.
            const bool whole = theirs.finished.load() && theirs.bytes.load() == received;
            ++(whole ? tally.true_ends : tally.false_ends);
        } else if (errno == ECONNRESET) {
            may_read = may_send = false;
            ++tally.resets;
        }
        return count > 0;
    };
    const auto finish_sending = [&] {
        mine.finished.store(true);
        may_send = false;
    };
    for (uint32_t acts = 3 + pick(20); acts > 0 && (may_send || may_read); --acts) {
        switch (pick(9)) {
            case 0:
            case 1:
            case 2:
            case 3: {
                if (!may_send) break;
                const size_t size = pick(3) == 0 ? 1 + pick(1 << 18) : 1 + pick(400);
                for (size_t i = 0; i < size; ++i) buffer[i] = pattern(sent + i, side);
                const ssize_t count = ::send(fd.get(), buffer.data(), size, MSG_NOSIGNAL);
                if (count > 0) {
                    sent += static_cast<uint64_t>(count);
                    mine.bytes.store(sent);
                } else if (errno != EAGAIN) {  // the reset was told here; what recv() says from now on means nothing
                    may_read = may_send = false;
                    ++tally.resets;
                }
                break;
            }
            case 4:
            case 5:
            case 6:
                for (uint32_t reads = 1 + pick(6); reads > 0 && may_read; --reads)
                    if (!read_some(1 + pick(1 << 16))) break;
                break;
            case 7:
                std::this_thread::sleep_for(std::chrono::milliseconds(pick(40)));
                break;
            default:
                if (may_send && pick(3) == 0) {
                    finish_sending();
                    ::shutdown(fd.get(), SHUT_WR);
                }
        }
    }
    switch (pick(4)) {
        case 0: {  // reset
            const linger now{.l_onoff = 1, .l_linger = 0};
            ::setsockopt(fd.get(), SOL_SOCKET, SO_LINGER, &now, sizeof now);
            break;
        }
        case 1:  // close, whatever is unread
            if (may_send) finish_sending();
            break;
        default:  // to the end
            if (may_send) {
                finish_sending();
                ::shutdown(fd.get(), SHUT_WR);
            }
            for (const auto end = Clock::now() + 2s; may_read && Clock::now() < end;) read_some(buffer.size());
    }
}

void application(EnginePair& pair, uint16_t target_port, Registry& registry, Random& random, Tally& tally) {
    UniqueFd fd = connect_to(pair.socks_port);
    if (!fd) return;
    limit_waits(fd.get(), 900);
    if (random() % 16 == 0) {  // no SOCKS at all, or half of it
        (void)::send(fd.get(), "\x05\x01\x00\x05\x01", 1 + random() % 5, MSG_NOSIGNAL);
        return;
    }
    if (random() % 16 == 0) target_port = 1;  // nobody there
    const auto [id, ends] = registry.make();
    std::string hello("\x05\x01\x00\x05\x01\x00\x01\x7f\x00\x00\x01", 11);
    hello.push_back(static_cast<char>(target_port >> 8));
    hello.push_back(static_cast<char>(target_port & 0xff));
    std::string name(4, '\0');
    std::memcpy(name.data(), &id, 4);
    const bool early = random() % 2 == 0;
    if (early) hello += name;
    (void)::send(fd.get(), hello.data(), hello.size(), MSG_NOSIGNAL);
    Sent& mine = ends->sent[0];
    std::array<char, 12> reply;
    if (random() % 16 == 0 ||  // gone before the answer
        ::recv(fd.get(), reply.data(), reply.size(), MSG_WAITALL) != 12 || reply[3] != 0 ||
        (!early && ::send(fd.get(), name.data(), name.size(), MSG_NOSIGNAL) != 4)) {
        mine.finished.store(true);
        return;
    }
    ++tally.opened;
    play(std::move(fd), *ends, 0, random, tally);
}

void target(int listener, Registry& registry, Random& random, Tally& tally) {
    UniqueFd fd(::accept4(listener, nullptr, nullptr, SOCK_CLOEXEC));
    if (!fd) return;
    limit_waits(fd.get(), 900);
    uint32_t id = 0;
    ssize_t got = -1;
    for (int tries = 0; tries < 6 && got < 0 && (tries == 0 || errno == EAGAIN); ++tries)
        got = ::recv(fd.get(), &id, sizeof id, MSG_WAITALL);
    if (got != sizeof id) return;
    if (const auto ends = registry.find(id)) play(std::move(fd), *ends, 1, random, tally);
}

// Outsiders on the tunnel port.
void outsider(EnginePair& pair, Random& random) {
    UniqueFd fd = connect_to(pair.tunnel_port);
    if (!fd) return;
    std::string said(random() % 700, '\0');
    for (char& c : said) c = static_cast<char>(random());
    if (random() % 2 == 0) said.insert(0, "\x17\x03\x03\x00\x30", 5);
    if (random() % 4 == 0) said.insert(0, 1, '\x01');
    (void)::send(fd.get(), said.data(), said.size(), MSG_NOSIGNAL);
    std::this_thread::sleep_for(std::chrono::milliseconds(random() % 30));
}

void expect_nothing_left(LoneEngine& engine, const char* name) {
    const ring::EngineCounters& counters = engine.counters();
    const auto clean = [&] {
        return counters.streams_active.load() == 0 && counters.buffers_used.load() == 0 &&
               counters.unauthenticated_active.load() == 0 && counters.control_connections.load() == 0;
    };
    for (const auto end = Clock::now() + 20s; Clock::now() < end && !clean();) std::this_thread::sleep_for(10ms);
    EXPECT_EQ(counters.streams_active.load(), 0u) << name;
    EXPECT_EQ(counters.buffers_used.load(), 0u) << name;
    EXPECT_EQ(counters.unauthenticated_active.load(), 0u) << name;
    const uint64_t loops = counters.loops.load();
    std::this_thread::sleep_for(500ms);
    EXPECT_LE(counters.loops.load() - loops, 100u) << name << " does not rest";
}

class Chaos : public ::testing::TestWithParam<uint32_t> {};

TEST_P(Chaos, NothingIsWrongAndNothingIsLeft) {
    constexpr size_t kActors = 20;
    const uint32_t chunks = GetParam() % 2 == 0 ? 12 : 80;
    const uint32_t pool_max = GetParam() == 1 ? 0 : 8;
    EnginePair pair(crypto::Suite::aes_128_gcm, testing::small_limits(), chunks);
    pair.client.tell(
        ring::Settings{.stream_events = 0, .zero = {}, .pool_max = pool_max, .pool_min_rtt_us = 0, .zero2 = 0});
    UniqueFd listener(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    sockaddr_in address = ::qanat::testing::loopback_address(0);
    socklen_t size = sizeof address;
    ASSERT_EQ(::bind(listener.get(), reinterpret_cast<const sockaddr*>(&address), size), 0);
    ASSERT_EQ(::listen(listener.get(), 512), 0);
    ASSERT_EQ(::getsockname(listener.get(), reinterpret_cast<sockaddr*>(&address), &size), 0);
    limit_waits(listener.get(), 100);
    const uint16_t target_port = ntohs(address.sin_port);

    Registry registry;
    Tally tally;
    std::atomic<bool> over{false};
    std::atomic<bool> targets_over{false};
    std::vector<std::thread> applications;
    std::vector<std::thread> targets;
    for (uint32_t i = 0; i < kActors; ++i) {
        applications.emplace_back([&, i] {
            Random random(GetParam() * 1000 + i);
            while (!over) i == 0 ? outsider(pair, random) : application(pair, target_port, registry, random, tally);
        });
        targets.emplace_back([&, i] {
            Random random(GetParam() * 1000 + 500 + i);
            while (!targets_over) target(listener.get(), registry, random, tally);
        });
    }
    uint64_t session = 1001;
    for (const auto end = Clock::now() + 4s; Clock::now() < end;) {
        std::this_thread::sleep_for(40ms);
        pair.install_session(++session);
        pair.client.tell(ring::RemoveSession{.session_id = session - 1, .node_lost = 0, .zero = {}});
        if (session >= 1005) pair.exit.tell(ring::RemoveSession{.session_id = session - 4, .node_lost = 0, .zero = {}});
    }
    over = true;
    for (std::thread& thread : applications) thread.join();
    targets_over = true;
    for (std::thread& thread : targets) thread.join();
    listener.reset();

    EXPECT_EQ(pair.client.counters().pool_hits > 0, pool_max > 0);
    expect_nothing_left(pair.client, "client");
    expect_nothing_left(pair.exit, "exit");
    EXPECT_EQ(tally.wrong_bytes, 0u);
    EXPECT_EQ(tally.false_ends, 0u);
    EXPECT_GT(tally.opened, 20u);
    EXPECT_GT(tally.true_ends, 20u);
    EXPECT_GT(tally.resets, 0u);
}

INSTANTIATE_TEST_SUITE_P(Seeds, Chaos, ::testing::Values(1u, 2u, 3u));

}  // namespace
}  // namespace qanat::dataplane
