#include "dataplane/tunnel/retired_ids.h"

#include <gtest/gtest.h>

#include <random>

namespace qanat::dataplane {
namespace {

TEST(RetiredIds, knows_what_was_inserted_and_nothing_else) {
    RetiredIds ids(1000);
    std::mt19937_64 random(1);
    std::vector<uint64_t> inserted, other;
    for (int i = 0; i < 1000; ++i) {
        inserted.push_back(random() | 1);
        other.push_back(random() & ~uint64_t{1});
    }
    for (const uint64_t id : inserted) {
        EXPECT_FALSE(ids.contains(id));
        ids.insert(id);
        EXPECT_TRUE(ids.contains(id));
    }
    for (const uint64_t id : inserted) EXPECT_TRUE(ids.contains(id));
    for (const uint64_t id : other) EXPECT_FALSE(ids.contains(id) && id != 0);
}

TEST(RetiredIds, keeps_at_least_its_capacity) {
    for (const size_t capacity : {1U, 2U, 3U, 7U, 8U, 100U}) {
        RetiredIds ids(capacity);
        for (uint64_t id = 1; id <= 1000; ++id) {
            ids.insert(id);
            for (uint64_t last = id > capacity ? id - capacity + 1 : 1; last <= id; ++last)
                ASSERT_TRUE(ids.contains(last)) << capacity << ' ' << id << ' ' << last;
            if (id > 2 * capacity) {
                ASSERT_FALSE(ids.contains(id - 2 * capacity));
            }
        }
    }
}

TEST(RetiredIds, the_same_id_again_takes_no_room) {
    RetiredIds ids(2);
    ids.insert(1);
    for (int i = 0; i < 100; ++i) ids.insert(2);
    EXPECT_TRUE(ids.contains(1));
    EXPECT_TRUE(ids.contains(2));
}

TEST(RetiredIds, extreme_ids) {
    RetiredIds ids(4);
    for (const uint64_t id : {uint64_t{1}, ~uint64_t{0}, uint64_t{1} << 63, uint64_t{1} << 32}) ids.insert(id);
    for (const uint64_t id : {uint64_t{1}, ~uint64_t{0}, uint64_t{1} << 63, uint64_t{1} << 32})
        EXPECT_TRUE(ids.contains(id));
}

}  // namespace
}  // namespace qanat::dataplane
