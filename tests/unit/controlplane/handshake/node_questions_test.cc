// What a node answers on a control connection beyond the handshake: PING with its load, ASK_POLICY. The client here is
// the pure machines, so that it can ask more than ours would.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "common/crypto/random.h"
#include "common/handshake/session_client.h"
#include "controlplane/handshake/node_driver.h"
#include "tests/unit/controlplane/handshake/fake_port.h"

namespace qanat::controlplane {
namespace {

using Kind = wire::ControlMessage::Kind;
using wire::StreamStatus;

crypto::NetworkKeys network_keys() {
    Secret<32> psk;
    psk.writable()[0] = 9;
    return crypto::derive_network_keys(psk);
}

Identity identity(uint8_t number) {
    Secret<32> random;
    random.writable()[1] = number;
    return make_key_pair(std::move(random));
}

class NodeQuestions : public testing::Test {
protected:
    using Done = std::function<void(StreamStatus, wire::Reason)>;
    using PunchDone = std::function<void(wire::PunchStatus, const wire::Endpoint&)>;
    struct Punched {
        std::string peer;
        uint16_t delay_ms;
        PunchDone done;
    };

    NodeQuestions() : node_(port_, settings(), &crypto::random_bytes, EventLoop::now(), services()) {
        node_.start();
        connect();
    }

    static NodeDriver::Settings settings() {
        NodeDriver::Settings settings;
        settings.identity = identity(1);
        settings.network_keys.push_back(network_keys());
        settings.suites = {crypto::Suite::chacha20_poly1305};
        return settings;
    }
    NodeDriver::Services services() {
        return {.ask_policy = [this](const wire::Target& target,
                                     Done done) { asked_.emplace_back(target.format(), std::move(done)); },
                .punch =
                    [this](uint32_t engine, const PublicKey& member, const wire::Endpoint& peer, uint16_t delay_ms,
                           PunchDone done) {
                        EXPECT_EQ(engine, 0u);
                        EXPECT_EQ(member, identity(2).public_key);
                        punches_.push_back({peer.format(), delay_ms, std::move(done)});
                    },
                .load = [this] { return load_; }};
    }

    void connect() {
        const std::vector<crypto::Suite> suites{crypto::Suite::chacha20_poly1305};
        crypto::NetworkKeys keys = network_keys();
        Secret<32> ephemeral;
        crypto::random_bytes(ephemeral.writable());
        auto handshake = handshake::ClientHandshake::start({
            .node_static = identity(1).public_key,
            .identity = identity(2),
            .gate_key = std::move(keys.gate),
            .noise_key = std::move(keys.noise),
            .offer = {.capabilities = 0, .suites = handshake::SuiteList(suites), .boot_id = {}, .wished_window = 0},
            .ephemeral = std::move(ephemeral),
        });
        ASSERT_TRUE(handshake.has_value());
        ring::ControlAccepted accepted{};
        accepted.connection = 1;
        accepted.peer = to_ring(*wire::Endpoint::parse("198.51.100.9:5555"));
        const Bytes msg1 = handshake->take_output();
        std::copy(msg1.begin(), msg1.end(), accepted.bytes.begin());
        node_.on_accepted(0, accepted, EventLoop::now());
        const auto sent = port_.all<ring::ControlSend>();
        ASSERT_EQ(sent.size(), 1u);
        ASSERT_EQ(handshake->feed(Bytes(sent[0].bytes).first(sent[0].size)).progress,
                  handshake::ClientHandshake::Progress::established);
        channel_ = std::make_unique<ControlChannel>(ControlChannel::Side::client, handshake->take_session().secrets);
        port_.commands.clear();
    }

    void tell(const wire::ControlMessage& message) {
        const auto record = channel_->seal(message);
        ring::ControlData data{};
        data.connection = 1;
        data.size = static_cast<uint16_t>(record->size());
        std::copy(record->begin(), record->end(), data.bytes.begin());
        node_.on_data(0, data, EventLoop::now());
    }
    void ask(uint64_t token, std::string_view target = "example.org:443") {
        tell({.kind = Kind::ask_policy, .token = token, .target = *wire::Target::parse(target)});
    }
    std::vector<wire::ControlMessage> heard() {
        std::vector<wire::ControlMessage> messages;
        for (const ring::ControlSend& send : port_.all<ring::ControlSend>()) {
            EXPECT_EQ(send.authenticated, 1);
            const auto input = channel_->feed(Bytes(send.bytes).first(send.size));
            EXPECT_FALSE(input.ended);
            messages.insert(messages.end(), input.messages.begin(), input.messages.end());
        }
        port_.commands.clear();
        return messages;
    }

    uint16_t load_ = 0;
    std::vector<std::pair<std::string, Done>> asked_;
    std::vector<Punched> punches_;
    FakePort port_{1};
    NodeDriver node_;
    std::unique_ptr<ControlChannel> channel_;
};

TEST_F(NodeQuestions, PongCarriesTheLoad) {
    load_ = 4321;
    tell({.kind = Kind::ping, .token = 7});
    const auto messages = heard();
    ASSERT_EQ(messages.size(), 1u);
    EXPECT_EQ(messages[0].kind, Kind::pong);
    EXPECT_EQ(messages[0].token, 7u);
    EXPECT_EQ(messages[0].load, 4321);
}

TEST_F(NodeQuestions, AnswersCarryTheTokenInWhateverOrderTheyCome) {
    ask(1, "a.example:80");
    ask(2, "10.0.0.1:80");
    ASSERT_EQ(asked_.size(), 2u);
    EXPECT_EQ(asked_[0].first, "a.example:80");
    EXPECT_EQ(asked_[1].first, "10.0.0.1:80");
    EXPECT_TRUE(heard().empty());
    asked_[1].second(StreamStatus::denied, wire::Reason("denied by built-in rule 10.0.0.0/8"));
    asked_[0].second(StreamStatus::name_not_found, wire::Reason("the name does not exist"));
    const auto messages = heard();
    ASSERT_EQ(messages.size(), 2u);
    EXPECT_EQ(messages[0].kind, Kind::policy_answer);
    EXPECT_EQ(messages[0].token, 2u);
    EXPECT_EQ(messages[0].status, StreamStatus::denied);
    EXPECT_EQ(messages[0].reason.text(), "denied by built-in rule 10.0.0.0/8");
    EXPECT_EQ(messages[1].token, 1u);
    EXPECT_EQ(messages[1].status, StreamStatus::name_not_found);
}

TEST_F(NodeQuestions, NoMoreThanEightWaitPerConnection) {
    for (uint64_t token = 0; token < 12; ++token) ask(token);
    EXPECT_EQ(asked_.size(), NodeDriver::kQuestionsPerConnection);
    asked_[0].second(StreamStatus::ok, wire::Reason());
    ask(100);
    EXPECT_EQ(asked_.size(), NodeDriver::kQuestionsPerConnection + 1);
    EXPECT_EQ(heard().size(), 1u);
}

TEST_F(NodeQuestions, AnAnswerForAConnectionThatIsGoneGoesNowhere) {
    ask(1);
    ask(2);
    ring::ControlClosed closed{};
    closed.connection = 1;
    node_.on_closed(0, closed, EventLoop::now());
    asked_[0].second(StreamStatus::ok, wire::Reason());
    EXPECT_TRUE(port_.all<ring::ControlSend>().empty());

    // Nor to another client that has got the same number since.
    connect();
    asked_[1].second(StreamStatus::ok, wire::Reason());
    EXPECT_TRUE(port_.all<ring::ControlSend>().empty());
}

TEST_F(NodeQuestions, PunchIsAnsweredWithItsToken) {
    const wire::Endpoint here = *wire::Endpoint::parse("203.0.113.5:40000");
    const wire::Endpoint there = *wire::Endpoint::parse("198.51.100.9:50000");
    tell({.kind = Kind::punch, .token = 4, .address = here, .delay_ms = 30});
    tell({.kind = Kind::punch, .token = 5, .address = here, .delay_ms = 0});
    ASSERT_EQ(punches_.size(), 2u);
    EXPECT_EQ(punches_[0].peer, here.format());
    EXPECT_EQ(punches_[0].delay_ms, 30);
    EXPECT_TRUE(heard().empty());
    punches_[1].done(wire::PunchStatus::busy, {});
    punches_[0].done(wire::PunchStatus::ready, there);
    const auto messages = heard();
    ASSERT_EQ(messages.size(), 2u);
    EXPECT_EQ(messages[0].kind, Kind::punch_answer);
    EXPECT_EQ(messages[0].token, 5u);
    EXPECT_EQ(messages[0].punch, wire::PunchStatus::busy);
    EXPECT_EQ(messages[1].token, 4u);
    EXPECT_EQ(messages[1].address, there);

    for (uint64_t token = 0; token < 20; ++token) tell({.kind = Kind::punch, .token = token, .address = here});
    EXPECT_EQ(punches_.size(), 2 + NodeDriver::kQuestionsPerConnection);
    ring::ControlClosed closed{};
    closed.connection = 1;
    node_.on_closed(0, closed, EventLoop::now());
    punches_[2].done(wire::PunchStatus::ready, there);
    EXPECT_TRUE(port_.all<ring::ControlSend>().empty());
}

TEST_F(NodeQuestions, APunchAnswerFromAClientEndsTheConnection) {
    tell({.kind = Kind::punch_answer, .token = 4});
    EXPECT_EQ(port_.all<ring::ControlClose>().size(), 1u);
}

TEST_F(NodeQuestions, TheSessionTellsWhoseItIs) {
    tell({.kind = Kind::ping, .token = 7});
    EXPECT_TRUE(node_.sessions().is_here(identity(2).public_key));
    const auto views = node_.sessions().views();
    ASSERT_EQ(views.size(), 1u);
    EXPECT_EQ(views[0].origin.peer.format(), "198.51.100.9:5555");
    EXPECT_EQ(views[0].origin.suite, crypto::Suite::chacha20_poly1305);
}

}  // namespace
}  // namespace qanat::controlplane
