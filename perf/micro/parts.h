// The pure parts that both the micro benchmarks and the instruction counts exercise: fixed inputs, one call = one
// operation. Everything returns something that depends on the work, so that none of it can be optimised away.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <vector>

#include "common/base/bytes.h"
#include "common/ring/layout.h"
#include "common/ring/spsc_ring.h"
#include "common/wire/record.h"
#include "dataplane/route/plan.h"

namespace qanat::perf {

// Greeting and CONNECT by name, as curl sends them, parsed in two pieces, and the reply.
[[nodiscard]] uint64_t socks_by_name();
// The same by IPv4 address, one byte at a time: the worst way to send it.
[[nodiscard]] uint64_t socks_byte_by_byte();

// An address written and read back, of each of the three types.
[[nodiscard]] uint64_t address_round();

// A REQUEST encoded, decoded, and its RESPONSE.
[[nodiscard]] uint64_t stream_messages();

// Keys of both directions of a stream.
[[nodiscard]] uint64_t key_schedule();

class PlanPick {
public:
    PlanPick(ring::PlanRule rule, uint32_t hops);
    [[nodiscard]] uint64_t pick();

private:
    dataplane::RoutingPlan plan_;
    dataplane::PickState state_;
    uint64_t random_ = 1;
};

// One message through a ring whose two ends are in this thread.
class RingPass {
public:
    explicit RingPass(size_t message_size);
    [[nodiscard]] uint64_t pass();

private:
    std::unique_ptr<ring::RingSection> section_;
    ring::SpscProducer producer_;
    ring::SpscConsumer consumer_;
    ring::SlotCopy copy_;
    std::vector<uint8_t> message_;
};

// check() and test_and_set() of the next number of a window of 8192.
class ReplayStep {
public:
    ReplayStep();
    ~ReplayStep();
    [[nodiscard]] uint64_t step();

private:
    struct State;
    std::unique_ptr<State> state_;
};

// Seals and opens records of one size under one key.
class RecordPair {
public:
    RecordPair(crypto::Suite suite, size_t content_size);

    [[nodiscard]] size_t seal();  // into the buffer; content is what lies there
    [[nodiscard]] size_t open();  // what seal() made last

private:
    crypto::Aead aead_;
    wire::DirectionKey sealing_;
    wire::DirectionKey opening_;
    size_t content_size_;
    size_t record_size_ = 0;
    std::vector<uint8_t> buffer_;
};

}  // namespace qanat::perf
