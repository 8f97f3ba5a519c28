#include "dataplane/engine/slab.h"

#include <gtest/gtest.h>

#include <memory>
#include <set>
#include <vector>

namespace qanat::dataplane {
namespace {

TEST(Slab, GivesOutEverySlotOnceAndNoMore) {
    Slab<int> slab(3);
    std::set<int*> seen;
    for (int i = 0; i < 3; ++i) {
        int* value = slab.acquire(i);
        ASSERT_NE(value, nullptr);
        EXPECT_EQ(*value, i);
        EXPECT_TRUE(seen.insert(value).second);
    }
    EXPECT_TRUE(slab.full());
    EXPECT_EQ(slab.acquire(3), nullptr);
    slab.release(*seen.begin());
    EXPECT_NE(slab.acquire(4), nullptr);
    EXPECT_EQ(slab.acquire(5), nullptr);
}

TEST(Slab, AReleasedSlotIsNotFoundUnderItsOldGeneration) {
    Slab<int> slab(2);
    int* first = slab.acquire(1);
    const uint32_t index = slab.index_of(first);
    const uint16_t generation = slab.generation_of(first);
    EXPECT_EQ(slab.find(index, generation), first);
    EXPECT_EQ(slab.find(index + 1, generation), nullptr);
    EXPECT_EQ(slab.find(1000, 0), nullptr);
    slab.release(first);
    EXPECT_EQ(slab.find(index, generation), nullptr);
    int* second = slab.acquire(2);
    EXPECT_EQ(second, first);  // last used, first given out
    EXPECT_EQ(slab.find(index, generation), nullptr);
    EXPECT_EQ(slab.find(index, static_cast<uint16_t>(generation + 1)), second);
}

TEST(Slab, DestroysWhatIsInUseExactlyOnce) {
    auto counter = std::make_shared<int>(0);
    {
        Slab<std::shared_ptr<int>> slab(4);
        slab.acquire(counter);
        slab.release(slab.acquire(counter));
        EXPECT_EQ(counter.use_count(), 2);
    }
    EXPECT_EQ(counter.use_count(), 1);
}

TEST(Slab, OfCapacityZeroIsAlwaysFull) {
    Slab<int> slab(0);
    EXPECT_EQ(slab.acquire(1), nullptr);
}

}  // namespace
}  // namespace qanat::dataplane
