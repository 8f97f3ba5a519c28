#include "controlplane/relay/reservations.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cerrno>

#include "common/wire/stream_messages.h"
#include "tests/unit/controlplane/handshake/fake_port.h"

namespace qanat::controlplane {
namespace {

using State = Reservations::State;

constexpr uint32_t kEngines = 2;

PublicKey id_of(uint32_t number) {
    PublicKey id{};
    id[0] = static_cast<uint8_t>(number + 1);
    return id;
}

Reservations::Relay relay(uint32_t number, const char* address = nullptr) {
    return {.number = number,
            .id = id_of(number),
            .address = address == nullptr ? std::nullopt : wire::Endpoint::parse(address)};
}

class ReservationsTest : public testing::Test {
protected:
    void update(std::vector<Reservations::Relay> relays) { reservations_.update(relays); }
    void state(uint32_t engine, uint32_t node, uint32_t parked, uint64_t taken = 0, int32_t error = 0,
               wire::StreamStatus status = wire::StreamStatus::ok) {
        ring::OfferState message{};
        message.node = node;
        message.parked = parked;
        message.taken = taken;
        message.error = error;
        message.status = static_cast<uint8_t>(status);
        reservations_.on_state(engine, message);
    }
    std::vector<ring::Offer> take_offers() {
        auto offers = port_.all<ring::Offer>();
        port_.commands.clear();
        return offers;
    }
    [[nodiscard]] Reservations::View view(size_t index = 0) const { return reservations_.views().at(index); }

    FakePort port_{kEngines};
    Reservations reservations_{port_};
};

TEST_F(ReservationsTest, EveryEngineOffersToARelayThatIsUp) {
    update({relay(0), relay(1, "192.0.2.1:4000")});
    const auto offers = take_offers();
    ASSERT_EQ(offers.size(), kEngines);
    for (const ring::Offer& offer : offers) {
        EXPECT_EQ(offer.node, 1u);
        EXPECT_EQ(from_ring(offer.address).format(), "192.0.2.1:4000");
        EXPECT_EQ(offer.minimum, 2);
        EXPECT_EQ(offer.maximum, 64);
    }
    EXPECT_EQ(view(0).state, State::connecting);
    EXPECT_EQ(view(1).state, State::waiting);

    // Nothing new, nothing sent: a renewed session is no change.
    update({relay(0), relay(1, "192.0.2.1:4000")});
    EXPECT_TRUE(take_offers().empty());
    // Another address of the same relay.
    update({relay(0), relay(1, "192.0.2.2:4000")});
    EXPECT_EQ(take_offers().size(), kEngines);
}

TEST_F(ReservationsTest, TheEnginesTellHowItGoes) {
    update({relay(0, "192.0.2.1:4000")});
    const struct {
        const char* what;
        uint32_t parked;  // of engine 0; engine 1 has the rest
        uint32_t parked_other;
        int32_t error;
        wire::StreamStatus status;
        State expected;
        const char* text;
    } kTable[] = {
        {"nothing yet", 0, 0, 0, wire::StreamStatus::ok, State::waiting, ""},
        {"one engine is there", 0, 2, 0, wire::StreamStatus::ok, State::reserved, ""},
        {"limit", 0, 0, 0, wire::StreamStatus::relay_limit, State::refused, "its limit for each member"},
        {"limit for some", 3, 0, 0, wire::StreamStatus::relay_limit, State::reserved, "its limit for each member"},
        {"no relay", 0, 0, 0, wire::StreamStatus::kind_not_supported, State::refused, "it does not relay"},
        {"full", 0, 0, 0, wire::StreamStatus::at_capacity, State::refused, "it is at capacity"},
        {"unreachable", 0, 0, ECONNREFUSED, wire::StreamStatus::ok, State::failed, "Connection refused"},
    };
    for (const auto& row : kTable) {
        SCOPED_TRACE(row.what);
        state(0, 0, row.parked, 5, row.error, row.status);
        state(1, 0, row.parked_other, 7);
        EXPECT_EQ(view().state, row.expected);
        EXPECT_EQ(view().error, row.text);
        EXPECT_EQ(view().parked, row.parked + row.parked_other);
        EXPECT_EQ(view().taken, 12u);
    }
    state(0, 17, 1);  // a relay that is not ours any more
    EXPECT_EQ(reservations_.views().size(), 1u);
}

TEST_F(ReservationsTest, ARelayThatRestartsIsOfferedToAgain) {
    update({relay(0, "192.0.2.1:4000")});
    state(0, 0, 2, 9);
    ASSERT_EQ(view().state, State::reserved);
    take_offers();
    update({relay(0)});
    EXPECT_EQ(view().state, State::connecting);
    EXPECT_EQ(view().parked, 0u);
    EXPECT_EQ(view().taken, 9u);
    EXPECT_TRUE(take_offers().empty());
    update({relay(0, "192.0.2.1:4000")});
    EXPECT_EQ(take_offers().size(), kEngines);
}

TEST_F(ReservationsTest, ARelayThatIsNotNamedAnyMoreLosesItsConnections) {
    update({relay(0, "192.0.2.1:4000"), relay(1, "192.0.2.2:4000")});
    take_offers();
    update({relay(1, "192.0.2.2:4000")});
    const auto offers = take_offers();
    ASSERT_EQ(offers.size(), kEngines);
    EXPECT_EQ(offers[0].node, 0u);
    EXPECT_EQ(offers[0].maximum, 0);
    EXPECT_EQ(reservations_.views().size(), 1u);
}

TEST_F(ReservationsTest, ShutdownTakesAllBack) {
    update({relay(0, "192.0.2.1:4000"), relay(1)});
    take_offers();
    reservations_.stop();
    const auto offers = take_offers();
    ASSERT_EQ(offers.size(), 2 * kEngines);
    for (const ring::Offer& offer : offers) EXPECT_EQ(offer.maximum, 0);
    update({relay(0, "192.0.2.1:4000"), relay(1, "192.0.2.2:4000")});
    EXPECT_TRUE(take_offers().empty());
}

TEST_F(ReservationsTest, ANewDataPlaneIsToldEverything) {
    update({relay(0, "192.0.2.1:4000")});
    reservations_.reset();
    take_offers();
    update({relay(0, "192.0.2.1:4000")});
    EXPECT_EQ(take_offers().size(), kEngines);
}

}  // namespace
}  // namespace qanat::controlplane
