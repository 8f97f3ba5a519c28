#include "controlplane/handshake/node_traffic.h"

namespace qanat::controlplane {
namespace {

void add_counts(NodeTraffic::Sum& sum, const ring::NodeStatsEntry& entry) {
    sum.opened += entry.opened;
    sum.failed += entry.failed;
    sum.bytes_up += entry.bytes_up;
    sum.bytes_down += entry.bytes_down;
    sum.punched += entry.punched;
    sum.punch_failed += entry.punch_failed;
}

}  // namespace

NodeTraffic::News NodeTraffic::take(uint32_t engine, const ring::NodeStatsEntry& entry) {
    ring::NodeStatsEntry& last = last_[engine];
    if (entry.opened < last.opened || entry.failed < last.failed) {  // the engine began anew
        add_counts(past_, last);
        last = {};
    }
    News news;
    news.opened = entry.opened > last.opened;
    if (entry.rtt_us != 0 && entry.rtt_us != last.rtt_us) news.round_trip = std::chrono::microseconds(entry.rtt_us);
    if (entry.punched > last.punched)
        news.punched = true;
    else if (entry.punch_failed > last.punch_failed && entry.punched == last.punched)
        news.punched = false;
    last = entry;
    return news;
}

void NodeTraffic::engines_ended() {
    for (const auto& [engine, entry] : last_) add_counts(past_, entry);
    last_.clear();
}

NodeTraffic::Sum NodeTraffic::sum() const {
    Sum sum = past_;
    for (const auto& [engine, entry] : last_) {
        add_counts(sum, entry);
        sum.in_flight += entry.in_flight;
        sum.parked += entry.parked;
    }
    return sum;
}

}  // namespace qanat::controlplane
