// Runs every pure part a fixed number of times, for perf/check-instructions: under callgrind the instructions of each
// part_… function, divided by its calls, are exact and the same on every machine, however busy it is.
//
// The record part's cipher is left out of its count by the script: which code runs inside it depends on the processor,
// and valgrind shows programs a processor without AVX-512 and SHA.
#include <cstdint>
#include <cstdio>

#include "perf/micro/parts.h"

namespace qanat::perf {
namespace {

constexpr int kCalls = 200;
volatile uint64_t sink = 0;

template <class F>
void repeat(const F& once) {
    for (int n = 0; n < kCalls; ++n) sink = sink + once();
}

}  // namespace

// External linkage and never inlined: callgrind finds them by name.
#define PART [[gnu::noinline]] void
PART part_socks_by_name() {
    repeat(socks_by_name);
}
PART part_socks_byte_by_byte() {
    repeat(socks_byte_by_byte);
}
PART part_address_round() {
    repeat(address_round);
}
PART part_stream_messages() {
    repeat(stream_messages);
}
PART part_key_schedule() {
    repeat(key_schedule);
}
PART part_replay_window(ReplayStep& step) {
    repeat([&] { return step.step(); });
}
PART part_ring_64(RingPass& ring) {
    repeat([&] { return ring.pass(); });
}
PART part_ring_1008(RingPass& ring) {
    repeat([&] { return ring.pass(); });
}
PART part_record_framing(RecordPair& pair) {
    repeat([&] { return uint64_t{pair.seal()} + pair.open(); });
}
PART part_pick_random_1(PlanPick& plan) {
    repeat([&] { return plan.pick(); });
}
PART part_pick_random_100(PlanPick& plan) {
    repeat([&] { return plan.pick(); });
}
PART part_pick_random_10000(PlanPick& plan) {
    repeat([&] { return plan.pick(); });
}
PART part_pick_weighted_100(PlanPick& plan) {
    repeat([&] { return plan.pick(); });
}
PART part_pick_weighted_10000(PlanPick& plan) {
    repeat([&] { return plan.pick(); });
}
PART part_pick_round_robin_10000(PlanPick& plan) {
    repeat([&] { return plan.pick(); });
}
#undef PART

}  // namespace qanat::perf

int main() {
    using namespace qanat::perf;
    using qanat::ring::PlanRule;
    // Statics and lazily bound symbols are paid for here, by the first call outside the counted functions.
    sink = socks_by_name() + socks_byte_by_byte() + address_round() + stream_messages() + key_schedule();
    ReplayStep replay;
    RingPass small(64);
    RingPass large(1008);
    RecordPair records(qanat::crypto::Suite::chacha20_poly1305, 1024);
    sink = sink + replay.step() + small.pass() + large.pass() + records.seal() + records.open();
    PlanPick random_1(PlanRule::random, 1);
    PlanPick random_100(PlanRule::random, 100);
    PlanPick random_10000(PlanRule::random, 10'000);
    PlanPick weighted_100(PlanRule::weighted, 100);
    PlanPick weighted_10000(PlanRule::weighted, 10'000);
    PlanPick round_robin(PlanRule::round_robin, 10'000);

    part_socks_by_name();
    part_socks_byte_by_byte();
    part_address_round();
    part_stream_messages();
    part_key_schedule();
    part_replay_window(replay);
    part_ring_64(small);
    part_ring_1008(large);
    part_record_framing(records);
    part_pick_random_1(random_1);
    part_pick_random_100(random_100);
    part_pick_random_10000(random_10000);
    part_pick_weighted_100(weighted_100);
    part_pick_weighted_10000(weighted_10000);
    part_pick_round_robin_10000(round_robin);
    std::printf("calls %d\n", kCalls);
    return 0;
}
