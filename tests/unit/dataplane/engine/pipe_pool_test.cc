#include "dataplane/engine/pipe_pool.h"

#include <gtest/gtest.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <set>
#include <vector>

namespace qanat::dataplane {
namespace {

// Writes until the pipe is full or `size` bytes are in it.
size_t fill(const PipePool& pool, PipeIndex pipe, size_t size) {
    const std::vector<char> bytes(size, 'x');
    size_t written = 0;
    while (written < size) {
        const ssize_t count = ::write(pool.write_end(pipe), bytes.data(), size - written);
        if (count < 0) break;
        written += static_cast<size_t>(count);
    }
    return written;
}

bool is_empty(const PipePool& pool, PipeIndex pipe) {
    char byte;
    return ::read(pool.read_end(pipe), &byte, 1) == -1 && errno == EAGAIN;
}

TEST(PipePool, HandsOutEveryPipeOnceAndThenNone) {
    PipePool pool(3, 64 * 1024);
    ASSERT_EQ(pool.capacity(), 3u);
    std::set<PipeIndex> pipes;
    for (uint32_t left = 3; left > 0; --left) {
        EXPECT_EQ(pool.available(), left);
        const PipeIndex pipe = pool.acquire();
        ASSERT_LT(pipe, pool.capacity());
        EXPECT_EQ(pool.size(pipe), 64u * 1024);
        EXPECT_TRUE(is_empty(pool, pipe));
        pipes.insert(pipe);
    }
    EXPECT_EQ(pipes.size(), 3u);
    EXPECT_EQ(pool.acquire(), kNoPipe);
    pool.release(1);
    EXPECT_EQ(pool.available(), 1u);
    EXPECT_EQ(pool.acquire(), 1u);
    for (const PipeIndex pipe : pipes) pool.release(pipe);
    EXPECT_EQ(pool.available(), pool.capacity());
}

TEST(PipePool, TheLastOneBackIsTheFirstOneOut) {
    PipePool pool(4, 64 * 1024);
    const PipeIndex first = pool.acquire();
    const PipeIndex second = pool.acquire();
    pool.release(first);
    pool.release(second);
    EXPECT_EQ(pool.acquire(), second);
    EXPECT_EQ(pool.acquire(), first);
}

TEST(PipePool, WithoutPipesIsAPool) {
    PipePool pool(0, 256 * 1024);
    EXPECT_EQ(pool.capacity(), 0u);
    EXPECT_EQ(pool.acquire(), kNoPipe);
    EXPECT_EQ(pool.describe(), "0 pipes of 256 KiB");
}

TEST(PipePool, DiscardedPipesComeBackEmptyHoweverFullTheyWere) {
    PipePool pool(1, 128 * 1024);
    ASSERT_EQ(pool.capacity(), 1u);
    for (const size_t size : {0u, 1u, 16383u, 16384u, 16385u, 128u * 1024}) {
        const PipeIndex pipe = pool.acquire();
        ASSERT_EQ(fill(pool, pipe, size), size);
        pool.discard(pipe);
        ASSERT_EQ(pool.available(), 1u);
        ASSERT_TRUE(is_empty(pool, pipe)) << size;
        // And with its whole size.
        ASSERT_EQ(fill(pool, pool.acquire(), 128 * 1024), 128u * 1024);
        pool.discard(pipe);
    }
}

TEST(PipePool, SizesAreRoundedUpByTheKernel) {
    PipePool pool(1, 100'000);
    ASSERT_EQ(pool.capacity(), 1u);
    EXPECT_EQ(pool.size(0), 128u * 1024);
}

// These change what the whole process may have, so each runs in a process of its own. It says what the pool says.
[[noreturn]] void finish(const PipePool& pool, bool good) {
    std::fprintf(stderr, "%s", pool.describe().c_str());
    ::_exit(good ? 0 : 1);
}

[[noreturn]] void run_out_of_descriptors() {
    const rlimit few{.rlim_cur = 64, .rlim_max = 64};
    ::setrlimit(RLIMIT_NOFILE, &few);
    const PipePool pool(100, 64 * 1024);
    finish(pool, pool.capacity() > 0 && pool.capacity() <= 32 && pool.available() == pool.capacity());
}

// A user without privileges, and without any other process.
void become_nobody_else() {
    constexpr uid_t kNobodyElse = 64'999;
    if (::setresuid(kNobodyElse, kNobodyElse, kNobodyElse) != 0) ::_exit(2);
}

[[noreturn]] void use_up_the_share(uint32_t whole_share) {
    become_nobody_else();
    const PipePool other(1, 64 * 1024);  // one of full size does not fit any more
    PipePool pool(whole_share + 1, 1 << 20);
    std::vector<uint32_t> sizes(pool.capacity());
    for (uint32_t& size : sizes) size = pool.size(pool.acquire());
    const auto full = std::count(sizes.begin(), sizes.end(), 1u << 20);
    const auto smaller = std::count(sizes.begin(), sizes.end(), PipePool::kPipeBytesMin);
    finish(pool, full == std::ptrdiff_t{whole_share} - 1 && smaller == 2);
}

[[noreturn]] void want_more_than_the_share(uint32_t whole_share) {
    become_nobody_else();
    const PipePool all(whole_share, 1 << 20);
    const PipePool none(1, 1 << 20);
    finish(none, all.capacity() == whole_share && none.capacity() == 0);
}

TEST(PipePool, WithoutDescriptorsItHasWhatItGot) {
    EXPECT_EXIT(run_out_of_descriptors(), ::testing::ExitedWithCode(0), "of 100 pipes of 64 KiB: Too many open files");
}

TEST(PipePool, BeyondTheUsersShareItUsesWhatIsThere) {
    if (::geteuid() != 0) GTEST_SKIP() << "needs a user whose share nobody else uses";
    uint32_t pages = 0;
    std::ifstream("/proc/sys/fs/pipe-user-pages-soft") >> pages;
    const uint32_t whole_share = pages / 256;  // pipes of 1 MiB
    if (whole_share < 2 || whole_share > 400 || pages % 256 != 0) GTEST_SKIP() << "the share is " << pages << " pages";
    EXPECT_EXIT(use_up_the_share(whole_share), ::testing::ExitedWithCode(0),
                "2 of them only 64 KiB .fs.pipe-user-pages-soft");
    EXPECT_EXIT(want_more_than_the_share(whole_share), ::testing::ExitedWithCode(0),
                "none of 1 pipes of 1024 KiB: Operation not permitted .fs.pipe-user-pages-soft");
}

}  // namespace
}  // namespace qanat::dataplane
