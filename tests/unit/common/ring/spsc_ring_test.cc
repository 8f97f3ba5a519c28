#include "common/ring/spsc_ring.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <deque>
#include <random>
#include <vector>

#include "common/ring/region.h"

namespace qanat::ring {
namespace {

struct Ends {
    Region region = Region::create(1).value();
    RingSection& ring = region.engine(0).commands;
    SpscProducer producer{ring};
    SpscConsumer consumer{ring};
    SlotCopy slot;
};

constexpr MessageType kType = MessageType::settings;

Bytes number_bytes(const uint64_t& number) {
    return {static_cast<const uint8_t*>(static_cast<const void*>(&number)), sizeof number};
}

uint64_t number_in(const SlotCopy& slot) {
    uint64_t number = 0;
    std::memcpy(&number, slot.payload.data(), sizeof number);
    return number;
}

bool write_number(SpscProducer& producer, uint64_t number) {
    return producer.try_write(kType, number_bytes(number));
}

bool all_zero(Bytes bytes) {
    return std::all_of(bytes.begin(), bytes.end(), [](uint8_t byte) { return byte == 0; });
}

TEST(SpscRing, EmptyRing) {
    Ends ends;
    EXPECT_FALSE(ends.consumer.begin());
    EXPECT_FALSE(ends.consumer.read(ends.slot));
    EXPECT_EQ(ends.consumer.fault(), RingFault::none);
    EXPECT_EQ(ends.producer.free_slots(), kSlotsPerRing);
}

TEST(SpscRing, NothingIsVisibleBeforePublish) {
    Ends ends;
    ASSERT_TRUE(write_number(ends.producer, 1));
    EXPECT_FALSE(ends.consumer.read(ends.slot));
    (void)ends.producer.publish();
    ASSERT_TRUE(ends.consumer.read(ends.slot));
    EXPECT_EQ(number_in(ends.slot), 1U);
    EXPECT_EQ(ends.slot.type, static_cast<uint32_t>(kType));
    EXPECT_EQ(ends.slot.size, 8U);
    EXPECT_FALSE(ends.consumer.read(ends.slot));
}

TEST(SpscRing, FullRing) {
    Ends ends;
    for (uint64_t i = 0; i < kSlotsPerRing; ++i) {
        EXPECT_EQ(ends.producer.free_slots(), kSlotsPerRing - i);
        ASSERT_TRUE(write_number(ends.producer, i)) << i;
    }
    EXPECT_FALSE(write_number(ends.producer, 9999));
    EXPECT_EQ(ends.producer.free_slots(), 0U);
    (void)ends.producer.publish();
    EXPECT_FALSE(write_number(ends.producer, 9999));

    // Taken is not released.
    ASSERT_TRUE(ends.consumer.read(ends.slot));
    EXPECT_FALSE(write_number(ends.producer, 9999));
    ends.consumer.release();
    ASSERT_TRUE(write_number(ends.producer, kSlotsPerRing));
    EXPECT_FALSE(write_number(ends.producer, 9999));
    (void)ends.producer.publish();
    for (uint64_t i = 1; i <= kSlotsPerRing; ++i) {
        ASSERT_TRUE(ends.consumer.read(ends.slot));
        EXPECT_EQ(number_in(ends.slot), i);
    }
    EXPECT_FALSE(ends.consumer.read(ends.slot));
    EXPECT_EQ(ends.consumer.fault(), RingFault::none);
    EXPECT_EQ(ends.producer.fault(), RingFault::none);
}

TEST(SpscRing, MessageSizes) {
    Ends ends;
    for (const size_t size : {size_t{0}, size_t{1}, size_t{1007}, size_t{1008}}) {
        const std::vector<uint8_t> bytes(size, 0x77);
        ASSERT_TRUE(ends.producer.try_write(kType, bytes));
        (void)ends.producer.publish();
        ASSERT_TRUE(ends.consumer.read(ends.slot));
        EXPECT_TRUE(std::equal(bytes.begin(), bytes.end(), ends.slot.bytes().begin(), ends.slot.bytes().end()));
    }
}

TEST(SpscRingDeathTest, MessageLargerThanASlot) {
    Ends ends;
    const std::vector<uint8_t> bytes(1009);
    EXPECT_DEATH((void)ends.producer.try_write(kType, bytes), "broken invariant");
}

TEST(SpscRing, SlotsAreWipedWhenTaken) {
    Ends ends;
    const std::vector<uint8_t> secret(kMessagePayloadMax, 0x5e);
    ASSERT_TRUE(ends.producer.try_write(MessageType::install_session, secret));
    (void)ends.producer.publish();
    EXPECT_FALSE(all_zero(ends.ring.slots[0].payload));
    ASSERT_TRUE(ends.consumer.read(ends.slot));
    EXPECT_TRUE(all_zero(ends.ring.slots[0].payload));
    EXPECT_EQ(ends.ring.slots[0].type.load(), 0U);
}

// Against std::deque, in batches of random size, through many wraps.
TEST(SpscRing, Model) {
    std::mt19937 random(7);
    Ends ends;
    std::deque<std::vector<uint8_t>> published;
    std::deque<std::vector<uint8_t>> unpublished;
    size_t released_free = kSlotsPerRing;  // what the producer may count on
    size_t taken = 0;
    for (int round = 0; round < 3000; ++round) {
        const size_t writes = random() % (random() % 10 == 0 ? 1500 : 40);
        for (size_t i = 0; i < writes; ++i) {
            std::vector<uint8_t> bytes(random() % 64);
            for (uint8_t& byte : bytes) byte = static_cast<uint8_t>(random());
            const bool fits = released_free > 0;
            ASSERT_EQ(ends.producer.try_write(MessageType{static_cast<uint32_t>(bytes.size() + 1)}, bytes), fits);
            if (!fits) break;
            --released_free;
            unpublished.push_back(std::move(bytes));
        }
        if (random() % 3 != 0) {
            (void)ends.producer.publish();
            std::move(unpublished.begin(), unpublished.end(), std::back_inserter(published));
            unpublished.clear();
        }
        const size_t reads = random() % (random() % 10 == 0 ? 1500 : 40);
        for (size_t i = 0; i < reads; ++i) {
            const bool there = !published.empty();
            ASSERT_EQ(ends.consumer.read(ends.slot), there);
            if (!there) break;
            const auto& expected = published.front();
            ASSERT_EQ(ends.slot.type, expected.size() + 1);
            ASSERT_TRUE(
                std::equal(expected.begin(), expected.end(), ends.slot.bytes().begin(), ends.slot.bytes().end()));
            published.pop_front();
            ++taken;
        }
        ASSERT_EQ(ends.consumer.unreleased(), taken);
        if (random() % 2 == 0) {
            ends.consumer.release();
            released_free += taken;
            taken = 0;
        }
        if (random() % 5 == 0) {
            ASSERT_EQ(ends.producer.free_slots(), released_free);
        }
    }
    EXPECT_EQ(ends.producer.fault(), RingFault::none);
    EXPECT_EQ(ends.consumer.fault(), RingFault::none);
    EXPECT_GT(ends.ring.tail.value.load(), 10 * kSlotsPerRing);
}

// The same ring, taken up by new ends at any position, also where 64 bits wrap.
TEST(SpscRing, TakesUpWhereTheLastEndsStopped) {
    for (const uint64_t start : {uint64_t{0}, uint64_t{5}, uint64_t{1023}, uint64_t{1024}, ~uint64_t{0} - 600}) {
        Region region = Region::create(1).value();
        RingSection& ring = region.engine(0).events;
        ring.tail.value.store(start);
        ring.head.value.store(start);
        uint64_t written = 0;
        uint64_t read = 0;
        SlotCopy slot;
        for (int round = 0; round < 20; ++round) {
            SpscProducer producer(ring);
            SpscConsumer consumer(ring);
            for (int i = 0; i < 100; ++i) ASSERT_TRUE(write_number(producer, written++));
            (void)producer.publish();
            ASSERT_TRUE(write_number(producer, 12345));  // never published: lost with this producer
            for (int i = 0; i < 100; ++i) {
                ASSERT_TRUE(consumer.read(slot));
                ASSERT_EQ(number_in(slot), read++);
                // Not released: the next consumer must neither see these again nor take a wiped slot for a message.
                if (round % 2 == 0 && i == 50) consumer.release();
            }
            if (round % 4 == 3) consumer.release();
        }
        EXPECT_EQ(read, 2000U);
    }
}

TEST(SpscRing, SleepingConsumerIsWokenOnce) {
    Ends ends;
    (void)write_number(ends.producer, 0);
    EXPECT_TRUE(ends.producer.publish());  // the first one rings in any case
    (void)write_number(ends.producer, 1);
    EXPECT_FALSE(ends.producer.publish());  // awake
    EXPECT_FALSE(ends.consumer.prepare_to_sleep());
    while (ends.consumer.read(ends.slot)) {
    }
    EXPECT_TRUE(ends.consumer.prepare_to_sleep());
    EXPECT_EQ(ends.ring.head.value.load(), 2U);  // gave everything back
    EXPECT_FALSE(ends.producer.publish());       // nothing new
    (void)write_number(ends.producer, 2);
    EXPECT_TRUE(ends.producer.publish());
    (void)write_number(ends.producer, 3);
    EXPECT_FALSE(ends.producer.publish());  // was rung already
    while (ends.consumer.read(ends.slot)) {
    }
    EXPECT_TRUE(ends.consumer.prepare_to_sleep());
    ends.consumer.cancel_sleep();
    (void)write_number(ends.producer, 4);
    EXPECT_FALSE(ends.producer.publish());
}

// ------------------------------------------------------------------------------------------------- hostile producer

TEST(SpscRing, ConsumerRefusesEveryImpossibleTail) {
    const uint64_t tails[] = {
        uint64_t{10} + kSlotsPerRing + 1, 9, 0, ~uint64_t{0}, uint64_t{1} << 63, uint64_t{1} << 32};
    for (const uint64_t tail : tails) {
        Ends ends;
        for (uint64_t i = 0; i < 10; ++i) ASSERT_TRUE(write_number(ends.producer, i));
        (void)ends.producer.publish();
        while (ends.consumer.read(ends.slot)) {
        }
        ends.consumer.release();
        ends.ring.tail.value.store(tail);
        EXPECT_FALSE(ends.consumer.prepare_to_sleep());  // there is something to look at
        EXPECT_FALSE(ends.consumer.read(ends.slot)) << tail;
        EXPECT_EQ(ends.consumer.fault(), RingFault::bad_index) << tail;
        // Broken for good, even if the tail is right again; and quiet.
        ends.ring.tail.value.store(10);
        EXPECT_FALSE(ends.consumer.begin());
        EXPECT_TRUE(ends.consumer.prepare_to_sleep());
    }
    // The last one that is possible: a full ring.
    Ends ends;
    ends.ring.tail.value.store(kSlotsPerRing);
    EXPECT_TRUE(ends.consumer.begin());
}

TEST(SpscRing, TailCountsFromWhatWasReleased) {
    Ends ends;
    for (uint64_t i = 0; i < kSlotsPerRing; ++i) ASSERT_TRUE(write_number(ends.producer, i));
    (void)ends.producer.publish();
    while (ends.consumer.read(ends.slot)) {
    }
    // Nothing is released: one more message would lie in a slot that was never given back.
    ends.ring.tail.value.store(kSlotsPerRing + 1);
    EXPECT_FALSE(ends.consumer.read(ends.slot));
    EXPECT_EQ(ends.consumer.fault(), RingFault::bad_index);
}

TEST(SpscRing, ConsumerRefusesForeignSlots) {
    for (const uint64_t sequence : {uint64_t{0}, uint64_t{2}, ~uint64_t{0}, uint64_t{1} << 32 | 1}) {
        Ends ends;
        for (uint64_t i = 0; i < 3; ++i) ASSERT_TRUE(write_number(ends.producer, i));
        (void)ends.producer.publish();
        ends.ring.slots[1].sequence.store(sequence);
        EXPECT_TRUE(ends.consumer.read(ends.slot));
        EXPECT_FALSE(ends.consumer.read(ends.slot));
        EXPECT_EQ(ends.consumer.fault(), RingFault::bad_sequence);
    }
    for (const uint32_t size : {1009U, 1024U, 0x80000000U, 0xffffffffU}) {
        Ends ends;
        ASSERT_TRUE(write_number(ends.producer, 1));
        (void)ends.producer.publish();
        ends.ring.slots[0].size.store(size);
        EXPECT_FALSE(ends.consumer.read(ends.slot));
        EXPECT_EQ(ends.consumer.fault(), RingFault::bad_size);
    }
}

TEST(SpscRing, ConsumerThatTakesUpDoesNotTrustEither) {
    Region region = Region::create(1).value();
    RingSection& ring = region.engine(0).commands;
    ring.tail.value.store(5000);
    SpscConsumer consumer(ring);
    EXPECT_EQ(consumer.fault(), RingFault::bad_index);
    EXPECT_FALSE(consumer.begin());
}

// ------------------------------------------------------------------------------------------------- hostile consumer

TEST(SpscRing, ProducerRefusesEveryImpossibleHead) {
    const uint64_t heads[] = {uint64_t{kSlotsPerRing} + 1, 4, 0, ~uint64_t{0}, uint64_t{1} << 63};
    for (const uint64_t head : heads) {
        Ends ends;
        for (uint64_t i = 0; i < 5; ++i) ASSERT_TRUE(write_number(ends.producer, i));
        (void)ends.producer.publish();
        while (ends.consumer.read(ends.slot)) {
        }
        ends.consumer.release();
        EXPECT_EQ(ends.producer.free_slots(), kSlotsPerRing);
        ends.ring.head.value.store(head);
        EXPECT_EQ(ends.producer.free_slots(), 0U) << head;
        EXPECT_EQ(ends.producer.fault(), RingFault::bad_index) << head;
        ends.ring.head.value.store(5);
        EXPECT_FALSE(write_number(ends.producer, 9)) << head;
    }
    // A head beyond what was published, though not beyond what was written.
    Ends ends;
    ASSERT_TRUE(write_number(ends.producer, 0));
    ends.ring.head.value.store(1);
    EXPECT_EQ(ends.producer.free_slots(), 0U);
    EXPECT_EQ(ends.producer.fault(), RingFault::bad_index);
}

TEST(SpscRing, ProducerThatTakesUpDoesNotTrustEither) {
    Region region = Region::create(1).value();
    RingSection& ring = region.engine(0).commands;
    for (const uint64_t head : {uint64_t{1}, uint64_t{2000}, ~uint64_t{0} - kSlotsPerRing}) {
        ring.head.value.store(head);
        SpscProducer producer(ring);
        EXPECT_EQ(producer.fault(), RingFault::bad_index) << head;
        EXPECT_FALSE(write_number(producer, 1));
        EXPECT_EQ(producer.free_slots(), 0U);
    }
}

// A sleeping word with nonsense costs wake-ups, nothing else.
TEST(SpscRing, SleepingWordIsOnlyAHint) {
    Ends ends;
    for (const uint32_t word : {1U, 2U, 0xffffffffU}) {
        ends.ring.sleeping.value.store(word);
        ASSERT_TRUE(write_number(ends.producer, 1));
        EXPECT_TRUE(ends.producer.publish());
        EXPECT_EQ(ends.ring.sleeping.value.load(), 0U);
    }
}

}  // namespace
}  // namespace qanat::ring
