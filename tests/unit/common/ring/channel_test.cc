#include "common/ring/channel.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <poll.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <new>
#include <random>
#include <thread>
#include <vector>

#include "samples.h"

namespace qanat::ring {
namespace {

using test::bytes_of;
using test::CommandLink;
using test::sample;
using testing::HasSubstr;

bool readable(int fd) {
    pollfd wanted{fd, POLLIN, 0};
    return ::poll(&wanted, 1, 0) == 1;
}

// What a hostile peer does: raw bytes, without the assertions of Sender.
void write_raw(RingSection& ring, MessageType type, Bytes bytes) {
    SpscProducer producer(ring);
    ASSERT_TRUE(producer.try_write(type, bytes));
    (void)producer.publish();
}

TEST(Channel, EveryCommandArrivesAsItWasSent) {
    for (const Role role : {Role::client, Role::node})
        for (const LinkState state : {LinkState::starting, LinkState::running, LinkState::draining})
            test::AllMessages::for_each([&]<class M>() {
                if constexpr (direction_of(M::kType) == Direction::command) {
                    CommandLink link(role, state);
                    const M message = sample<M>();
                    ASSERT_TRUE(link.sender.send(message));
                    link.sender.flush();
                    const auto received = link.receiver.next();
                    if (!permitted(M::kType, Direction::command, role, state)) {
                        ASSERT_FALSE(received);
                        EXPECT_EQ(received.error().fault, LinkFault::forbidden_message);
                        EXPECT_EQ(received.error().type, M::kType);
                        EXPECT_FALSE(link.receiver.next()) << "an error is for good";
                        EXPECT_EQ(link.receiver.state(), state);
                        return;
                    }
                    ASSERT_TRUE(received) << describe(received.error());
                    ASSERT_TRUE(*received);
                    ASSERT_EQ((*received)->type(), M::kType);
                    EXPECT_EQ(std::memcmp(&(*received)->template get<M>(), &message, sizeof(M)), 0);
                    EXPECT_EQ(link.receiver.state(), next_state(state, M::kType));
                    const auto empty = link.receiver.next();
                    ASSERT_TRUE(empty);
                    EXPECT_FALSE(*empty);
                }
            });
}

TEST(Channel, EventsArriveToo) {
    Region region = Region::create(1).value();
    RingSection& ring = region.engine(0).events;
    const UniqueFd eventfd = make_eventfd().value();
    EventSender sender(ring, test::duplicate(eventfd));
    Receiver receiver(Direction::event, ring, test::duplicate(eventfd), Role::node);
    ASSERT_TRUE(sender.send(sample<ListenResult>()));
    ASSERT_TRUE(sender.send(sample<Resolve>()));
    ASSERT_TRUE(sender.send(sample<StreamEnded>()));
    sender.flush();
    EXPECT_TRUE(receiver.next().value()->get<ListenResult>().listener == 7);
    EXPECT_EQ(receiver.state(), LinkState::running);
    EXPECT_EQ(receiver.next().value()->get<Resolve>().query, 77U);
    EXPECT_EQ(receiver.next().value()->get<StreamEnded>().port, 443);
    EXPECT_FALSE(receiver.next().value());
}

TEST(Channel, CommandsDoNotPassAsEvents) {
    CommandLink link;
    write_raw(link.ring, MessageType::drained, bytes_of(sample<Drained>()));
    const auto received = link.receiver.next();
    ASSERT_FALSE(received);
    EXPECT_EQ(received.error().fault, LinkFault::forbidden_message);
    EXPECT_EQ(describe(received.error()), "message drained (73) is not permitted in state running");
}

TEST(Channel, FullMeansNothingWritten) {
    CommandLink link;
    for (uint32_t i = 0; i < kSlotsPerRing; ++i) ASSERT_TRUE(link.sender.send(test::removal(i + 1)));
    EXPECT_EQ(link.sender.free_slots(), 0U);
    EXPECT_FALSE(link.sender.send(test::removal(9999)));
    EXPECT_FALSE(link.sender.broken());
    link.sender.flush();
    for (uint32_t i = 0; i < kSlotsPerRing; ++i) {
        EXPECT_EQ(link.receiver.next().value()->get<RemoveSession>().session_id, i + 1);
        // Slots come back within a long batch, not only at its end.
        if (i == 200) {
            EXPECT_GE(link.sender.free_slots(), 128U);
        }
    }
    EXPECT_FALSE(link.receiver.next().value());
    EXPECT_EQ(link.sender.free_slots(), kSlotsPerRing);
}

TEST(Channel, EventfdIsWrittenOnlyWhenNeeded) {
    CommandLink link;
    const int fd = link.receiver.event_fd();
    EXPECT_FALSE(readable(fd));
    link.sender.flush();
    EXPECT_TRUE(readable(fd)) << "the first flush of a sender always rings";
    link.receiver.drain_eventfd();
    EXPECT_FALSE(readable(fd));
    link.receiver.drain_eventfd();  // nothing there: no harm

    ASSERT_TRUE(link.sender.send(sample<Settings>()));
    link.sender.flush();
    EXPECT_FALSE(readable(fd)) << "awake";
    EXPECT_FALSE(link.receiver.prepare_to_sleep());
    ASSERT_TRUE(link.receiver.next().value());
    ASSERT_FALSE(link.receiver.next().value());
    EXPECT_TRUE(link.receiver.prepare_to_sleep());
    EXPECT_FALSE(readable(fd));
    link.sender.flush();
    EXPECT_FALSE(readable(fd)) << "nothing was sent";
    ASSERT_TRUE(link.sender.send(sample<Settings>()));
    EXPECT_FALSE(readable(fd)) << "not before the flush";
    link.sender.flush();
    EXPECT_TRUE(readable(fd));
}

TEST(ChannelDeathTest, OwnMistakesEndTheProcess) {
    CommandLink link;
    Listen message = sample<Listen>();
    message.address.family = 5;
    EXPECT_DEATH((void)link.sender.send(message), "broken invariant");
    ASSERT_TRUE(link.sender.send(sample<Listen>()));
    link.sender.flush();
    const auto received = link.receiver.next();
    EXPECT_DEATH((void)(*received)->get<Drain>(), "broken invariant");
}

TEST(Channel, SecretsAreGoneAfterTheyWereRead) {
    CommandLink link;
    ASSERT_TRUE(link.sender.send(sample<InstallSession>()));
    ASSERT_TRUE(link.sender.send(sample<Settings>()));
    link.sender.flush();
    const auto first = link.receiver.next();
    const InstallSession& session = (*first)->get<InstallSession>();
    EXPECT_EQ(session.data_secret[0], 0xd5);
    EXPECT_EQ(std::count(link.ring.slots[0].payload.begin(), link.ring.slots[0].payload.end(), 0),
              static_cast<std::ptrdiff_t>(kMessagePayloadMax));
    const uint8_t* secret = session.data_secret.data();
    ASSERT_TRUE(link.receiver.next().value());
    EXPECT_TRUE(std::all_of(secret, secret + 96, [](uint8_t byte) { return byte == 0; }));
}

// --------------------------------------------------------------------------------------------------------- hostile

TEST(Channel, BrokenRingsAreNamed) {
    {
        CommandLink link;
        link.ring.tail.value.store(5000);
        const auto received = link.receiver.next();
        ASSERT_FALSE(received);
        EXPECT_EQ(received.error().ring, RingFault::bad_index);
        EXPECT_THAT(describe(received.error()), HasSubstr("a position it cannot have"));
        EXPECT_FALSE(link.receiver.next());
    }
    {
        CommandLink link;
        link.ring.head.value.store(5000);
        EXPECT_EQ(link.sender.free_slots(), 0U);
        EXPECT_TRUE(link.sender.broken());
        EXPECT_FALSE(link.sender.send(sample<Drain>()));
        link.sender.flush();
    }
    {
        CommandLink link;
        write_raw(link.ring, MessageType::listen, bytes_of(sample<Drain>()));
        const auto received = link.receiver.next();
        ASSERT_FALSE(received);
        EXPECT_EQ(received.error().codec, CodecError::bad_size);
        EXPECT_EQ(describe(received.error()), "message listen (1) is invalid: wrong size");
    }
}

// Every byte of every message, corrupted in shared memory after it was published: the result is the message or a clean
// error, and it agrees with the codec.
TEST(Channel, EveryCorruptedByte) {
    test::AllMessages::for_each([]<class M>() {
        if constexpr (direction_of(M::kType) == Direction::command) {
            const Role role =
                permitted(M::kType, Direction::command, Role::client, LinkState::starting) ? Role::client : Role::node;
            const LinkState state = M::kType == MessageType::node_keys ? LinkState::starting : LinkState::running;
            CommandLink link(role, state);
            const M message = sample<M>();
            for (size_t i = 0; i < 16 + sizeof(M); ++i) {
                SCOPED_TRACE(testing::Message() << message_name(M::kType) << " byte " << i);
                const uint64_t position = link.ring.tail.value.load();
                SpscProducer producer(link.ring);
                ASSERT_TRUE(producer.try_write(M::kType, bytes_of(message)));
                (void)producer.publish();
                Slot& slot = link.ring.slots[position & (kSlotsPerRing - 1)];
                auto* bytes = static_cast<uint8_t*>(static_cast<void*>(&slot));
                bytes[i] ^= 0xff;
                std::vector<uint8_t> corrupted(sizeof(M));
                std::memcpy(corrupted.data(), slot.payload.data(), sizeof(M));

                Receiver receiver(Direction::command, link.ring, UniqueFd(), role, state);
                const auto received = receiver.next();
                const bool valid = i >= 16 && validate(M::kType, corrupted) == CodecError::none;
                EXPECT_EQ(received.has_value(), valid);
                if (valid) {
                    EXPECT_EQ(std::memcmp(&(*received)->template get<M>(), corrupted.data(), sizeof(M)), 0);
                }
                // The next round starts behind it.
                link.ring.head.value.store(position + 1);
            }
        }
    });
}

// A peer that writes everywhere, all the time. Races are its purpose, so not under ThreadSanitizer.
#ifndef QANAT_TEST_TSAN
TEST(Channel, PeerThatScribblesWhileWeRead) {
    CommandLink link;
    std::atomic<bool> stop{false};
    std::atomic<uint64_t> turns{0};
    std::thread hostile([&] {
        std::mt19937_64 random(3);
        auto* bytes = static_cast<volatile uint8_t*>(static_cast<void*>(&link.ring));
        while (!stop.load(std::memory_order_relaxed)) {
            // Plausible enough that the receiver goes on: slots change while they are copied.
            const uint64_t head = link.ring.head.value.load();
            for (uint64_t i = 0; i < 8; ++i) {
                Slot& slot = link.ring.slots[(head + i) & (kSlotsPerRing - 1)];
                slot.type.store(static_cast<uint32_t>(random() % 16));
                slot.size.store(message_size(MessageType{slot.type.load()}));
                slot.sequence.store(head + i);
            }
            link.ring.tail.value.store(head + random() % 8);
            // Mostly into those slots, where it hurts.
            for (int i = 0; i < 8; ++i) {
                const size_t near = offsetof(RingSection, slots) + (head & (kSlotsPerRing - 1)) * kSlotSize;
                const size_t offset = i == 0 ? random() % sizeof(RingSection) : near + random() % kSlotSize;
                bytes[offset] = static_cast<uint8_t>(random());
            }
            ++turns;
        }
    });
    uint64_t messages = 0;
    uint64_t errors = 0;
    const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(10);
    while ((turns < 20'000 || messages < 1000 || errors < 1000) && std::chrono::steady_clock::now() < end) {
        Receiver receiver(Direction::command, link.ring, UniqueFd(), Role::client, LinkState::running);
        for (int i = 0; i < 8; ++i) {
            const auto received = receiver.next();
            if (!received) ++errors;
            if (!received || !*received) break;
            ++messages;
            // What was validated stays as it was validated.
            if ((*received)->type() == MessageType::control_send) {
                ASSERT_LE((*received)->get<ControlSend>().size, kControlBytesMax);
            }
            if ((*received)->type() == MessageType::users) {
                ASSERT_LE((*received)->get<Users>().count, kUsersMax);
            }
        }
        (void)receiver.prepare_to_sleep();
        SpscProducer producer(link.ring);
        (void)producer.try_write(MessageType::drain, bytes_of(sample<Drain>()));
        (void)producer.publish();
        (void)producer.free_slots();
    }
    stop = true;
    hostile.join();
    EXPECT_GE(messages, 1000U);
    EXPECT_GE(errors, 1000U);
}
#endif

}  // namespace
}  // namespace qanat::ring
