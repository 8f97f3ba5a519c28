// Two processes: either end is killed at a random moment, and the survivor sees whole messages only, in order, each at
// most once; a successor takes up where the dead one stopped.
#include <gtest/gtest.h>
#include <poll.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <random>
#include <thread>

#include "samples.h"

namespace qanat::ring {
namespace {

constexpr int kRounds = 60;

// The content follows from the number, so that half a message or a mixture of two cannot pass.
PolicyPart numbered(uint32_t number) {
    PolicyPart part = test::sample<PolicyPart>();
    part.version = number;
    for (PolicyRule& rule : part.rules) {
        rule.number = number;
        rule.ip.fill(static_cast<uint8_t>(number * 7));
    }
    return part;
}

bool is_whole(const PolicyPart& part) {
    const PolicyPart expected = numbered(part.version);
    return std::memcmp(&part, &expected, sizeof part) == 0;
}

class Crash : public testing::Test {
protected:
    Region region_ = Region::create(1).value();
    RingSection& ring_ = region_.engine(0).commands;
    UniqueFd eventfd_ = make_eventfd().value();
    std::mt19937 random_{23};

    Receiver make_receiver() {
        return {Direction::command, ring_, test::duplicate(eventfd_), Role::node, LinkState::running};
    }
    void kill_after_a_while(pid_t child) {
        std::this_thread::sleep_for(std::chrono::microseconds(random_() % 3000));
        ::kill(child, SIGKILL);
        int status = 0;
        ASSERT_EQ(::waitpid(child, &status, 0), child);
        ASSERT_TRUE(WIFSIGNALED(status)) << "the child ended by itself: " << status;
    }
};

TEST_F(Crash, ProducerIsKilled) {
    Receiver receiver = make_receiver();
    uint32_t expected = 0;
    for (int round = 0; round < kRounds; ++round) {
        const uint32_t batch = 1 + static_cast<uint32_t>(random_() % 50);
        const pid_t child = ::fork();
        ASSERT_GE(child, 0);
        if (child == 0) {
            CommandSender sender(ring_, test::duplicate(eventfd_));
            for (uint32_t number = expected;;) {
                for (uint32_t i = 0; i < batch && sender.send(numbered(number)); ++i) ++number;
                sender.flush();
            }
        }
        const auto drain = [&] {
            for (;;) {
                const auto received = receiver.next();
                ASSERT_TRUE(received) << describe(received.error());
                if (!*received) return;
                const auto& part = (*received)->get<PolicyPart>();
                ASSERT_TRUE(is_whole(part));
                ASSERT_EQ(part.version, expected);
                ++expected;
            }
        };
        for (int i = 0; i < 20; ++i) drain();
        kill_after_a_while(child);
        drain();
        if (HasFatalFailure()) return;
    }
    EXPECT_GT(expected, static_cast<uint32_t>(kRounds));

    // Whatever the last one left undone, the first flush of its successor wakes a consumer that fell asleep.
    receiver.drain_eventfd();
    ASSERT_TRUE(receiver.prepare_to_sleep());
    ring_.sleeping.value.store(0);  // cleared by a producer that died before it rang
    CommandSender successor(ring_, test::duplicate(eventfd_));
    ASSERT_TRUE(successor.send(numbered(expected)));
    successor.flush();
    pollfd wanted{receiver.event_fd(), POLLIN, 0};
    EXPECT_EQ(::poll(&wanted, 1, 0), 1);
}

TEST_F(Crash, ConsumerIsKilled) {
    // The last number that a consumer has noted; shared with the children.
    void* shared = ::mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    ASSERT_NE(shared, MAP_FAILED);
    auto& seen = *static_cast<std::atomic<uint32_t>*>(shared);
    auto& failures = *(static_cast<std::atomic<uint32_t>*>(shared) + 1);

    CommandSender sender(ring_, test::duplicate(eventfd_));
    uint32_t number = 1;
    // Every child that was killed may have had one message in its hands that it had not noted yet.
    uint32_t lost_max = 0;
    for (int round = 0; round < kRounds; ++round) {
        const uint32_t seen_before = seen.load();
        const pid_t child = ::fork();
        ASSERT_GE(child, 0);
        if (child == 0) {
            Receiver receiver = make_receiver();
            uint32_t gap_max = lost_max;
            for (;;) {
                const auto received = receiver.next();
                if (!received) {
                    failures.fetch_add(1);
                    break;
                }
                if (!*received) continue;
                const auto& part = (*received)->get<PolicyPart>();
                // In order, never twice, and nothing is missing but what died with a child.
                if (!is_whole(part) || part.version <= seen.load() || part.version > seen.load() + 1 + gap_max)
                    failures.fetch_add(1);
                seen.store(part.version);
                gap_max = 0;
            }
            for (;;) ::pause();
        }
        const auto end = std::chrono::steady_clock::now() + std::chrono::microseconds(random_() % 3000);
        while (std::chrono::steady_clock::now() < end) {
            while (sender.send(numbered(number))) ++number;
            sender.flush();
        }
        kill_after_a_while(child);
        ASSERT_EQ(failures.load(), 0U) << "round " << round;
        ASSERT_FALSE(sender.broken());
        lost_max = seen.load() == seen_before ? lost_max + 1 : 1;
    }
    EXPECT_GT(seen.load(), static_cast<uint32_t>(kRounds));
    ::munmap(shared, 4096);
}

}  // namespace
}  // namespace qanat::ring
