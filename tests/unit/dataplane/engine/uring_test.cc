#include "dataplane/engine/uring.h"

#include <gtest/gtest.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>

#include "tests/support/sockets.h"

namespace qanat::dataplane {
namespace {

using ::qanat::testing::TestListener;
using ::qanat::testing::TestSocket;

constexpr uint64_t kLongNs = 5'000'000'000;

// Waits until at least one completion has come.
std::vector<Completion> completions(Uring& ring) {
    std::array<Completion, 8> batch;
    for (int attempt = 0; attempt < 100; ++attempt) {
        const size_t count = ring.wait(batch, kLongNs);
        if (count > 0) return {batch.begin(), batch.begin() + static_cast<ptrdiff_t>(count)};
    }
    return {};
}

TEST(Token, PacksEveryField) {
    const Token token{.kind = OpKind::dial, .lane = 0xab, .generation = 0xcdef, .slot = 0x12345678};
    const Token back = Token::unpack(token.pack());
    EXPECT_EQ(back.kind, token.kind);
    EXPECT_EQ(back.lane, token.lane);
    EXPECT_EQ(back.generation, token.generation);
    EXPECT_EQ(back.slot, token.slot);
}

TEST(Uring, ReportsReadinessOnceAndCancels) {
    Uring ring;
    ASSERT_TRUE(ring.open());
    int ends[2];
    ASSERT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, ends), 0);
    const Token token{.kind = OpKind::seal, .lane = 0, .generation = 1, .slot = 2};
    ring.poll(ends[0], POLLIN, token);
    std::array<Completion, 8> batch;
    EXPECT_EQ(ring.wait(batch, 0), 0u);
    ASSERT_EQ(::write(ends[1], "x", 1), 1);
    auto got = completions(ring);
    ASSERT_EQ(got.size(), 1u);
    EXPECT_EQ(got[0].token.slot, 2u);
    EXPECT_NE(got[0].result & POLLIN, 0);
    EXPECT_FALSE(got[0].more);

    char byte;
    ASSERT_EQ(::read(ends[0], &byte, 1), 1);
    ring.poll(ends[0], POLLIN, token);
    ring.cancel(token);
    got = completions(ring);
    ASSERT_EQ(got.size(), 1u);
    EXPECT_EQ(got[0].result, -ECANCELED);
    ::close(ends[0]);
    ::close(ends[1]);
}

TEST(Uring, AcceptsManyWithOneSubmission) {
    Uring ring;
    ASSERT_TRUE(ring.open());
    UniqueFd listener(::socket(AF_INET, SOCK_STREAM, 0));
    sockaddr_in address = ::qanat::testing::loopback_address(0);
    ASSERT_EQ(::bind(listener.get(), reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
    ASSERT_EQ(::listen(listener.get(), 16), 0);
    socklen_t size = sizeof address;
    ::getsockname(listener.get(), reinterpret_cast<sockaddr*>(&address), &size);
    ring.accept_multishot(listener.get(), {.kind = OpKind::accept, .lane = 0, .generation = 0, .slot = 0});
    for (int i = 0; i < 3; ++i) {
        TestSocket peer = TestSocket::connect(ntohs(address.sin_port));
        const auto got = completions(ring);
        ASSERT_EQ(got.size(), 1u);
        EXPECT_TRUE(got[0].more);
        ASSERT_GE(got[0].result, 0);
        ::close(got[0].result);
    }
}

// The kernel reports a FIN to every poll; a watch must get past it to the reset.
TEST(Uring, AWatchSeesTheResetBehindAFin) {
    Uring ring;
    ASSERT_TRUE(ring.open());
    TestListener listener;
    TestSocket peer = TestSocket::connect(listener.port());
    TestSocket ours = listener.accept();
    peer.shut_down();
    ring.watch(ours.fd(), {.kind = OpKind::watch, .lane = 0, .generation = 0, .slot = 5});
    bool reset_seen = false;
    peer.reset();
    for (int i = 0; i < 5 && !reset_seen; ++i)
        for (const Completion& completion : completions(ring)) reset_seen |= (completion.result & POLLERR) != 0;
    EXPECT_TRUE(reset_seen);
}

TEST(Uring, TakesMoreSubmissionsThanItsQueueHolds) {
    Uring ring;
    ASSERT_TRUE(ring.open());
    int ends[2];
    ASSERT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, ends), 0);
    ASSERT_EQ(::write(ends[1], "x", 1), 1);
    constexpr uint32_t kCount = 5000;
    for (uint32_t i = 0; i < kCount; ++i)
        ring.poll(ends[0], POLLIN, {.kind = OpKind::seal, .lane = 0, .generation = 0, .slot = i});
    uint32_t seen = 0;
    while (seen < kCount) {
        const auto got = completions(ring);
        ASSERT_FALSE(got.empty());
        seen += static_cast<uint32_t>(got.size());
    }
    EXPECT_EQ(seen, kCount);
    ::close(ends[0]);
    ::close(ends[1]);
}

}  // namespace
}  // namespace qanat::dataplane
