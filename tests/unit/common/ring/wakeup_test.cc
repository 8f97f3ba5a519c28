// Two threads and real eventfds: no message is lost, none comes twice, and no wake-up is lost. A lost wake-up shows as
// a poll() that runs into its timeout.
#include <gtest/gtest.h>
#include <poll.h>

#include <array>
#include <atomic>
#include <chrono>
#include <random>
#include <thread>
#include <vector>

#include "samples.h"

namespace qanat::ring {
namespace {

#if defined(QANAT_TEST_TSAN) || defined(QANAT_TEST_ASAN)
constexpr uint64_t kScale = 10;
#else
constexpr uint64_t kScale = 1;
#endif
constexpr int kLostAfterMs = 20'000;

struct Pair {
    Region region = Region::create(1).value();
    UniqueFd command_fd = make_eventfd().value();
    UniqueFd event_fd = make_eventfd().value();
    CommandSender commands{region.engine(0).commands, test::duplicate(command_fd)};
    Receiver command_receiver{Direction::command, region.engine(0).commands, test::duplicate(command_fd), Role::node,
                              LinkState::running};
    EventSender events{region.engine(0).events, test::duplicate(event_fd)};
    Receiver event_receiver{Direction::event, region.engine(0).events, test::duplicate(event_fd), Role::node,
                            LinkState::running};
};

// Waits as an event loop would. False: the wake-up was lost.
bool wait(Receiver& receiver) {
    if (!receiver.prepare_to_sleep()) return true;
    pollfd wanted{receiver.event_fd(), POLLIN, 0};
    if (::poll(&wanted, 1, kLostAfterMs) != 1) return false;
    receiver.drain_eventfd();
    return true;
}

// The next message, however long it takes; nothing when a wake-up was lost or the link broke.
std::optional<MessageView> take(Receiver& receiver) {
    for (;;) {
        const auto received = receiver.next();
        if (!received) return std::nullopt;
        if (*received) return *received;
        if (!wait(receiver)) return std::nullopt;
    }
}

TEST(Wakeup, MillionsOfMessagesInRandomBatches) {
    constexpr uint64_t kMessages = 3'000'000 / kScale;
    Pair pair;
    std::thread producer([&] {
        std::mt19937 random(11);
        uint64_t next = 1;
        while (next <= kMessages) {
            const uint64_t batch = random() % 8 == 0 ? random() % 600 : random() % 4;
            for (uint64_t i = 0; i < batch && next <= kMessages; ++i) {
                if (!pair.commands.send(test::removal(next))) break;
                ++next;
            }
            pair.commands.flush();
            // Now and then the consumer gets time to fall asleep, and the ring time to empty.
            if (random() % 64 == 0) std::this_thread::yield();
            if (random() % 2048 == 0) std::this_thread::sleep_for(std::chrono::microseconds(50));
        }
    });
    uint64_t expected = 1;
    for (; expected <= kMessages; ++expected) {
        const auto message = take(pair.command_receiver);
        if (!message || message->get<RemoveSession>().session_id != expected) break;
    }
    EXPECT_EQ(expected, kMessages + 1);
    // A failed consumer must not leave the producer waiting for space.
    while (expected <= kMessages) {
        const auto message = pair.command_receiver.next();
        if (!message) break;
        if (*message && (*message)->get<RemoveSession>().session_id == kMessages) break;
    }
    producer.join();
}

// Every message is a wake-up in each direction: the window between "empty" and "asleep" is hit at every step.
TEST(Wakeup, PingPong) {
    constexpr uint64_t kRounds = 100'000 / kScale;
    Pair pair;
    std::thread engine([&] {
        for (uint64_t round = 1; round <= kRounds; ++round) {
            const auto message = take(pair.command_receiver);
            if (!message) {
                ADD_FAILURE() << "engine lost a wake-up in round " << round;
                return;
            }
            EXPECT_TRUE(pair.events.send(SessionConfirmed{message->get<RemoveSession>().session_id}));
            pair.events.flush();
        }
    });
    for (uint64_t round = 1; round <= kRounds; ++round) {
        ASSERT_TRUE(pair.commands.send(test::removal(round)));
        pair.commands.flush();
        const auto answer = take(pair.event_receiver);
        if (!answer) {
            ADD_FAILURE() << "control plane lost a wake-up in round " << round;
            break;
        }
        EXPECT_EQ(answer->get<SessionConfirmed>().session_id, round);
    }
    engine.join();
}

// The fences, as a litmus test: along a row of rings one thread publishes while the other goes to sleep. On each ring
// either the consumer must have seen the message or the producer the sleeper. Without the fences, or
// without the second look at the tail, some of them are lost on x86 too: a load passes an earlier store there.
TEST(Wakeup, EitherSeesTheOther) {
    constexpr uint32_t kRings = 2 * kEnginesMax;
    constexpr uint32_t kRounds = 4000 / kScale;
    Region region = Region::create(kEnginesMax).value();
    std::vector<SpscProducer> producers;
    std::vector<SpscConsumer> consumers;
    for (uint32_t i = 0; i < kRings; ++i) {
        EngineSection& section = region.engine(i / 2);
        producers.emplace_back(i % 2 == 0 ? section.commands : section.events);
        consumers.emplace_back(i % 2 == 0 ? section.commands : section.events);
        (void)producers[i].publish();  // the first one rings whatever happens
    }
    std::array<bool, kRings> rang{};
    std::array<bool, kRings> slept{};
    std::atomic<uint32_t> begun{0};
    std::atomic<uint32_t> done{0};
    const auto meet = [](std::atomic<uint32_t>& counter, uint32_t target) {
        counter.fetch_add(1);
        for (uint32_t spins = 0; counter.load() < target; ++spins)
            if (spins > 2000) std::this_thread::yield();
    };
    std::thread producer([&] {
        for (uint32_t round = 1; round <= kRounds; ++round) {
            meet(begun, 2 * round);
            for (uint32_t i = 0; i < kRings; ++i) {
                (void)producers[i].try_write(MessageType::stop, {});
                rang[i] = producers[i].publish();
            }
            meet(done, 2 * round);
        }
    });
    uint32_t lost = 0;
    uint32_t asleep = 0;
    for (uint32_t round = 1; round <= kRounds; ++round) {
        meet(begun, 2 * round);
        for (uint32_t i = 0; i < kRings; ++i) slept[i] = consumers[i].prepare_to_sleep();
        meet(done, 2 * round);
        SlotCopy slot;
        for (uint32_t i = 0; i < kRings; ++i) {
            lost += slept[i] && !rang[i] ? 1U : 0U;
            asleep += slept[i] ? 1U : 0U;
            while (consumers[i].read(slot)) {
            }
            consumers[i].release();
            consumers[i].cancel_sleep();
        }
    }
    producer.join();
    EXPECT_EQ(lost, 0U) << "of " << kRounds * kRings << ", asleep in " << asleep;
}

// The consumer also wakes for other reasons, without telling the producer, and goes back to sleep.
TEST(Wakeup, SpuriousTurnsOfTheLoop) {
    constexpr uint64_t kMessages = 200'000 / kScale;
    Pair pair;
    std::thread producer([&] {
        for (uint64_t next = 1; next <= kMessages;) {
            if (pair.commands.send(test::removal(next))) ++next;
            pair.commands.flush();
        }
    });
    uint64_t expected = 1;
    std::mt19937 random(5);
    while (expected <= kMessages) {
        const auto received = pair.command_receiver.next();
        ASSERT_TRUE(received);
        if (*received) {
            ASSERT_EQ((*received)->get<RemoveSession>().session_id, expected);
            ++expected;
            continue;
        }
        if (!pair.command_receiver.prepare_to_sleep()) continue;
        if (random() % 2 == 0) {  // "another event": back to work
            if (random() % 2 == 0) pair.command_receiver.cancel_sleep();
            continue;
        }
        pollfd wanted{pair.command_receiver.event_fd(), POLLIN, 0};
        if (::poll(&wanted, 1, kLostAfterMs) != 1) {
            ADD_FAILURE() << "lost a wake-up at message " << expected;
            std::abort();  // the producer may wait for ever
        }
        pair.command_receiver.drain_eventfd();
    }
    producer.join();
}

}  // namespace
}  // namespace qanat::ring
