// The control plane's ends of the rings against the engine's ends, in one process.
#include <gtest/gtest.h>
#include <unistd.h>

#include <optional>

#include "common/ring/channel.h"
#include "common/ring/region.h"
#include "controlplane/plane_link/command_port.h"
#include "controlplane/plane_link/link.h"

namespace qanat::controlplane {
namespace {

using std::chrono::milliseconds;

UniqueFd duplicate(const UniqueFd& fd) {
    return UniqueFd(::dup(fd.get()));
}

class LinkTest : public testing::Test {
protected:
    static constexpr uint32_t kEngines = 2;

    LinkTest() : region_(ring::Region::create(kEngines).value()), give_up_(loop_, [this] { loop_.stop(); }) {
        ring::ReceivedReply reply{};
        reply.reply.engines = kEngines;
        reply.fds.emplace_back(::dup(region_.fd()));
        for (uint32_t i = 0; i < kEngines; ++i) {
            UniqueFd command_event = ring::make_eventfd().value();
            UniqueFd event_event = ring::make_eventfd().value();
            reply.fds.push_back(duplicate(command_event));
            reply.fds.push_back(duplicate(event_event));
            commands_[i].emplace(ring::Direction::command, region_.engine(i).commands, std::move(command_event),
                                 ring::Role::client);
            events_[i].emplace(region_.engine(i).events, std::move(event_event));
        }
        link_ = Link::open(
                    loop_, std::move(reply), ring::Role::client,
                    {.on_event = [this](uint32_t engine, const ring::MessageView& event) { on_event_(engine, event); },
                     .on_fault =
                         [this](std::string reason) {
                             fault_ = std::move(reason);
                             loop_.stop();
                         }})
                    .value();
        give_up_.start(std::chrono::seconds(20));
    }

    void send_remove(uint32_t engine, uint64_t session) {
        ring::RemoveSession message{};
        message.session_id = session;
        link_->write(engine, message.kType,
                     Bytes(static_cast<const uint8_t*>(static_cast<const void*>(&message)), sizeof message));
    }
    // The session ids that the engine takes now.
    size_t take(uint32_t engine, uint64_t& next) {
        size_t count = 0;
        while (true) {
            const auto message = commands_[engine]->next();
            EXPECT_TRUE(message.has_value());
            if (!message || !message->has_value()) return count;
            EXPECT_EQ((*message)->get<ring::RemoveSession>().session_id, next);
            ++next;
            ++count;
        }
    }

    EventLoop loop_;
    ring::Region region_;
    std::array<std::optional<ring::Receiver>, kEngines> commands_;
    std::array<std::optional<ring::EventSender>, kEngines> events_;
    std::unique_ptr<Link> link_;
    Timer give_up_;
    std::function<void(uint32_t, const ring::MessageView&)> on_event_;
    std::string fault_;
};

TEST_F(LinkTest, DepthsAreMessagesThatWait) {
    EXPECT_EQ(link_->depths(1).commands, 0u);
    for (uint64_t id = 1; id <= 3; ++id) send_remove(1, id);
    EXPECT_EQ(link_->depths(1).commands, 3u);
    EXPECT_EQ(link_->depths(0).commands, 0u);
    uint64_t next = 1;
    EXPECT_EQ(take(1, next), 3u);
    EXPECT_TRUE(commands_[1]->prepare_to_sleep());  // gives the slots back
    EXPECT_EQ(link_->depths(1).commands, 0u);
    // Whatever the other plane writes there, it is a number of slots.
    ring::RingSection& events = region_.engine(1).events;
    events.tail.value.store(~uint64_t{0});
    EXPECT_EQ(link_->depths(1).events, ring::kSlotsPerRing);
    events.tail.value.store(5);
    events.head.value.store(6);
    EXPECT_EQ(link_->depths(1).events, 0u);
}

TEST_F(LinkTest, CommandsArriveInOrderAndFlushIsImmediate) {
    for (uint64_t id = 1; id <= 10; ++id) send_remove(1, id);
    bool flushed = false;
    link_->when_flushed([&] { flushed = true; });
    EXPECT_TRUE(flushed);
    uint64_t next = 1;
    EXPECT_EQ(take(1, next), 10u);
    EXPECT_EQ(take(0, next), 0u);
}

TEST_F(LinkTest, AFullRingQueuesAndTheBarrierWaitsForEveryEngine) {
    const uint64_t many = ring::kSlotsPerRing + 500;
    for (uint64_t id = 1; id <= many; ++id) send_remove(0, id);
    send_remove(1, 1);
    int flushed = 0;
    link_->when_flushed([&] { flushed = 1; });
    link_->when_flushed([&] {
        EXPECT_EQ(flushed, 1);
        flushed = 2;
        loop_.stop();
    });
    EXPECT_EQ(flushed, 0);

    uint64_t next = 1;
    Timer consumer(loop_, [&] { take(0, next); });
    consumer.start_every(milliseconds(1));
    loop_.run();
    EXPECT_EQ(flushed, 2);
    take(0, next);
    EXPECT_EQ(next, many + 1);
    EXPECT_EQ(fault_, "");
}

TEST_F(LinkTest, AnEngineThatTakesNothingIsAFault) {
    for (uint64_t id = 1; id <= ring::kSlotsPerRing + EngineLink::kQueueMax + 1; ++id) send_remove(1, id);
    loop_.run();
    EXPECT_EQ(fault_, "engine 1: the engine takes no commands");
}

TEST_F(LinkTest, EventsWakeTheLoop) {
    uint64_t seen = 0;
    const uint64_t many = 3000;  // more than a ring, and more than one turn of the loop takes
    on_event_ = [&](uint32_t engine, const ring::MessageView& event) {
        EXPECT_EQ(engine, 1u);
        EXPECT_EQ(event.get<ring::ControlClosed>().connection, ++seen);
        if (seen == many) loop_.stop();
    };
    uint64_t sent = 0;
    Timer producer(loop_, [&] {
        ring::ControlClosed closed{};
        for (closed.connection = sent + 1; sent < many && events_[1]->send(closed); ++closed.connection) ++sent;
        events_[1]->flush();
    });
    producer.start_every(milliseconds(1));
    loop_.run();
    EXPECT_EQ(seen, many);
}

TEST_F(LinkTest, AForbiddenEventIsAFaultAndNothingFollows) {
    on_event_ = [](uint32_t, const ring::MessageView&) { ADD_FAILURE(); };
    ring::SessionConfirmed confirmed{};  // a node's event
    confirmed.session_id = 1;
    ASSERT_TRUE(events_[0]->send(confirmed));
    ring::ControlClosed closed{};
    closed.connection = 1;
    ASSERT_TRUE(events_[0]->send(closed));
    events_[0]->flush();
    loop_.run();
    EXPECT_NE(fault_.find("engine 0: "), std::string::npos) << fault_;
    send_remove(0, 1);  // into the void
}

TEST(RingAddresses, GoThereAndBack) {
    for (const char* text : {"1.2.3.4:5", "[2001:db8::1]:65535", "0.0.0.0:0", "[::]:4000"}) {
        const auto endpoint = *wire::Endpoint::parse(text);
        EXPECT_EQ(from_ring(to_ring(endpoint)), endpoint) << text;
    }
    ring::RingEndpoint mapped{};
    mapped.family = 6;
    mapped.ip = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 1, 2, 3, 4};
    EXPECT_EQ(from_ring(mapped).ip.format(), "1.2.3.4");
}

}  // namespace
}  // namespace qanat::controlplane
