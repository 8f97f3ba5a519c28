#include "dataplane/engine/chunks.h"

#include <gtest/gtest.h>

#include <array>
#include <random>
#include <string>

namespace qanat::dataplane {
namespace {

std::string take(Backlog& backlog, ChunkPool& pool, size_t step) {
    std::string all;
    while (!backlog.empty()) {
        std::array<iovec, 3> pieces;
        const size_t pieces_count = backlog.pieces(pool, pieces);
        size_t left = step;
        for (size_t i = 0; i < pieces_count && left > 0; ++i) {
            const size_t count = std::min(pieces[i].iov_len, left);
            all.append(static_cast<const char*>(pieces[i].iov_base), count);
            left -= count;
        }
        backlog.consume(pool, step - left);
    }
    return all;
}

TEST(Backlog, ReturnsTheBytesInOrderAndTheChunks) {
    ChunkPool pool(16);
    for (size_t size : {size_t{1}, size_t{kChunkSize - 1}, size_t{kChunkSize}, size_t{kChunkSize + 1},
                        size_t{3 * kChunkSize}, size_t{3 * kChunkSize + 7}}) {
        std::string text(size, '\0');
        std::mt19937 random(static_cast<unsigned>(size));
        for (char& c : text) c = static_cast<char>(random());
        for (size_t step : {size_t{1000}, size_t{kChunkSize}, size_t{100'000}}) {
            Backlog backlog;
            const uint32_t at_most = Backlog::chunks_for(size);
            backlog.append(pool, reinterpret_cast<const uint8_t*>(text.data()), size);
            EXPECT_LE(pool.used(), at_most);
            EXPECT_EQ(backlog.size(), size);
            EXPECT_EQ(take(backlog, pool, step), text);
            EXPECT_EQ(pool.used(), 0u);
        }
    }
}

TEST(Backlog, AppendsBehindAPartlyConsumedFront) {
    ChunkPool pool(8);
    Backlog backlog;
    const std::string first(kChunkSize - 10, 'a');
    const std::string second(100, 'b');
    backlog.append(pool, reinterpret_cast<const uint8_t*>(first.data()), first.size());
    backlog.consume(pool, first.size() - 5);
    backlog.append(pool, reinterpret_cast<const uint8_t*>(second.data()), second.size());
    EXPECT_EQ(take(backlog, pool, 33), "aaaaa" + second);
    EXPECT_EQ(pool.used(), 0u);
}

TEST(Backlog, ClearReturnsEverything) {
    ChunkPool pool(8);
    Backlog backlog;
    const std::string text(5 * kChunkSize, 'x');
    backlog.append(pool, reinterpret_cast<const uint8_t*>(text.data()), text.size());
    backlog.clear(pool);
    EXPECT_TRUE(backlog.empty());
    EXPECT_EQ(pool.used(), 0u);
    backlog.clear(pool);
}

TEST(ChunkPool, CanBeUsedToTheLastChunk) {
    ChunkPool pool(3);
    const ChunkIndex a = pool.acquire();
    (void)pool.acquire();
    (void)pool.acquire();
    EXPECT_EQ(pool.available(), 0u);
    pool.release(a);
    EXPECT_EQ(pool.acquire(), a);
    EXPECT_DEATH((void)pool.acquire(), "broken invariant");
}

}  // namespace
}  // namespace qanat::dataplane
