#include "common/ring/permissions.h"

#include <gtest/gtest.h>

#include <initializer_list>
#include <string>

#include "samples.h"

namespace qanat::ring {
namespace {

std::string states_of(MessageType type, Role role) {
    std::string states;
    for (const LinkState state : {LinkState::starting, LinkState::running, LinkState::draining})
        states += permitted(type, direction_of(type), role, state) ? "SRD"[static_cast<int>(state) - 1] : '-';
    return states;
}

// The whole table, as docs/RING.md shows it: number, name, states of a client's link, states of a node's link.
constexpr const char* kExpected =
    "1 listen SR- SR-\n"
    "2 install_session SRD -RD\n"
    "3 remove_session SRD -RD\n"
    "4 node_keys --- S--\n"
    "5 plan_part SRD ---\n"
    "6 policy_part --- SRD\n"
    "7 users SRD ---\n"
    "8 resolve_result --- -RD\n"
    "9 control_connect SRD -RD\n"
    "10 control_send SRD -RD\n"
    "11 control_close SRD -RD\n"
    "12 drain SRD SRD\n"
    "13 stop SRD SRD\n"
    "14 settings SRD SRD\n"
    "15 offer --- -RD\n"
    "16 relay_settings --- SRD\n"
    "17 member_result --- -RD\n"
    "18 punch --- -RD\n"
    "19 punch_peer SRD -RD\n"
    "64 listen_result SRD SRD\n"
    "65 control_accepted --- -RD\n"
    "66 control_opened SRD -RD\n"
    "67 control_data SRD -RD\n"
    "68 control_closed SRD -RD\n"
    "69 resolve --- -RD\n"
    "70 session_confirmed --- -RD\n"
    "71 hop_failed SRD ---\n"
    "72 stream_ended -RD -RD\n"
    "73 drained SRD SRD\n"
    "74 node_stats SRD ---\n"
    "75 offer_state --- -RD\n"
    "76 member_wanted --- -RD\n"
    "77 punch_observed SRD -RD\n";

TEST(Permissions, TableIsPinned) {
    std::string table;
    for (uint32_t number = 0; number < 300; ++number) {
        const MessageType type{number};
        const std::string client = states_of(type, Role::client);
        const std::string node = states_of(type, Role::node);
        if (client == "---" && node == "---") {
            EXPECT_EQ(message_name(type), "unknown") << number;
            EXPECT_EQ(message_size(type), 0U) << number;
            continue;
        }
        table += std::to_string(number) + " " + std::string(message_name(type)) + " " + client + " " + node + "\n";
    }
    EXPECT_EQ(table, kExpected);
}

TEST(Permissions, NothingGoesAgainstItsDirection) {
    for (uint32_t number = 0; number < 300; ++number)
        for (const Role role : {Role::client, Role::node})
            for (const LinkState state : {LinkState::starting, LinkState::running, LinkState::draining}) {
                const MessageType type{number};
                const auto wrong = direction_of(type) == Direction::command ? Direction::event : Direction::command;
                EXPECT_FALSE(permitted(type, wrong, role, state)) << number;
            }
}

TEST(Permissions, ValuesOutOfRangePermitNothing) {
    for (uint32_t number = 0; number < 100; ++number) {
        const MessageType type{number};
        for (const uint8_t role : std::initializer_list<uint8_t>{0, 3, 255})
            EXPECT_FALSE(permitted(type, direction_of(type), Role{role}, LinkState::running));
        for (const uint8_t state : std::initializer_list<uint8_t>{0, 4, 7})
            EXPECT_FALSE(permitted(type, direction_of(type), Role::client, LinkState{state}));
    }
    EXPECT_FALSE(permitted(MessageType{0xffffffff}, Direction::event, Role::node, LinkState::running));
}

TEST(Permissions, EveryMessageIsInTheTable) {
    size_t count = 0;
    test::AllMessages::for_each([&]<class M>() {
        ++count;
        EXPECT_NE(message_name(M::kType), "unknown");
        EXPECT_TRUE(states_of(M::kType, Role::client) != "---" || states_of(M::kType, Role::node) != "---");
    });
    EXPECT_EQ(count, 33U);
}

TEST(Permissions, StatesFollowFromTheMessages) {
    using enum LinkState;
    EXPECT_EQ(next_state(starting, MessageType::settings), starting);
    EXPECT_EQ(next_state(starting, MessageType::listen), running);
    EXPECT_EQ(next_state(starting, MessageType::listen_result), running);
    EXPECT_EQ(next_state(starting, MessageType::drain), draining);
    EXPECT_EQ(next_state(starting, MessageType::stop), draining);
    EXPECT_EQ(next_state(running, MessageType::listen), running);
    EXPECT_EQ(next_state(running, MessageType::drain), draining);
    EXPECT_EQ(next_state(running, MessageType::drained), draining);
    for (uint32_t number = 0; number < 100; ++number) EXPECT_EQ(next_state(draining, MessageType{number}), draining);
}

}  // namespace
}  // namespace qanat::ring
