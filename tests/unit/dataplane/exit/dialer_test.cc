#include "dataplane/exit/dialer.h"

#include <gmock/gmock.h>

#include <cerrno>
#include <random>
#include <set>
#include <string>

namespace qanat::dataplane {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;
using wire::Endpoint;
using wire::StreamStatus;

constexpr uint64_t kMs = 1'000'000;
constexpr uint64_t kStart = 5'000 * kMs;  // the clock does not begin at 0

// "A".."P" stand for IPv4 addresses, "a".."p" for IPv6 ones.
std::vector<Endpoint> endpoints(const std::string& names) {
    std::vector<Endpoint> result;
    for (const char name : names) {
        Endpoint endpoint;
        endpoint.port = static_cast<uint8_t>(name);
        if (name >= 'a') endpoint.ip.family = wire::IpAddress::Family::v6;
        endpoint.ip.bytes[0] = static_cast<uint8_t>(name);
        result.push_back(endpoint);
    }
    return result;
}

// Drives a dialer as an engine would and writes down what it asks for: "A0" connect to A in slot 0, "!" give up.
class DialerTest : public testing::Test {
protected:
    void start(const std::string& names) { dialer_.start(endpoints(names), kStart); }

    std::string at(uint64_t ms) {
        std::string actions;
        for (;;) {
            const Dialer::Action action = dialer_.next(kStart + ms * kMs);
            switch (action.kind) {
                case Dialer::Action::none:
                    return actions;
                case Dialer::Action::connect:
                    EXPECT_TRUE(dialer_.in_flight(action.attempt_slot));
                    actions += static_cast<char>(action.to.port);
                    actions += static_cast<char>('0' + action.attempt_slot);
                    break;
                case Dialer::Action::give_up:
                    actions += '!';
                    break;
            }
        }
    }

    std::string at_each(std::initializer_list<uint64_t> times_ms) {
        std::string actions;
        for (const uint64_t ms : times_ms) actions += at(ms);
        return actions;
    }

    // In ms after the start; −1 for never, 0 for what is due.
    int64_t deadline() const {
        const uint64_t deadline = dialer_.next_deadline_ns();
        if (deadline == Dialer::kNever) return -1;
        return deadline <= kStart ? 0 : static_cast<int64_t>((deadline - kStart) / kMs);
    }

    Dialer dialer_;
};

TEST_F(DialerTest, nothing_before_start) {
    EXPECT_EQ(at(0), "");
    EXPECT_EQ(deadline(), -1);
}

TEST_F(DialerTest, no_addresses) {
    start("");
    EXPECT_EQ(deadline(), 0);
    EXPECT_EQ(at(0), "!");
    EXPECT_EQ(at(0), "");
    EXPECT_EQ(deadline(), -1);
    EXPECT_EQ(dialer_.outcome(), StreamStatus::general_failure);
}

TEST_F(DialerTest, one_address_that_fails) {
    start("A");
    EXPECT_EQ(deadline(), 0);
    EXPECT_EQ(at(0), "A0");
    EXPECT_EQ(deadline(), 10'000);
    EXPECT_EQ(at(100), "");
    dialer_.on_failed(0, ECONNREFUSED);
    EXPECT_EQ(deadline(), 0);
    EXPECT_EQ(at(101), "!");
    EXPECT_EQ(dialer_.outcome(), StreamStatus::connection_refused);
    EXPECT_EQ(at(102), "");
}

TEST_F(DialerTest, staggered_starts) {
    start("ABC");
    EXPECT_EQ(at(0), "A0");
    EXPECT_EQ(deadline(), 250);
    EXPECT_EQ(at(249), "");
    EXPECT_EQ(at(250), "B1");
    EXPECT_EQ(deadline(), 500);
    EXPECT_EQ(at(600), "C2");  // late: the next stagger counts from here
    EXPECT_EQ(deadline(), 10'000);
    EXPECT_EQ(dialer_.in_flight_count(), 3U);
}

TEST_F(DialerTest, a_failure_brings_the_next_at_once) {
    start("ABC");
    EXPECT_EQ(at(0), "A0");
    dialer_.on_failed(0, ENETUNREACH);
    EXPECT_EQ(deadline(), 0);
    EXPECT_EQ(at(1), "B0");
    EXPECT_EQ(deadline(), 251);
    EXPECT_EQ(at(251), "C1");
    dialer_.on_failed(0, EHOSTUNREACH);
    EXPECT_EQ(at(300), "");
    EXPECT_EQ(deadline(), 10'000);
    dialer_.on_failed(1, ENETUNREACH);
    EXPECT_EQ(at(301), "!");
    EXPECT_EQ(dialer_.outcome(), StreamStatus::host_unreachable);
}

TEST_F(DialerTest, failures_at_once_walk_through_the_list) {
    start("ABCDE");
    std::string order;
    for (;;) {
        const Dialer::Action action = dialer_.next(kStart);
        if (action.kind != Dialer::Action::connect) {
            EXPECT_EQ(action.kind, Dialer::Action::give_up);
            break;
        }
        order += static_cast<char>(action.to.port);
        EXPECT_EQ(action.attempt_slot, 0U);
        dialer_.on_failed(action.attempt_slot, EAFNOSUPPORT);
    }
    EXPECT_EQ(order, "ABCDE");
    EXPECT_EQ(dialer_.outcome(), StreamStatus::network_unreachable);
}

TEST_F(DialerTest, four_in_flight_at_most) {
    start("ABCDEF");
    EXPECT_EQ(at_each({0, 250, 500, 750}), "A0B1C2D3");
    EXPECT_EQ(deadline(), 10'000);
    EXPECT_EQ(at(1000), "");
    EXPECT_EQ(at(5000), "");
    dialer_.on_failed(2, ETIMEDOUT);
    EXPECT_EQ(at(6000), "E2");
    EXPECT_EQ(at(9000), "");
    dialer_.on_failed(1, ECONNREFUSED);
    dialer_.on_failed(3, ECONNREFUSED);
    EXPECT_EQ(at(9001), "F1");
    EXPECT_EQ(dialer_.in_flight_count(), 3U);
}

TEST_F(DialerTest, two_failures_between_two_calls_begin_one_attempt) {
    start("ABCDE");
    EXPECT_EQ(at_each({0, 250}), "A0B1");
    dialer_.on_failed(0, ECONNREFUSED);
    dialer_.on_failed(1, ECONNREFUSED);
    EXPECT_EQ(at(300), "C0");
    EXPECT_EQ(deadline(), 550);
}

TEST_F(DialerTest, the_deadline_over_all) {
    start("AB");
    EXPECT_EQ(at_each({0, 250}), "A0B1");
    EXPECT_EQ(at(9'999), "");
    EXPECT_EQ(at(10'000), "!");
    EXPECT_EQ(dialer_.outcome(), StreamStatus::timed_out);
    EXPECT_EQ(deadline(), -1);
    dialer_.on_failed(0, ECONNREFUSED);  // a late completion of what was cancelled
    EXPECT_EQ(dialer_.outcome(), StreamStatus::timed_out);
    EXPECT_EQ(at(20'000), "");
}

TEST_F(DialerTest, no_new_attempt_at_the_deadline) {
    start("AB");
    EXPECT_EQ(at(0), "A0");
    EXPECT_EQ(at(10'000), "!");
}

TEST_F(DialerTest, refused_beats_timed_out_at_the_deadline) {
    start("AB");
    EXPECT_EQ(at(0), "A0");
    dialer_.on_failed(0, ECONNREFUSED);
    EXPECT_EQ(at(0), "B0");
    EXPECT_EQ(at(10'000), "!");
    EXPECT_EQ(dialer_.outcome(), StreamStatus::connection_refused);
}

TEST_F(DialerTest, a_timeout_of_ones_own) {
    dialer_ = Dialer(300 * kMs);
    start("AB");
    EXPECT_EQ(at(0), "A0");
    EXPECT_EQ(deadline(), 250);
    EXPECT_EQ(at(250), "B1");
    EXPECT_EQ(deadline(), 300);
    EXPECT_EQ(at(300), "!");

    dialer_ = Dialer(100 * kMs);  // below the stagger
    start("AB");
    EXPECT_EQ(at(0), "A0");
    EXPECT_EQ(deadline(), 100);

    dialer_ = Dialer(Dialer::kNever);  // must not wrap
    start("A");
    EXPECT_EQ(at(0), "A0");
    EXPECT_EQ(deadline(), -1);
    EXPECT_EQ(at(1'000'000), "");
}

TEST_F(DialerTest, families_take_turns) {
    const struct {
        const char *given, *tried;
    } table[] = {
        {"A", "A"},
        {"aA", "aA"},
        {"Aa", "Aa"},
        {"aAbBcC", "aAbBcC"},
        {"abcA", "aAbc"},
        {"ABCa", "AaBC"},
        {"abAB", "aAbB"},
        {"aaA", "aAa"},
        {"AabBcC", "AaBbCc"},
        {"abcdefghA", "aAbcdefgh"},
        {"ABCDEFGHIJKLMNOP", "ABCDEFGHIJKLMNOP"},
        {"abcdefghijklmnopABC", "abcdefghijklmnop"},  // cut at sixteen
        {"abcdefghijklmnoABC", "aAbcdefghijklmno"},
    };
    for (const auto& row : table) {
        start(row.given);
        std::string order;
        for (;;) {
            const Dialer::Action action = dialer_.next(kStart);
            if (action.kind != Dialer::Action::connect) break;
            order += static_cast<char>(action.to.port);
            dialer_.on_failed(action.attempt_slot, ECONNREFUSED);
        }
        EXPECT_EQ(order, row.tried) << row.given;
    }
}

TEST_F(DialerTest, starts_anew) {
    start("ABC");
    EXPECT_EQ(at_each({0, 250}), "A0B1");
    dialer_.on_failed(1, ECONNREFUSED);
    dialer_.start(endpoints("D"), kStart + 1000 * kMs);
    EXPECT_EQ(dialer_.in_flight_count(), 0U);
    EXPECT_EQ(at(1000), "D0");
    EXPECT_EQ(deadline(), 11'000);
    dialer_.on_failed(0, ENETUNREACH);
    EXPECT_EQ(at(1001), "!");
    EXPECT_EQ(dialer_.outcome(), StreamStatus::network_unreachable);
}

TEST_F(DialerTest, a_failure_of_a_slot_that_is_not_in_flight_is_ignored) {
    start("AB");
    EXPECT_EQ(at(0), "A0");
    dialer_.on_failed(3, ECONNREFUSED);
    EXPECT_EQ(deadline(), 250);
    dialer_.on_failed(0, EHOSTUNREACH);
    dialer_.on_failed(0, ECONNREFUSED);
    EXPECT_EQ(at(1), "B0");
    dialer_.on_failed(0, ENETUNREACH);
    EXPECT_EQ(at(2), "!");
    EXPECT_EQ(dialer_.outcome(), StreamStatus::host_unreachable);
}

TEST_F(DialerTest, the_most_telling_error_wins_in_any_order) {
    // From the least telling one to the most.
    const std::vector<int> errors{EINVAL, EMFILE, ENETUNREACH, EHOSTUNREACH, ETIMEDOUT, ECONNREFUSED};
    const std::vector<StreamStatus> statuses{StreamStatus::general_failure,     StreamStatus::at_capacity,
                                             StreamStatus::network_unreachable, StreamStatus::host_unreachable,
                                             StreamStatus::timed_out,           StreamStatus::connection_refused};
    for (size_t one = 0; one < errors.size(); ++one) {
        for (size_t other = 0; other < errors.size(); ++other) {
            start("AB");
            (void)at(0);
            dialer_.on_failed(0, errors[one]);
            (void)at(0);
            dialer_.on_failed(0, errors[other]);
            EXPECT_EQ(at(0), "!");
            EXPECT_EQ(dialer_.outcome(), statuses[std::max(one, other)]) << errors[one] << ' ' << errors[other];
        }
    }
}

TEST(StatusFromErrno, table) {
    const struct {
        int error;
        StreamStatus status;
    } table[] = {
        {0, StreamStatus::ok},
        {ECONNREFUSED, StreamStatus::connection_refused},
        {ECONNRESET, StreamStatus::connection_refused},
        {ETIMEDOUT, StreamStatus::timed_out},
        {EHOSTUNREACH, StreamStatus::host_unreachable},
        {EHOSTDOWN, StreamStatus::host_unreachable},
        {ENETUNREACH, StreamStatus::network_unreachable},
        {ENETDOWN, StreamStatus::network_unreachable},
        {EAFNOSUPPORT, StreamStatus::network_unreachable},
        {EADDRNOTAVAIL, StreamStatus::network_unreachable},
        {EMFILE, StreamStatus::at_capacity},
        {ENFILE, StreamStatus::at_capacity},
        {ENOBUFS, StreamStatus::at_capacity},
        {ENOMEM, StreamStatus::at_capacity},
        {EAGAIN, StreamStatus::at_capacity},
        {EACCES, StreamStatus::general_failure},
        {EPERM, StreamStatus::general_failure},
        {-1, StreamStatus::general_failure},
        {99999, StreamStatus::general_failure},
    };
    for (const auto& row : table) EXPECT_EQ(status_from_errno(row.error), row.status) << row.error;
}

// Random times and failures: never more than four in flight, each address once and in order, no start before its time,
// the deadline never lies about when something happens, and it always ends.
TEST(Dialer, random_walks) {
    std::mt19937_64 random(4711);
    for (int round = 0; round < 5000; ++round) {
        Dialer dialer(2'000 * kMs);
        const std::string names = std::string("ABCDEFGHIJKLMNOP").substr(0, random() % 17);
        dialer.start(endpoints(names), kStart);
        uint64_t now = kStart;
        std::string order;
        std::set<size_t> in_flight;
        bool given_up = false;
        while (!given_up) {
            const bool due = dialer.next_deadline_ns() <= now;
            const Dialer::Action action = dialer.next(now);
            if (action.kind != Dialer::Action::none) {
                ASSERT_TRUE(due);
            }
            if (action.kind == Dialer::Action::connect) {
                ASSERT_TRUE(in_flight.insert(action.attempt_slot).second);
                ASSERT_LE(in_flight.size(), Dialer::kAttemptsMax);
                order += static_cast<char>(action.to.port);
            } else if (action.kind == Dialer::Action::give_up) {
                given_up = true;
                ASSERT_TRUE(now >= kStart + 2'000 * kMs || (in_flight.empty() && order == names));
            } else {
                ASSERT_FALSE(due);
                if (random() % 3 == 0 && !in_flight.empty()) {
                    const size_t slot = *in_flight.begin();
                    in_flight.erase(slot);
                    dialer.on_failed(slot, ECONNREFUSED);
                } else {
                    now = random() % 2 == 0 ? dialer.next_deadline_ns() : now + random() % (300 * kMs);
                }
            }
            ASSERT_EQ(dialer.in_flight_count(), in_flight.size());
        }
        ASSERT_EQ(order, names.substr(0, order.size()));
        ASSERT_EQ(dialer.next(now).kind, Dialer::Action::none);
        ASSERT_EQ(dialer.next_deadline_ns(), Dialer::kNever);
    }
}

}  // namespace
}  // namespace qanat::dataplane
