#include "dataplane/route/versioned_parts.h"

#include <gmock/gmock.h>

namespace qanat::dataplane {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

class VersionedPartsTest : public testing::Test {
protected:
    PartOutcome accept(uint32_t version, uint32_t total, uint32_t first, std::vector<int> items) {
        return parts_.accept(version, total, first, items);
    }
    std::vector<int> items() const { return {parts_.items().begin(), parts_.items().end()}; }

    VersionedParts<int> parts_{6};
};

TEST_F(VersionedPartsTest, empty_at_first) {
    EXPECT_THAT(items(), IsEmpty());
    EXPECT_EQ(parts_.version(), 0U);
}

TEST_F(VersionedPartsTest, takes_effect_when_whole) {
    EXPECT_EQ(accept(1, 2, 0, {1, 2}), PartOutcome::complete);
    EXPECT_EQ(accept(2, 5, 0, {3, 4}), PartOutcome::stored);
    EXPECT_EQ(accept(2, 5, 2, {5, 6}), PartOutcome::stored);
    EXPECT_THAT(items(), ElementsAre(1, 2));
    EXPECT_EQ(parts_.version(), 1U);
    EXPECT_EQ(accept(2, 5, 4, {7}), PartOutcome::complete);
    EXPECT_THAT(items(), ElementsAre(3, 4, 5, 6, 7));
    EXPECT_EQ(parts_.version(), 2U);
}

TEST_F(VersionedPartsTest, an_empty_list_is_whole_at_once) {
    EXPECT_EQ(accept(1, 1, 0, {1}), PartOutcome::complete);
    EXPECT_EQ(accept(2, 0, 0, {}), PartOutcome::complete);
    EXPECT_THAT(items(), IsEmpty());
    EXPECT_EQ(parts_.version(), 2U);
}

TEST_F(VersionedPartsTest, capacity_edges) {
    EXPECT_EQ(accept(1, 5, 0, {1, 2, 3, 4, 5}), PartOutcome::complete);
    EXPECT_EQ(accept(2, 6, 0, {1, 2, 3, 4, 5, 6}), PartOutcome::complete);
    EXPECT_EQ(accept(3, 7, 0, {1, 2, 3, 4, 5, 6, 7}), PartOutcome::invalid);
    EXPECT_EQ(accept(3, 7, 0, {1}), PartOutcome::invalid);
    EXPECT_EQ(items().size(), 6U);
}

TEST_F(VersionedPartsTest, stale) {
    EXPECT_EQ(accept(5, 1, 0, {5}), PartOutcome::complete);
    EXPECT_EQ(accept(5, 1, 0, {50}), PartOutcome::stale);
    EXPECT_EQ(accept(4, 1, 0, {4}), PartOutcome::stale);
    EXPECT_EQ(accept(0, 0, 0, {}), PartOutcome::stale);
    EXPECT_THAT(items(), ElementsAre(5));
    EXPECT_EQ(accept(6, 1, 0, {6}), PartOutcome::complete);
}

TEST_F(VersionedPartsTest, a_stale_part_does_not_disturb_the_list_begun) {
    EXPECT_EQ(accept(5, 1, 0, {5}), PartOutcome::complete);
    EXPECT_EQ(accept(6, 2, 0, {6}), PartOutcome::stored);
    EXPECT_EQ(accept(5, 1, 0, {5}), PartOutcome::stale);
    EXPECT_EQ(accept(6, 2, 1, {7}), PartOutcome::complete);
}

TEST_F(VersionedPartsTest, out_of_order) {
    EXPECT_EQ(accept(1, 3, 1, {2}), PartOutcome::out_of_order);  // no beginning
    EXPECT_EQ(accept(1, 3, 0, {1}), PartOutcome::stored);
    EXPECT_EQ(accept(1, 3, 2, {3}), PartOutcome::out_of_order);  // one left out
    EXPECT_EQ(accept(1, 3, 1, {2}), PartOutcome::out_of_order);  // the list begun is gone
    EXPECT_EQ(accept(1, 3, 0, {1}), PartOutcome::stored);
    EXPECT_EQ(accept(2, 3, 1, {2}), PartOutcome::out_of_order);  // another version
    EXPECT_EQ(accept(1, 3, 0, {1}), PartOutcome::stored);
    EXPECT_EQ(accept(1, 4, 1, {2}), PartOutcome::out_of_order);  // another total
    EXPECT_THAT(items(), IsEmpty());
}

TEST_F(VersionedPartsTest, a_first_part_begins_anew) {
    EXPECT_EQ(accept(1, 3, 0, {1, 2}), PartOutcome::stored);
    EXPECT_EQ(accept(1, 3, 0, {7, 8}), PartOutcome::stored);
    EXPECT_EQ(accept(2, 2, 0, {9}), PartOutcome::stored);
    EXPECT_EQ(accept(2, 2, 1, {10}), PartOutcome::complete);
    EXPECT_THAT(items(), ElementsAre(9, 10));
}

TEST_F(VersionedPartsTest, numbers_that_contradict_each_other) {
    EXPECT_EQ(accept(1, 2, 0, {1, 2, 3}), PartOutcome::invalid);
    EXPECT_EQ(accept(1, 2, 0, {}), PartOutcome::invalid);
    EXPECT_EQ(accept(1, 2, 0, {1}), PartOutcome::stored);
    EXPECT_EQ(accept(1, 2, 1, {2, 3}), PartOutcome::invalid);
    EXPECT_EQ(accept(1, 2, 1, {2}), PartOutcome::out_of_order);
    EXPECT_EQ(accept(1, 2, 0xffffffff, {2}), PartOutcome::invalid);
    EXPECT_EQ(accept(1, 0, 0, {1}), PartOutcome::invalid);
}

TEST_F(VersionedPartsTest, versions_wrap) {
    EXPECT_EQ(accept(0xffffffff, 1, 0, {1}), PartOutcome::complete);
    EXPECT_EQ(accept(0xfffffffe, 1, 0, {1}), PartOutcome::stale);
    EXPECT_EQ(accept(0, 1, 0, {2}), PartOutcome::complete);
    EXPECT_EQ(accept(0xffffffff, 1, 0, {1}), PartOutcome::stale);
    EXPECT_EQ(accept(1, 1, 0, {3}), PartOutcome::complete);
}

TEST_F(VersionedPartsTest, a_new_control_plane_may_count_from_anew) {
    EXPECT_EQ(accept(100, 1, 0, {1}), PartOutcome::complete);
    EXPECT_EQ(accept(101, 2, 0, {1}), PartOutcome::stored);
    parts_.accept_any_version();
    EXPECT_THAT(items(), ElementsAre(1));
    EXPECT_EQ(accept(101, 2, 1, {2}), PartOutcome::out_of_order);
    EXPECT_EQ(accept(1, 1, 0, {2}), PartOutcome::complete);
    EXPECT_EQ(accept(1, 1, 0, {3}), PartOutcome::stale);
    EXPECT_THAT(items(), ElementsAre(2));
}

TEST_F(VersionedPartsTest, never_allocates_again) {
    EXPECT_EQ(accept(1, 6, 0, {1, 2, 3, 4, 5, 6}), PartOutcome::complete);
    const int* const one = parts_.items().data();
    EXPECT_EQ(accept(2, 6, 0, {1, 2, 3, 4, 5, 6}), PartOutcome::complete);
    const int* const other = parts_.items().data();
    for (uint32_t version = 3; version < 50; ++version) {
        EXPECT_EQ(accept(version, 6, 0, {1, 2, 3}), PartOutcome::stored);
        EXPECT_EQ(accept(version, 6, 3, {1, 2, 3}), PartOutcome::complete);
        EXPECT_EQ(parts_.items().data(), version % 2 == 1 ? one : other);
    }
}

}  // namespace
}  // namespace qanat::dataplane
