#include "dataplane/bootstrap/shares.h"

#include <gtest/gtest.h>

#include "dataplane/engine/chunks.h"
#include "dataplane/stream/services.h"

namespace qanat::dataplane {
namespace {

constexpr uint64_t kGiB = uint64_t{1} << 30;

ring::DataPlaneLimits limits() {
    return {.streams = 1000,
            .sessions = 100,
            .unauthenticated = 64,
            .buffer_memory_mb = 0,
            .handshake_timeout_ms = 1,
            .connect_timeout_ms = 1,
            .resolve_timeout_ms = 1};
}

TEST(Shares, EnginesShareStreamsAndKnowAllSessions) {
    for (uint32_t engines : {1u, 2u, 3u, 64u}) {
        const Shares shares = divide(limits(), engines, 1'000'000, 4 * kGiB);
        EXPECT_EQ(shares.streams, 1000u);
        EXPECT_GE(shares.engine.streams * engines, 1000u);
        EXPECT_LT(shares.engine.streams * engines, 1000u + engines);
        EXPECT_EQ(shares.engine.sessions, 100u);
        EXPECT_GE(shares.engine.unauthenticated, 1u);
    }
}

TEST(Shares, TwoDescriptorsAStreamInEachEnginesTable) {
    EXPECT_EQ(divide(limits(), 1, 1064, 4 * kGiB).streams, 500u);
    EXPECT_EQ(divide(limits(), 2, 1064, 4 * kGiB).streams, 1000u);
    EXPECT_EQ(divide(limits(), 1, 2064, 4 * kGiB).streams, 1000u);
    EXPECT_GE(divide(limits(), 1, 3, 4 * kGiB).streams, 1u);
}

TEST(Shares, ARelayHasPipesUnlessDescriptorsAreScarce) {
    EXPECT_EQ(divide(limits(), 1, 100'000, 4 * kGiB).pipes, 0u);
    EXPECT_EQ(divide(limits(), 1, 100'000, 4 * kGiB, true).pipes, 64u);
    // Two for its inbox, an eighth for pipes, the rest for streams.
    const Shares scarce = divide(limits(), 1, 64 + 2 + 480, 4 * kGiB, true);
    EXPECT_EQ(scarce.pipes, 30u);
    EXPECT_EQ(scarce.streams, 210u);
    EXPECT_GE(divide(limits(), 64, 3, 4 * kGiB, true).streams, 1u);
    EXPECT_EQ(divide(limits(), 2, 100'000, 4 * kGiB, true).memory_budget,
              divide(limits(), 2, 100'000, 4 * kGiB).memory_budget + 2 * 64 * RelayRole::kPipeBytes);
}

TEST(Shares, BufferMemoryIsAQuarterOfTheMachineWithinBounds) {
    const auto mib_of = [](uint64_t memory) {
        return uint64_t{divide(limits(), 1, 100'000, memory).chunks} * kChunkSize >> 20;
    };
    EXPECT_EQ(mib_of(kGiB), 255u);  // 256 MiB, less than a chunk left over
    EXPECT_EQ(mib_of(64 * kGiB), 1023u);
    EXPECT_GE(divide(limits(), 64, 100'000, 0).chunks, 64u);
}

TEST(Shares, TheBudgetGrowsWithEveryCap) {
    const uint64_t base = divide(limits(), 2, 1'000'000, kGiB).memory_budget;
    auto more = limits();
    more.streams *= 2;
    EXPECT_GT(divide(more, 2, 1'000'000, kGiB).memory_budget, base);
    more = limits();
    more.buffer_memory_mb = 512;
    EXPECT_GT(divide(more, 2, 1'000'000, kGiB).memory_budget, base);
}

}  // namespace
}  // namespace qanat::dataplane
