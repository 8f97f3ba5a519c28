#include "controlplane/handshake/node_traffic.h"

#include <gtest/gtest.h>

namespace qanat::controlplane {
namespace {

TEST(NodeTraffic, NewsIsWhatTheLastReportDidNotSay) {
    NodeTraffic traffic;
    ring::NodeStatsEntry entry{};
    entry.opened = 1;
    entry.rtt_us = 700;
    NodeTraffic::News news = traffic.take(0, entry);
    EXPECT_TRUE(news.opened);
    EXPECT_EQ(news.round_trip, std::chrono::microseconds(700));
    EXPECT_FALSE(news.punched.has_value());

    entry.failed = 1;
    news = traffic.take(0, entry);
    EXPECT_FALSE(news.opened);
    EXPECT_FALSE(news.round_trip.has_value()) << "the same sample";

    news = traffic.take(1, entry);
    EXPECT_TRUE(news.opened) << "by another engine";
}

TEST(NodeTraffic, OnePunchThatWorkedOutweighsThoseInVain) {
    NodeTraffic traffic;
    ring::NodeStatsEntry entry{};
    entry.punch_failed = 1;
    EXPECT_EQ(traffic.take(0, entry).punched, false);
    entry.punch_failed = 2;
    entry.punched = 1;
    EXPECT_EQ(traffic.take(0, entry).punched, true);
    EXPECT_FALSE(traffic.take(0, entry).punched.has_value());
}

TEST(NodeTraffic, CountsOutliveEnginesAndWhatWasUnderWayDoesNot) {
    NodeTraffic traffic;
    ring::NodeStatsEntry entry{};
    entry.opened = 10;
    entry.bytes_up = 100;
    entry.in_flight = 3;
    (void)traffic.take(0, entry);
    entry.opened = 2;
    entry.bytes_up = 5;
    (void)traffic.take(0, entry);  // it began anew
    EXPECT_EQ(traffic.sum().opened, 12u);
    EXPECT_EQ(traffic.sum().bytes_up, 105u);
    EXPECT_EQ(traffic.sum().in_flight, 3u);
    traffic.engines_ended();
    EXPECT_EQ(traffic.sum().opened, 12u);
    EXPECT_EQ(traffic.sum().in_flight, 0u);
}

}  // namespace
}  // namespace qanat::controlplane
