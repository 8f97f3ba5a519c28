// Every byte of every message: which values the codec lets pass.
#include "common/ring/codec.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <random>
#include <vector>

#include "validated.h"

namespace qanat::ring {
namespace {

using test::sample;
using test::validate_of;
using enum CodecError;

// What a byte of a sample may become.
enum class Freedom {
    checked,  // complementing it must be refused
    free,     // any value passes
    either,   // depends on the value; tested by name below
};

struct Range {
    size_t offset;
    size_t size;
    Freedom freedom;
};

#define RANGE(M, field, freedom)                               \
    Range {                                                    \
        offsetof(M, field), sizeof(M::field), Freedom::freedom \
    }

// A node number: the low byte is free, the next one decides, the others are 0.
void add_node(std::vector<Range>& ranges, size_t offset) {
    ranges.push_back({offset, 1, Freedom::free});
    ranges.push_back({offset + 1, 1, Freedom::either});
}

void add_via(std::vector<Range>& ranges, size_t offset) {
    for (size_t i = 0; i < kViaMax; ++i) {
        add_node(ranges, offset + i * sizeof(Via));
        ranges.push_back({offset + i * sizeof(Via) + offsetof(Via, next), 18, Freedom::free});
    }
}

// The free bytes of every message; all others are checked.
template <Message M>
std::vector<Range> freedoms() {
    return {};
}
template <>
std::vector<Range> freedoms<Listen>() {
    constexpr size_t address = offsetof(Listen, address);
    return {RANGE(Listen, listener, free), {address, 18, Freedom::free}};
}
template <>
std::vector<Range> freedoms<InstallSession>() {
    std::vector<Range> ranges{RANGE(InstallSession, session_id, free), RANGE(InstallSession, window, either),
                              RANGE(InstallSession, data_secret, free), RANGE(InstallSession, header_key, free),
                              RANGE(InstallSession, peer, free)};
    add_node(ranges, offsetof(InstallSession, node));
    return ranges;
}
template <>
std::vector<Range> freedoms<RemoveSession>() {
    return {RANGE(RemoveSession, session_id, free)};
}
template <>
std::vector<Range> freedoms<NodeKeys>() {
    return {RANGE(NodeKeys, header_key, free)};
}
template <>
std::vector<Range> freedoms<PlanPart>() {
    std::vector<Range> ranges{RANGE(PlanPart, version, free),
                              {offsetof(PlanPart, total), 1, Freedom::either},
                              RANGE(PlanPart, response_timeout_ms, free),
                              RANGE(PlanPart, tries_max, free)};
    for (size_t i = 0; i < kPlanHopsPerPart; ++i) {
        const size_t hop = offsetof(PlanPart, hops) + i * sizeof(PlanHop);
        add_node(ranges, hop);
        ranges.push_back({hop + offsetof(PlanHop, weight), 4 + 18, Freedom::free});
        add_via(ranges, hop + offsetof(PlanHop, via));
    }
    return ranges;
}
template <>
std::vector<Range> freedoms<PolicyPart>() {
    std::vector<Range> ranges{RANGE(PolicyPart, version, free), {offsetof(PolicyPart, total), 1, Freedom::either}};
    for (size_t i = 0; i < kPolicyRulesPerPart; ++i) {
        const size_t rule = offsetof(PolicyPart, rules) + i * sizeof(PolicyRule);
        ranges.push_back({rule, 16, Freedom::free});
        ranges.push_back({rule + offsetof(PolicyRule, number), 4, Freedom::free});
    }
    return ranges;
}
template <>
std::vector<Range> freedoms<Users>() {
    return {RANGE(Users, salt, free), RANGE(Users, tags, free)};
}
template <>
std::vector<Range> freedoms<ResolveResult>() {
    std::vector<Range> ranges{RANGE(ResolveResult, query, free)};
    for (size_t i = 0; i < kResolvedMax; ++i)
        ranges.push_back({offsetof(ResolveResult, addresses) + i * sizeof(RingEndpoint), 18, Freedom::free});
    return ranges;
}
template <>
std::vector<Range> freedoms<ControlConnect>() {
    std::vector<Range> ranges{{offsetof(ControlConnect, connection), 7, Freedom::free},
                              RANGE(ControlConnect, timeout_ms, free),
                              {offsetof(ControlConnect, address), 18, Freedom::free},
                              RANGE(ControlConnect, id, free)};
    add_via(ranges, offsetof(ControlConnect, via));
    return ranges;
}
template <>
std::vector<Range> freedoms<ControlSend>() {
    return {RANGE(ControlSend, connection, free), RANGE(ControlSend, bytes, free)};
}
template <>
std::vector<Range> freedoms<ControlClose>() {
    return {RANGE(ControlClose, connection, free)};
}
template <>
std::vector<Range> freedoms<ListenResult>() {
    return {RANGE(ListenResult, listener, free),
            {offsetof(ListenResult, error), 2, Freedom::either},
            {offsetof(ListenResult, address), 18, Freedom::free}};
}
template <>
std::vector<Range> freedoms<ControlAccepted>() {
    return {{offsetof(ControlAccepted, connection), 7, Freedom::free},
            {offsetof(ControlAccepted, peer), 18, Freedom::free},
            RANGE(ControlAccepted, bytes, free)};
}
template <>
std::vector<Range> freedoms<ControlOpened>() {
    std::vector<Range> ranges{{offsetof(ControlOpened, connection), 7, Freedom::free},
                              {offsetof(ControlOpened, error), 2, Freedom::either},
                              RANGE(ControlOpened, status, free)};
    add_node(ranges, offsetof(ControlOpened, at));
    return ranges;
}
template <>
std::vector<Range> freedoms<ControlData>() {
    return {RANGE(ControlData, connection, free), RANGE(ControlData, bytes, free)};
}
template <>
std::vector<Range> freedoms<ControlClosed>() {
    return {RANGE(ControlClosed, connection, free), {offsetof(ControlClosed, error), 2, Freedom::either}};
}
template <>
std::vector<Range> freedoms<Resolve>() {
    return {RANGE(Resolve, query, free), RANGE(Resolve, name, free)};
}
template <>
std::vector<Range> freedoms<SessionConfirmed>() {
    return {RANGE(SessionConfirmed, session_id, free)};
}
template <>
std::vector<Range> freedoms<HopFailed>() {
    std::vector<Range> ranges{RANGE(HopFailed, session_id, free),
                              {offsetof(HopFailed, error), 2, Freedom::either},
                              RANGE(HopFailed, status, free)};
    add_node(ranges, offsetof(HopFailed, node));
    add_node(ranges, offsetof(HopFailed, at));
    return ranges;
}
template <>
std::vector<Range> freedoms<StreamEnded>() {
    return {RANGE(StreamEnded, bytes_up, free),    RANGE(StreamEnded, bytes_down, free),
            RANGE(StreamEnded, duration_us, free), RANGE(StreamEnded, node, free),
            RANGE(StreamEnded, status, free),      RANGE(StreamEnded, port, free),
            RANGE(StreamEnded, target, free)};
}

template <>
std::vector<Range> freedoms<Settings>() {
    return {RANGE(Settings, pool_max, free), RANGE(Settings, pool_min_rtt_us, free)};
}
template <>
std::vector<Range> freedoms<Offer>() {
    std::vector<Range> ranges{
        RANGE(Offer, minimum, either), RANGE(Offer, maximum, either), {offsetof(Offer, address), 18, Freedom::free}};
    add_node(ranges, offsetof(Offer, node));
    return ranges;
}
template <>
std::vector<Range> freedoms<RelaySettings>() {
    return {RANGE(RelaySettings, streams_max, free), RANGE(RelaySettings, offers_max, free),
            RANGE(RelaySettings, members_max, free), RANGE(RelaySettings, bytes_per_second, free)};
}
template <>
std::vector<Range> freedoms<MemberResult>() {
    return {RANGE(MemberResult, query, free), {offsetof(MemberResult, address), 18, Freedom::free}};
}
template <>
std::vector<Range> freedoms<NodeStats>() {
    std::vector<Range> ranges;
    for (size_t i = 0; i < kNodeStatsPerPart; ++i) {
        const size_t entry = offsetof(NodeStats, entries) + i * sizeof(NodeStatsEntry);
        add_node(ranges, entry);
        ranges.push_back({entry + 4, sizeof(NodeStatsEntry) - 4, Freedom::free});
    }
    return ranges;
}
template <>
std::vector<Range> freedoms<OfferState>() {
    std::vector<Range> ranges{RANGE(OfferState, parked, free),
                              RANGE(OfferState, taken, free),
                              {offsetof(OfferState, error), 2, Freedom::either},
                              RANGE(OfferState, status, free)};
    add_node(ranges, offsetof(OfferState, node));
    return ranges;
}
template <>
std::vector<Range> freedoms<MemberWanted>() {
    return {RANGE(MemberWanted, query, free),
            RANGE(MemberWanted, id, free),
            {offsetof(MemberWanted, hint), 18, Freedom::free}};
}

template <>
std::vector<Range> freedoms<Punch>() {
    std::vector<Range> ranges{{offsetof(Punch, punch), 7, Freedom::free},
                              {offsetof(Punch, address), 18, Freedom::free}};
    add_node(ranges, offsetof(Punch, relay));
    return ranges;
}
template <>
std::vector<Range> freedoms<PunchPeer>() {
    return {RANGE(PunchPeer, punch, free),
            RANGE(PunchPeer, delay_ms, free),
            {offsetof(PunchPeer, peer), 18, Freedom::free}};
}
template <>
std::vector<Range> freedoms<PunchObserved>() {
    std::vector<Range> ranges{{offsetof(PunchObserved, punch), 7, Freedom::free},
                              {offsetof(PunchObserved, observed), 18, Freedom::free}};
    add_node(ranges, offsetof(PunchObserved, node));
    return ranges;
}

TEST(Codec, SamplesAreValidAtAnyAlignment) {
    test::AllMessages::for_each([]<class M>() {
        const M message = sample<M>();
        EXPECT_EQ(validate_of(message), none) << message_name(M::kType);
        EXPECT_EQ(message_size(M::kType), sizeof(M));
        std::vector<uint8_t> shifted(sizeof(M) + 1);
        std::memcpy(shifted.data() + 1, &message, sizeof(M));
        EXPECT_EQ(validate(M::kType, Bytes(shifted).subspan(1)), none) << message_name(M::kType);
    });
}

TEST(Codec, SizeIsExact) {
    test::AllMessages::for_each([]<class M>() {
        std::vector<uint8_t> bytes(sizeof(M) + 8);
        const M message = sample<M>();
        std::memcpy(bytes.data(), &message, sizeof(M));
        for (const size_t size : {size_t{0}, sizeof(M) / 2, sizeof(M) - 1, sizeof(M) + 1, sizeof(M) + 8})
            EXPECT_EQ(validate(M::kType, Bytes(bytes).first(size)), bad_size) << message_name(M::kType) << size;
    });
}

TEST(Codec, UnknownTypes) {
    const std::vector<uint8_t> bytes(kMessagePayloadMax);
    for (const uint32_t type : {0U, 20U, 63U, 78U, 1000U, 0xffffffffU}) {
        EXPECT_EQ(validate(MessageType{type}, Bytes(bytes).first(8)), unknown_type);
        EXPECT_EQ(message_size(MessageType{type}), 0U);
    }
}

TEST(Codec, EveryByteOfEveryMessage) {
    test::AllMessages::for_each([]<class M>() {
        const M message = sample<M>();
        std::vector<uint8_t> bytes(sizeof(M));
        std::vector<Freedom> freedom(sizeof(M), Freedom::checked);
        for (const Range& range : freedoms<M>())
            std::fill_n(freedom.begin() + static_cast<std::ptrdiff_t>(range.offset), range.size, range.freedom);
        for (size_t i = 0; i < sizeof(M); ++i) {
            std::memcpy(bytes.data(), &message, sizeof(M));
            const uint8_t original = bytes[i];
            for (const int value : {0x00, 0xff, original ^ 0xff, original ^ 0x01, original ^ 0x80}) {
                bytes[i] = static_cast<uint8_t>(value);
                const CodecError error = validate(M::kType, bytes);
                if (freedom[i] == Freedom::free) {
                    EXPECT_EQ(error, none) << message_name(M::kType) << " byte " << i << " = " << value;
                }
                if (freedom[i] == Freedom::checked && value == (original ^ 0xff)) {
                    EXPECT_NE(error, none) << message_name(M::kType) << " byte " << i << " = " << value;
                }
            }
        }
    });
}

// Nothing random crashes it; sanitizers watch.
TEST(Codec, RandomBytes) {
    std::mt19937 random(1);
    std::vector<uint8_t> bytes(kMessagePayloadMax + 8);
    for (int round = 0; round < 20'000; ++round) {
        const MessageType type{static_cast<uint32_t>(random() % 80)};
        const uint32_t exact = message_size(type);
        const size_t size = random() % 4 != 0 ? exact : random() % bytes.size();
        // Mostly zeros lets more of them pass the first checks.
        for (uint8_t& byte : bytes) byte = random() % 8 == 0 ? static_cast<uint8_t>(random()) : uint8_t{0};
        (void)validate(type, Bytes(bytes).first(size));
    }
}

}  // namespace
}  // namespace qanat::ring
