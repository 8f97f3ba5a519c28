#include "common/wire/replay_window.h"

#include <gtest/gtest.h>

#include <array>
#include <random>
#include <set>
#include <thread>
#include <vector>

namespace qanat::wire {
namespace {

struct Window {
    std::vector<uint64_t> storage;
    ReplayWindow window;

    explicit Window(uint32_t size) : storage(ReplayWindow::words_for(size), ~uint64_t{0}), window(storage, size) {}
};

// Section 4 in so many words.
class Model {
public:
    explicit Model(uint64_t window) : window_(window) {}

    bool fresh(uint64_t no) const { return !(any_ && no < top_ && top_ - no >= window_) && !used_.contains(no); }
    bool test_and_set(uint64_t no) {
        if (!fresh(no)) return false;
        used_.insert(no);
        top_ = any_ ? std::max(top_, no) : no;
        any_ = true;
        return true;
    }
    uint64_t top() const { return top_; }

private:
    uint64_t window_;
    uint64_t top_ = 0;
    bool any_ = false;
    std::set<uint64_t> used_;
};

TEST(ReplayWindow, StorageSizes) {
    EXPECT_EQ(ReplayWindow::words_for(64), 2u);
    EXPECT_EQ(ReplayWindow::words_for(128), 4u);
    EXPECT_EQ(ReplayWindow::words_for(192), 4u);
    EXPECT_EQ(ReplayWindow::words_for(256), 8u);
    EXPECT_EQ(ReplayWindow::words_for(65536), 2048u);
    EXPECT_DEATH((void)ReplayWindow::words_for(0), "broken invariant");
    EXPECT_DEATH((void)ReplayWindow::words_for(65), "broken invariant");
    std::vector<uint64_t> small(1);
    EXPECT_DEATH(ReplayWindow(small, 64), "broken invariant");
}

TEST(ReplayWindow, EachNumberOnce) {
    Window w(64);
    for (uint64_t no = 0; no < 1000; ++no) {
        ASSERT_TRUE(w.window.check(no));
        ASSERT_TRUE(w.window.test_and_set(no));
        ASSERT_FALSE(w.window.check(no));
        ASSERT_FALSE(w.window.test_and_set(no));
    }
}

TEST(ReplayWindow, BothEdges) {
    for (const uint32_t size : {64u, 128u, 192u, 256u, 4096u}) {
        // The top at every place in a word.
        for (uint64_t top = size + 1000; top < size + 1000 + 64; ++top) {
            Window w(size);
            ASSERT_TRUE(w.window.test_and_set(top));
            ASSERT_FALSE(w.window.test_and_set(top - size));
            ASSERT_TRUE(w.window.test_and_set(top - size + 1));
            ASSERT_FALSE(w.window.test_and_set(top - size + 1));
            // A step up moves exactly that number out.
            ASSERT_TRUE(w.window.test_and_set(top + 1));
            ASSERT_FALSE(w.window.check(top - size + 1));
            ASSERT_TRUE(w.window.check(top - size + 2));
        }
    }
}

TEST(ReplayWindow, JumpsForgetNothingInsideAndKeepNothingStale) {
    for (const uint64_t jump : {uint64_t{1}, uint64_t{63}, uint64_t{64}, uint64_t{65}, uint64_t{127}, uint64_t{128},
                                uint64_t{129}, uint64_t{255}, uint64_t{256}, uint64_t{257}, uint64_t{100000}}) {
        Window w(128);
        Model model(128);
        for (uint64_t no = 500; no < 640; ++no) ASSERT_EQ(w.window.test_and_set(no), model.test_and_set(no));
        ASSERT_EQ(w.window.test_and_set(639 + jump), model.test_and_set(639 + jump));
        for (uint64_t no = 300; no < 639 + jump + 10; ++no) ASSERT_EQ(w.window.check(no), model.fresh(no)) << jump;
    }
}

TEST(ReplayWindow, TheLargestNumbers) {
    Window w(64);
    EXPECT_TRUE(w.window.test_and_set(0));
    EXPECT_TRUE(w.window.test_and_set(UINT64_MAX));
    EXPECT_FALSE(w.window.test_and_set(UINT64_MAX));
    EXPECT_FALSE(w.window.test_and_set(0));
    EXPECT_FALSE(w.window.test_and_set(UINT64_MAX - 64));
    EXPECT_TRUE(w.window.test_and_set(UINT64_MAX - 63));
}

TEST(ReplayWindow, AgreesWithTheModel) {
    for (const uint32_t size : {64u, 128u, 192u, 320u, 1024u}) {
        for (uint64_t seed = 0; seed < 20; ++seed) {
            std::mt19937_64 random(seed * 1000 + size);
            Window w(size);
            Model model(size);
            for (int i = 0; i < 3000; ++i) {
                uint64_t no = 0;
                switch (random() % 8) {
                    case 0:
                        no = model.top() + random() % (3 * size);
                        break;  // ahead, sometimes by more than the ring
                    case 1:
                        no = model.top() - std::min(model.top(), random() % (2 * size));
                        break;  // around the far edge
                    case 2:
                        no = model.top() + 1 - std::min(model.top() + 1, uint64_t{size});
                        break;  // the far edge
                    case 3:
                        no = model.top() - std::min(model.top(), uint64_t{size});
                        break;  // one behind it
                    default:
                        no = model.top() + 8 - std::min(model.top() + 8, random() % 16);
                        break;  // about in order
                }
                ASSERT_EQ(w.window.check(no), model.fresh(no)) << size << " " << seed << " " << i;
                ASSERT_EQ(w.window.test_and_set(no), model.test_and_set(no)) << size << " " << seed << " " << i;
            }
        }
    }
}

TEST(ReplayWindow, TwoThreadsGetEachNumberOnce) {
    constexpr uint64_t kNumbers = 100'000;
    Window w(65536 * 2);
    std::vector<uint8_t> wins[2] = {std::vector<uint8_t>(kNumbers), std::vector<uint8_t>(kNumbers)};
    const auto work = [&w](std::vector<uint8_t>& won) {
        for (uint64_t no = 0; no < kNumbers; ++no) won[no] = w.window.test_and_set(no) ? 1 : 0;
    };
    std::thread other(work, std::ref(wins[0]));
    work(wins[1]);
    other.join();
    for (uint64_t no = 0; no < kNumbers; ++no) ASSERT_EQ(wins[0][no] + wins[1][no], 1) << no;
}

}  // namespace
}  // namespace qanat::wire
