#include "dataplane/engine/list.h"

#include <gtest/gtest.h>

#include <vector>

namespace qanat::dataplane {
namespace {

struct Item {
    int value = 0;
    ListHook<Item> hook;
};
using Items = List<Item, &Item::hook>;

std::vector<int> values(const Items& items) {
    std::vector<int> all;
    for (Item* item = items.front(); item != nullptr; item = Items::next(*item)) all.push_back(item->value);
    return all;
}

TEST(List, KeepsOrderThroughRemovalsAtEveryPlace) {
    for (int removed = 0; removed < 3; ++removed) {
        Items items;
        std::vector<Item> storage(3);
        std::vector<int> expected;
        for (int i = 0; i < 3; ++i) {
            storage[static_cast<size_t>(i)].value = i;
            items.push_back(storage[static_cast<size_t>(i)]);
            if (i != removed) expected.push_back(i);
        }
        items.remove(storage[static_cast<size_t>(removed)]);
        EXPECT_FALSE(Items::linked(storage[static_cast<size_t>(removed)]));
        items.remove(storage[static_cast<size_t>(removed)]);  // no effect
        EXPECT_EQ(values(items), expected);
        items.push_back(storage[static_cast<size_t>(removed)]);
        expected.push_back(removed);
        EXPECT_EQ(values(items), expected);
        while (items.pop_front() != nullptr) {
        }
        EXPECT_TRUE(items.empty());
    }
}

}  // namespace
}  // namespace qanat::dataplane
