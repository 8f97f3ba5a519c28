// What the fields of messages may say.
#include "common/ring/codec.h"

#include <gtest/gtest.h>

#include <initializer_list>

#include "common/ring/permissions.h"
#include "validated.h"

namespace qanat::ring {
namespace {

using test::changed;
using enum CodecError;

TEST(Codec, Enums) {
    for (const uint8_t value : std::initializer_list<uint8_t>{0, 1, 2, 3, 4, 5, 6, 255}) {
        const auto expect = [&](uint8_t last) { return value >= 1 && value <= last ? none : bad_enum; };
        EXPECT_EQ(changed<Listen>([&](auto& m) { m.kind = ListenerKind{value}; }), expect(2));
        EXPECT_EQ(changed<InstallSession>([&](auto& m) { m.suite = value; }), expect(3));
        EXPECT_EQ(changed<PlanPart>([&](auto& m) { m.rule = PlanRule{value}; }), expect(5));
        EXPECT_EQ(changed<PlanPart>([&](auto& m) { m.hops[8].state = HopState{value}; }), expect(2));
        EXPECT_EQ(changed<PolicyPart>([&](auto& m) { m.rules[39].action = PolicyAction{value}; }), expect(2));
        EXPECT_EQ(changed<PolicyPart>([&](auto& m) { m.rules[39].origin = PolicyOrigin{value}; }), expect(3));
        EXPECT_EQ(changed<ControlClose>([&](auto& m) { m.how = CloseHow{value}; }), expect(2));
        EXPECT_EQ(changed<HopFailed>([&](auto& m) { m.stage = HopStage{value}; }), expect(3));
        const auto flag = value <= 1 ? none : bad_enum;
        EXPECT_EQ(changed<Listen>([&](auto& m) { m.check_exclusive = value; }), flag);
        EXPECT_EQ(changed<Users>([&](auto& m) { m.required = value; }), flag);
        EXPECT_EQ(changed<ControlSend>([&](auto& m) { m.authenticated = value; }), flag);
        EXPECT_EQ(changed<Settings>([&](auto& m) { m.stream_events = value; }), flag);
        EXPECT_EQ(changed<RemoveSession>([&](auto& m) { m.node_lost = value; }), flag);
        EXPECT_EQ(changed<RelaySettings>([&](auto& m) { m.enabled = value; }), flag);
    }
    for (uint32_t reason = 0; reason < 256; ++reason)
        EXPECT_EQ(changed<StreamEnded>([&](auto& m) { m.reason = static_cast<uint8_t>(reason); }),
                  reason >= 1 && reason < kEndReasonCount ? none : bad_enum);
}

TEST(Codec, Endpoints) {
    for (uint32_t family = 0; family < 256; ++family)
        EXPECT_EQ(changed<Listen>([&](auto& m) {
                      m.address = test::endpoint_v4();
                      m.address.family = static_cast<uint8_t>(family);
                  }),
                  family == 4 || family == 6 ? none : bad_endpoint);
    for (size_t i = 0; i < 16; ++i)
        EXPECT_EQ(changed<Listen>([&](auto& m) {
                      m.address = test::endpoint_v4();
                      m.address.ip[i] = 1;
                  }),
                  i < 4 ? none : bad_padding);
}

TEST(Codec, NodeNumbers) {
    for (const uint32_t node : {0U, kPlanHopsMax - 1, kPlanHopsMax, 0xffffffffU}) {
        const auto expected = node < kPlanHopsMax ? none : bad_node;
        EXPECT_EQ(changed<InstallSession>([&](auto& m) { m.node = node; }), expected);
        EXPECT_EQ(changed<PlanPart>([&](auto& m) { m.hops[8].node = node; }), expected);
        EXPECT_EQ(changed<PlanPart>([&](auto& m) { m.hops[8].via[2].node = node; }), expected);
        EXPECT_EQ(changed<ControlConnect>([&](auto& m) { m.via[0].node = node; }), expected);
        EXPECT_EQ(changed<Offer>([&](auto& m) { m.node = node; }), expected);
        EXPECT_EQ(changed<HopFailed>([&](auto& m) { m.at = node; }), expected);
        EXPECT_EQ(changed<NodeStats>([&](auto& m) { m.entries[15].node = node; }), expected);
        EXPECT_EQ(changed<ControlOpened>([&](auto& m) { m.at = node; }), node == kNoNode ? none : expected);
    }
}

TEST(Codec, Paths) {
    for (uint8_t count = 0; count <= kViaMax; ++count)
        EXPECT_EQ(changed<ControlConnect>([&](auto& m) {
                      m.via_count = count;
                      for (size_t i = count; i < kViaMax; ++i) m.via[i] = {};
                  }),
                  none);
    EXPECT_EQ(changed<ControlConnect>([](auto& m) { m.via_count = kViaMax + 1; }), bad_count);
    EXPECT_EQ(changed<ControlConnect>([](auto& m) { m.via_count = kViaMax - 1; }), bad_padding);
    EXPECT_EQ(changed<ControlConnect>([](auto& m) { m.via[1].next = {}; }), none);  // a reservation
}

TEST(Codec, WhatBelongsTogether) {
    EXPECT_EQ(changed<Offer>([](auto& m) { m.minimum = m.maximum; }), none);
    EXPECT_EQ(changed<Offer>([](auto& m) { m.minimum = static_cast<uint16_t>(m.maximum + 1); }), bad_count);
    EXPECT_EQ(changed<Offer>([](auto& m) { m.address = {}; }), bad_endpoint);
    EXPECT_EQ(changed<Offer>([](auto& m) {
                  m.address = {};
                  m.minimum = m.maximum = 0;
              }),
              none);
    for (const MemberStatus status : {MemberStatus::reserved, MemberStatus::unknown, MemberStatus::busy}) {
        EXPECT_EQ(changed<MemberResult>([&](auto& m) { m.status = status; }), bad_padding);
        EXPECT_EQ(changed<MemberResult>([&](auto& m) {
                      m.status = status;
                      m.address = {};
                  }),
                  none);
    }
    EXPECT_EQ(changed<MemberResult>([](auto& m) { m.address = {}; }), bad_endpoint);
    EXPECT_EQ(changed<MemberWanted>([](auto& m) { m.hint = {}; }), none);
    EXPECT_EQ(changed<NodeStats>([](auto& m) { m.count = 0; }), bad_count);
    EXPECT_EQ(changed<NodeStats>([](auto& m) { m.count = kNodeStatsPerPart + 1; }), bad_count);
}

TEST(Codec, Punches) {
    EXPECT_EQ(changed<PlanPart>([](auto& m) { m.hops[8].punch = 0; }), none);
    EXPECT_EQ(changed<PlanPart>([](auto& m) { m.hops[8].punch = 2; }), bad_enum);
    // Only what goes over a relay now.
    EXPECT_EQ(changed<PlanPart>([](auto& m) { m.hops[8].via_count = 0, m.hops[8].via = {}; }), bad_enum);

    EXPECT_EQ(changed<Punch>([](auto& m) { m.punch |= kClientPunchBit; }), bad_connection);
    EXPECT_EQ(changed<Punch>([](auto& m) { m.address = {}; }), bad_endpoint);

    for (uint32_t start = 0; start < 256; ++start)
        EXPECT_EQ(changed<PunchPeer>([&](auto& m) {
                      m.start = PunchStart{static_cast<uint8_t>(start)};
                      if (m.start != PunchStart::ready) m.delay_ms = 0, m.peer = {};
                  }),
                  start >= 1 && start <= 3 ? none : bad_enum);
    EXPECT_EQ(changed<PunchPeer>([](auto& m) { m.peer = {}; }), bad_endpoint);
    EXPECT_EQ(changed<PunchPeer>([](auto& m) { m.start = PunchStart::busy, m.delay_ms = 0; }), bad_padding);
    EXPECT_EQ(changed<PunchPeer>([](auto& m) { m.start = PunchStart::busy, m.peer = {}; }), bad_padding);

    const auto of_node = [](auto& m) { m.punch = 77, m.node = 0; };
    EXPECT_EQ(changed<PunchObserved>(of_node), none);
    EXPECT_EQ(changed<PunchObserved>([&](auto& m) { of_node(m), m.node = 1; }), bad_padding);
    EXPECT_EQ(changed<PunchObserved>([](auto& m) { m.node = kPlanHopsMax; }), bad_node);
    EXPECT_EQ(changed<PunchObserved>([](auto& m) { m.observed = {}; }), bad_endpoint);
    for (const int32_t error : {-1, 0, 1, 4095, 4096}) {
        const auto failed = [&](auto& m) { of_node(m), m.error = error, m.observed = {}; };
        const auto expected = error == 0 ? bad_endpoint : error > 0 && error <= 4095 ? none : bad_errno;
        EXPECT_EQ(changed<PunchObserved>(failed), expected) << error;
    }
    EXPECT_EQ(changed<PunchObserved>([&](auto& m) { of_node(m), m.error = 111; }), bad_padding);
    // A client's engine is silent when it has nothing to say.
    EXPECT_EQ(changed<PunchObserved>([](auto& m) { m.error = 111, m.observed = {}; }), bad_errno);
}

TEST(Codec, PrefixLengths) {
    struct Row {
        uint8_t family;
        uint8_t bits;
        CodecError error;
    };
    for (const Row& row : {Row{4, 0, none}, Row{4, 31, none}, Row{4, 32, none}, Row{4, 33, bad_prefix}, Row{6, 0, none},
                           Row{6, 127, none}, Row{6, 128, none}, Row{6, 129, bad_prefix}, Row{6, 255, bad_prefix},
                           Row{5, 0, bad_endpoint}})
        EXPECT_EQ(changed<PolicyPart>([&](auto& m) {
                      for (auto& rule : m.rules) {
                          rule.ip = {10};
                          rule.family = row.family;
                          rule.bits = row.bits;
                      }
                  }),
                  row.error)
            << int{row.family} << "/" << int{row.bits};
}

TEST(Codec, PartsOfAPlanAndAPolicy) {
    struct Row {
        uint32_t total;
        uint32_t first;
        uint16_t count;
        CodecError plan;
        CodecError policy;
    };
    for (const Row& row : {
             Row{0, 0, 0, none, none},
             Row{0, 1, 0, bad_parts, bad_parts},
             Row{0, 0, 1, bad_parts, bad_parts},
             Row{1, 0, 0, bad_parts, bad_parts},
             Row{1, 0, 1, none, none},
             Row{1, 1, 1, bad_parts, bad_parts},
             Row{8, 0, 9, bad_parts, bad_parts},
             Row{9, 0, 9, none, none},
             Row{10, 1, 9, none, none},
             Row{10, 2, 9, bad_parts, bad_parts},
             Row{100, 0, 10, bad_count, none},
             Row{100, 0, 40, bad_count, none},
             Row{100, 0, 41, bad_count, bad_count},
             Row{100, 0, 65535, bad_count, bad_count},
             Row{3999, 3998, 1, none, none},
             Row{4000, 3999, 1, none, none},
             Row{4001, 0, 1, none, bad_count},
             Row{16383, 16382, 1, none, bad_count},
             Row{16384, 16383, 1, none, bad_count},
             Row{16384, 16384, 1, bad_parts, bad_count},
             Row{16385, 0, 1, bad_count, bad_count},
             Row{9, 0xffffffff, 9, bad_parts, bad_parts},  // would wrap in 32 bits
             Row{0xffffffff, 0, 1, bad_count, bad_count},
         }) {
        const auto shape = [&](auto& message, auto& items) {
            message.total = row.total;
            message.first = row.first;
            message.count = row.count;
            for (size_t i = row.count; i < items.size(); ++i) items[i] = {};
        };
        EXPECT_EQ(changed<PlanPart>([&](auto& m) { shape(m, m.hops); }), row.plan) << row.total << " " << row.first;
        EXPECT_EQ(changed<PolicyPart>([&](auto& m) { shape(m, m.rules); }), row.policy)
            << row.total << " " << row.first;
    }
}

TEST(Codec, Counts) {
    for (const uint8_t count : std::initializer_list<uint8_t>{0, 1, 15, 16, 17, 255}) {
        EXPECT_EQ(changed<Users>([&](auto& m) {
                      m.count = count;
                      for (size_t i = count; i < m.tags.size(); ++i) m.tags[i] = {};
                  }),
                  count <= 16 ? none : bad_count);
        EXPECT_EQ(changed<ResolveResult>([&](auto& m) {
                      m.count = count;
                      for (size_t i = count; i < m.addresses.size(); ++i) m.addresses[i] = {};
                  }),
                  count >= 1 && count <= 16 ? none : bad_count);
    }
    for (const uint8_t status : std::initializer_list<uint8_t>{0, 1, 2, 5, 6})
        EXPECT_EQ(changed<ResolveResult>([&](auto& m) {
                      m.status = ResolveStatus{status};
                      m.count = status == 1 ? 16 : 0;
                      if (status != 1) m.addresses = {};
                  }),
                  status >= 1 && status <= 5 ? none : bad_enum);
    EXPECT_EQ(changed<ResolveResult>([](auto& m) { m.status = ResolveStatus::failed; }), bad_count);

    for (const uint16_t size : std::initializer_list<uint16_t>{0, 1, 959, 960, 961, 65535}) {
        const auto shape = [&](auto& message) {
            message.size = size;
            for (size_t i = size; i < message.bytes.size(); ++i) message.bytes[i] = 0;
        };
        EXPECT_EQ(changed<ControlSend>(shape), size <= 960 ? none : bad_count) << size;
        EXPECT_EQ(changed<ControlData>(shape), size >= 1 && size <= 960 ? none : bad_count) << size;
    }
    for (const uint8_t size : std::initializer_list<uint8_t>{0, 1, 254, 255}) {
        EXPECT_EQ(changed<Resolve>([&](auto& m) {
                      m.size = size;
                      for (size_t i = size; i < m.name.size(); ++i) m.name[i] = 0;
                  }),
                  size >= 1 ? none : bad_count);
        EXPECT_EQ(changed<StreamEnded>([&](auto& m) {
                      m.target_size = size;
                      for (size_t i = size; i < m.target.size(); ++i) m.target[i] = 0;
                  }),
                  none);
    }
}

TEST(Codec, BytesBehindACountAreZero) {
    EXPECT_EQ(changed<PlanPart>([](auto& m) { m.count = 8; }), bad_padding);
    EXPECT_EQ(changed<PolicyPart>([](auto& m) { m.count = 39; }), bad_padding);
    EXPECT_EQ(changed<Users>([](auto& m) { m.count = 15; }), bad_padding);
    EXPECT_EQ(changed<ResolveResult>([](auto& m) { m.count = 15; }), bad_padding);
    EXPECT_EQ(changed<ControlSend>([](auto& m) { m.size = 959; }), bad_padding);
    EXPECT_EQ(changed<ControlData>([](auto& m) { m.size = 959; }), bad_padding);
    EXPECT_EQ(changed<Resolve>([](auto& m) { m.size = 254; }), bad_padding);
    EXPECT_EQ(changed<StreamEnded>([](auto& m) { m.target_size = 254; }), bad_padding);
}

TEST(Codec, Sessions) {
    EXPECT_EQ(changed<InstallSession>([](auto& m) { m.session_id = 0; }), bad_session);
    EXPECT_EQ(changed<RemoveSession>([](auto& m) { m.session_id = 0; }), bad_session);
    EXPECT_EQ(changed<SessionConfirmed>([](auto& m) { m.session_id = 0; }), bad_session);
    const auto node = [](auto& m) {
        m.side = SessionSide::node;
        m.node = 0;
        m.header_key = {};
    };
    for (const uint32_t window : {0U, 1U, 63U, 64U, 65U, 128U, 65536U}) {
        const auto expected = window != 0 && window % 64 == 0 ? none : bad_session;
        EXPECT_EQ(changed<InstallSession>([&](auto& m) { m.window = window; }), expected) << window;
        EXPECT_EQ(changed<InstallSession>([&](auto& m) { node(m), m.window = window; }), expected) << window;
    }
    for (const uint32_t window : {kSessionWindowMax - 64, kSessionWindowMax, kSessionWindowMax + 64}) {
        EXPECT_EQ(changed<InstallSession>([&](auto& m) { m.window = window; }), none);
        EXPECT_EQ(changed<InstallSession>([&](auto& m) { node(m), m.window = window; }),
                  window <= kSessionWindowMax ? none : bad_session);
    }
    EXPECT_EQ(changed<InstallSession>([&](auto& m) { node(m), m.node = 1; }), bad_padding);
    EXPECT_EQ(changed<InstallSession>([&](auto& m) { node(m), m.header_key[31] = 1; }), bad_padding);
}

TEST(Codec, ConnectionNumbersSayWhoMadeThem) {
    EXPECT_EQ(changed<ControlConnect>([](auto& m) { m.connection = 5; }), bad_connection);
    EXPECT_EQ(changed<ControlOpened>([](auto& m) { m.connection = 5; }), bad_connection);
    EXPECT_EQ(changed<ControlAccepted>([](auto& m) { m.connection |= kOutgoingConnectionBit; }), bad_connection);
    for (const uint64_t connection : {uint64_t{5}, kOutgoingConnectionBit | 5}) {
        EXPECT_EQ(changed<ControlSend>([&](auto& m) { m.connection = connection; }), none);
        EXPECT_EQ(changed<ControlClose>([&](auto& m) { m.connection = connection; }), none);
        EXPECT_EQ(changed<ControlData>([&](auto& m) { m.connection = connection; }), none);
        EXPECT_EQ(changed<ControlClosed>([&](auto& m) { m.connection = connection; }), none);
    }
}

TEST(Codec, Errnos) {
    for (const int32_t error : {INT32_MIN, -111, -1, 0, 1, 4095, 4096, INT32_MAX}) {
        const auto expected = error >= 0 && error <= 4095 ? none : bad_errno;
        const auto set = [&](auto& m) { m.error = error; };
        EXPECT_EQ(changed<ListenResult>(set), expected) << error;
        EXPECT_EQ(changed<ControlOpened>(set), expected) << error;
        EXPECT_EQ(changed<ControlClosed>(set), expected) << error;
        EXPECT_EQ(changed<HopFailed>(set), expected) << error;
    }
    // A listener without an address has failed.
    EXPECT_EQ(changed<ListenResult>([](auto& m) { m.address = {}; }), bad_endpoint);
    EXPECT_EQ(changed<ListenResult>([](auto& m) { m.address = {}, m.error = 98; }), none);
}

TEST(Codec, SecretsAreKnown) {
    for (uint32_t number = 0; number < 100; ++number) {
        const MessageType type{number};
        EXPECT_EQ(carries_secrets(type),
                  type == MessageType::install_session || type == MessageType::node_keys || type == MessageType::users);
    }
}

TEST(Codec, ErrorsHaveNames) {
    for (uint8_t error = 0; error <= static_cast<uint8_t>(bad_padding); ++error)
        EXPECT_NE(codec_error_name(CodecError{error}), "unknown");
}

}  // namespace
}  // namespace qanat::ring
