#include "dataplane/route/node_stats.h"

#include <gtest/gtest.h>

#include <map>

namespace qanat::dataplane {
namespace {

std::array<uint8_t, 32> id(uint8_t first) {
    return {first};
}

// All that is reported now, by node.
std::map<uint32_t, ring::NodeStatsEntry> report(NodeStats& stats, size_t parts_max = SIZE_MAX) {
    std::map<uint32_t, ring::NodeStatsEntry> entries;
    size_t parts = 0;
    stats.report([&](const ring::NodeStats& part) {
        if (parts++ == parts_max) return false;
        EXPECT_GT(part.count, 0U);
        for (size_t i = 0; i < part.entries.size(); ++i) {
            if (i < part.count) {
                EXPECT_TRUE(entries.emplace(part.entries[i].node, part.entries[i]).second) << "twice";
            } else {
                EXPECT_EQ(part.entries[i].node, 0U);
            }
        }
        return true;
    });
    return entries;
}

TEST(NodeStats, only_what_changed_is_reported) {
    NodeStats stats;
    EXPECT_FALSE(stats.changed());
    EXPECT_TRUE(report(stats).empty());
    stats.enter(7);
    stats.enter(7);
    stats.note_opened(7);
    stats.add_bytes(7, 100, 2000);
    stats.add_bytes(7, 1, 2);
    stats.note_failed(0);
    stats.park(ring::kPlanHopsMax - 1);
    EXPECT_TRUE(stats.changed());
    auto entries = report(stats);
    ASSERT_EQ(entries.size(), 3U);
    EXPECT_EQ(entries[7].in_flight, 2U);
    EXPECT_EQ(entries[7].opened, 1U);
    EXPECT_EQ(entries[7].bytes_up, 101U);
    EXPECT_EQ(entries[7].bytes_down, 2002U);
    EXPECT_EQ(entries[0].failed, 1U);
    EXPECT_EQ(entries[ring::kPlanHopsMax - 1].parked, 1U);
    EXPECT_FALSE(stats.changed());
    EXPECT_TRUE(report(stats).empty());

    stats.leave(7);
    stats.unpark(ring::kPlanHopsMax - 1);
    entries = report(stats);
    ASSERT_EQ(entries.size(), 2U);
    EXPECT_EQ(entries[7].in_flight, 1U);
    EXPECT_EQ(stats.in_flight(7), 1U);
    EXPECT_EQ(entries[7].opened, 1U);
    EXPECT_EQ(entries[ring::kPlanHopsMax - 1].parked, 0U);
}

TEST(NodeStats, a_full_ring_keeps_them_in_order) {
    NodeStats stats;
    for (uint32_t node = 0; node < 40; ++node) stats.note_opened(39 - node);
    auto entries = report(stats, 1);
    EXPECT_EQ(entries.size(), ring::kNodeStatsPerPart);
    EXPECT_TRUE(entries.contains(39) && entries.contains(24) && !entries.contains(23));
    stats.note_opened(39);  // again: behind those that wait
    stats.note_opened(0);
    EXPECT_TRUE(report(stats, 0).empty());
    entries = report(stats);
    EXPECT_EQ(entries.size(), 40U - ring::kNodeStatsPerPart + 1);
    EXPECT_EQ(entries[39].opened, 2U);
    EXPECT_EQ(entries[0].opened, 2U);
    EXPECT_FALSE(stats.changed());
}

TEST(NodeStats, every_node_at_once) {
    NodeStats stats;
    for (uint32_t node = 0; node < ring::kPlanHopsMax; ++node) stats.add_bytes(node, node, 0);
    const auto entries = report(stats);
    EXPECT_EQ(entries.size(), ring::kPlanHopsMax);
    for (const auto& [node, entry] : entries) EXPECT_EQ(entry.bytes_up, node);
}

TEST(NodeStats, round_trips) {
    NodeStats stats;
    EXPECT_EQ(stats.of(1).rtt_us, 0U);
    stats.note_rtt(1, 0);  // 0 would say that none was seen
    EXPECT_EQ(stats.of(1).rtt_us, 1U);
    stats.note_rtt(1, 1500);
    EXPECT_EQ(stats.of(1).rtt_us, 1500U);
    stats.note_rtt(1, uint64_t{1} << 40);
    EXPECT_EQ(stats.of(1).rtt_us, UINT32_MAX);
}

TEST(NodeStats, a_number_that_means_another_node_begins_at_0) {
    NodeStats stats;
    stats.identify(3, id(1));
    stats.enter(3);
    stats.park(3);
    stats.note_opened(3);
    stats.note_failed(3);
    stats.note_rtt(3, 5);
    stats.add_bytes(3, 1, 2);
    stats.identify(3, id(1));  // its next session
    EXPECT_EQ(stats.of(3).opened, 1U);
    stats.identify(3, id(2));
    const ring::NodeStatsEntry& entry = stats.of(3);
    EXPECT_EQ(entry.opened + entry.failed + entry.rtt_us + entry.bytes_up + entry.bytes_down, 0U);
    // What goes through the number now leaves it when it ends.
    EXPECT_EQ(entry.in_flight, 1U);
    EXPECT_EQ(entry.parked, 1U);
}

}  // namespace
}  // namespace qanat::dataplane
