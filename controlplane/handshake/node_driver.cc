#include "controlplane/handshake/node_driver.h"

#include <sodium.h>

#include <algorithm>
#include <cstring>

#include "common/base/log.h"
#include "common/crypto/hkdf.h"
#include "common/handshake/node_id.h"

namespace qanat::controlplane {
namespace {

using handshake::SessionStatus;

uint32_t granted_window(uint32_t wished) {
    if (wished == 0) return NodeDriver::kWindowDefault;
    const uint32_t bounded = std::clamp(wished, NodeDriver::kWindowDefault, NodeDriver::kWindowMax);
    return (bounded + 63) / 64 * 64;
}

Secret<32> fresh_secret(const RandomBytes& random) {
    Secret<32> secret;
    random(secret.writable());
    return secret;
}

Secret<16> fresh_short_secret(const RandomBytes& random) {
    Secret<16> secret;
    random(secret.writable());
    return secret;
}

// For people: what a relay passes on has no address that means anything here.
std::string describe(const wire::Endpoint& peer) {
    return came_over_relay(peer) ? "over a relay" : peer.format();
}

}  // namespace

NodeDriver::NodeDriver(CommandPort& port, Settings settings, RandomBytes random, Instant now, Services services)
    : port_(port),
      settings_(std::move(settings)),
      services_(std::move(services)),
      random_(std::move(random)),
      admission_(settings_.admission, now),
      sessions_(settings_.sessions_max),
      header_key_(fresh_secret(random_)),
      cookies_(fresh_secret(random_), now),
      seen_(fresh_short_secret(random_)) {}

void NodeDriver::start() {
    ring::NodeKeys keys{};
    std::memcpy(keys.header_key.data(), header_key_.bytes().data(), keys.header_key.size());
    port_.send_all(keys);
    sodium_memzero(&keys, sizeof keys);
}

void NodeDriver::reset() {
    connections_.clear();
    connection_of_.clear();
    for ([[maybe_unused]] const uint64_t ended : sessions_.clear()) continue;
}

void NodeDriver::on_accepted(uint32_t engine, const ring::ControlAccepted& event, Instant now) {
    const Key key{engine, event.connection};
    // The engine gives a number again only after ControlClosed; should it not, the newer connection counts.
    if (const auto old = connections_.find(key); old != connections_.end()) connections_.erase(old);
    const auto at = connections_.try_emplace(key).first;
    at->second.peer = from_ring(event.peer);
    handle_msg1(at, event.bytes, now);
}

void NodeDriver::on_data(uint32_t engine, const ring::ControlData& event, Instant now) {
    const auto at = connections_.find({engine, event.connection});
    if (at == connections_.end()) return;
    const Bytes bytes = Bytes(event.bytes).first(event.size);
    if (at->second.channel != nullptr) return handle_control(at, bytes, now);

    // After a challenge: the same MSG1 with another tag, and not a byte more before MSG2.
    std::vector<uint8_t>& input = at->second.input;
    if (input.size() + bytes.size() > handshake::kMsg1Size) return drop(at, "wrong_length");
    input.insert(input.end(), bytes.begin(), bytes.end());
    if (input.size() == handshake::kMsg1Size) {
        const std::vector<uint8_t> msg1 = std::move(input);
        handle_msg1(at, msg1, now);
    }
}

void NodeDriver::on_closed(uint32_t engine, const ring::ControlClosed& event, Instant now) {
    const auto at = connections_.find({engine, event.connection});
    if (at == connections_.end()) return;
    if (const uint64_t id = at->second.session_id; id != 0) {
        log_debug("control connection closed", {{"peer", describe(at->second.peer)}, {"error", event.error}});
        sessions_.control_closed(id, now);
        connection_of_.erase(id);
    }
    connections_.erase(at);
}

void NodeDriver::on_confirmed(const ring::SessionConfirmed& event) {
    sessions_.confirm(event.session_id);
}

void NodeDriver::tick(Instant now) {
    for (const uint64_t id : sessions_.expire(now)) end_session(id);
}

void NodeDriver::announce_draining() {
    draining_ = true;
    for (auto& [key, connection] : connections_) {
        if (connection.channel == nullptr) continue;
        if (const auto record = connection.channel->seal({.kind = wire::ControlMessage::Kind::draining}))
            send(key, *record, connection.proved);
    }
}

void NodeDriver::handle_msg1(Connections::iterator at, Bytes msg1, Instant now) {
    Connection& connection = at->second;
    if (cookies_.rotation_due(now)) cookies_.rotate(fresh_secret(random_), now);
    const handshake::GateContext context{
        .node_static = settings_.identity.public_key,
        .accepted = settings_.network_keys,
        .seen = seen_,
        .cookies = cookies_,
        .source = connection.peer.ip.mapped(),
        .now = now,
        .load = admission_.under_load(now) ? handshake::Load::high : handshake::Load::normal,
    };
    const auto verdict = connection.handshake.check_gate(msg1, context);
    if (!verdict) return drop(at, handshake::node_drop_name(verdict.error()));
    if (*verdict == handshake::GateVerdict::challenge) {
        ++challenges_;
        return send(at->first, connection.handshake.challenge(), false);
    }
    if (!admission_.admit(connection.peer.ip, now)) return drop(at, "rate_limited");
    open_session(at, settings_.network_keys[connection.handshake.network_key_index()], now);
}

void NodeDriver::open_session(Connections::iterator at, const crypto::NetworkKeys& keys, Instant now) {
    Connection& connection = at->second;
    const auto offer = connection.handshake.read(settings_.identity, keys);
    if (!offer) return drop(at, handshake::node_drop_name(offer.error()));
    // Here a list of members would be asked; in this version, who holds the network key is a member.
    if (draining_) return refuse(at, SessionStatus::draining, "refused_draining");
    const auto suite =
        handshake::choose_suite(offer->payload.suites, settings_.suites,
                                handshake::both_have_aes(settings_.capabilities, offer->payload.capabilities));
    if (!suite) return refuse(at, SessionStatus::no_common_suite, "refused_no_common_suite");
    const auto ended = sessions_.make_room(offer->client_static, now);
    if (!ended) return refuse(at, SessionStatus::too_many_sessions, "refused_too_many_sessions");
    for (const uint64_t id : *ended) end_session(id);

    const uint32_t window = granted_window(offer->payload.wished_window);
    const auto accepted = connection.handshake.accept(
        {
            .suite = *suite,
            .capabilities = settings_.capabilities,
            .session_id = random_session_id(),
            .lifetime_s = static_cast<uint32_t>(std::chrono::ceil<std::chrono::seconds>(settings_.lifetime).count()),
            .window = window,
            .header_key = header_key_,
            .ephemeral = fresh_secret(random_),
        },
        seen_);
    if (!accepted) return drop(at, handshake::node_drop_name(accepted.error()));

    const uint64_t session_id = accepted->secrets.session_id;
    connection.session_id = session_id;
    connection.client = offer->client_static;
    connection.channel = std::make_unique<ControlChannel>(ControlChannel::Side::node, accepted->secrets);
    connection_of_[session_id] = at->first;
    sessions_.insert(session_id, offer->client_static, now, settings_.lifetime,
                     {.peer = connection.peer, .suite = *suite});
    ++handshakes_ok_;
    install(*accepted, offer->client_static, window);
    log_info("session opened", {{"client", encode_node_id(offer->client_static)},
                                {"peer", describe(connection.peer)},
                                {"suite", crypto::suite_name(*suite)},
                                {"sessions", sessions_.size()}});

    // The session exists in every engine before MSG2 leaves, so a stream can never come before its session.
    port_.when_flushed([this, key = at->first, session_id, msg2 = accepted->msg2] {
        const auto still = connections_.find(key);
        if (still != connections_.end() && still->second.session_id == session_id) send(key, msg2, false);
    });
}

void NodeDriver::refuse(Connections::iterator at, SessionStatus status, std::string_view reason) {
    const auto msg2 = at->second.handshake.refuse(status, fresh_secret(random_), seen_);
    if (!msg2) return drop(at, handshake::node_drop_name(msg2.error()));
    count_failure(reason);
    send(at->first, *msg2, false);
    close(at, ring::CloseHow::close);
}

void NodeDriver::install(const handshake::AcceptedSession& accepted, const PublicKey& client, uint32_t window) {
    ring::InstallSession message{};
    message.session_id = accepted.secrets.session_id;
    message.window = window;
    message.side = ring::SessionSide::node;
    message.suite = static_cast<uint8_t>(accepted.secrets.suite);
    std::memcpy(message.data_secret.data(), accepted.secrets.data.bytes().data(), message.data_secret.size());
    message.peer = client;
    port_.send_all(message);
    sodium_memzero(&message, sizeof message);
}

void NodeDriver::handle_control(Connections::iterator at, Bytes bytes, Instant now) {
    Connection& connection = at->second;
    ControlChannel::Input input = connection.channel->feed(bytes);
    for (const wire::ControlMessage& message : input.messages) {
        connection.proved = true;
        sessions_.confirm(connection.session_id);
        switch (message.kind) {
            case wire::ControlMessage::Kind::ping: {
                const uint16_t load = services_.load ? services_.load() : uint16_t{0};
                if (!send_message(at, {.kind = wire::ControlMessage::Kind::pong, .token = message.token, .load = load}))
                    input.ended = true;
                break;
            }
            case wire::ControlMessage::Kind::pong:
                break;  // we send no PING
            case wire::ControlMessage::Kind::ask_policy:
                ask_policy(at, message);
                break;
            case wire::ControlMessage::Kind::punch:
                punch(at, message);
                break;
            case wire::ControlMessage::Kind::draining:
            case wire::ControlMessage::Kind::policy_answer:
            case wire::ControlMessage::Kind::punch_answer:
                input.ended = true;
                break;
        }
    }
    if (!input.ended) return;
    // Before the client has proved itself this is still the silent path.
    sessions_.control_closed(connection.session_id, now);
    connection_of_.erase(connection.session_id);
    close(at, connection.proved ? ring::CloseHow::close : ring::CloseHow::silent);
}

void NodeDriver::ask_policy(Connections::iterator at, const wire::ControlMessage& question) {
    Connection& connection = at->second;
    if (!services_.ask_policy || connection.questions >= kQuestionsPerConnection) return;
    ++connection.questions;
    services_.ask_policy(question.target, [this, key = at->first, session_id = connection.session_id,
                                           token = question.token](wire::StreamStatus status, wire::Reason reason) {
        const auto still = connections_.find(key);
        if (still == connections_.end() || still->second.session_id != session_id) return;
        --still->second.questions;
        // A key that is used up shows at the next PING.
        (void)send_message(
            still,
            {.kind = wire::ControlMessage::Kind::policy_answer, .token = token, .status = status, .reason = reason});
    });
}

void NodeDriver::punch(Connections::iterator at, const wire::ControlMessage& question) {
    Connection& connection = at->second;
    const auto answer = [this, key = at->first, session_id = connection.session_id, token = question.token](
                            wire::PunchStatus status, const wire::Endpoint& address) {
        const auto still = connections_.find(key);
        if (still == connections_.end() || still->second.session_id != session_id) return;
        --still->second.questions;
        // A key that is used up shows at the next PING.
        (void)send_message(
            still,
            {.kind = wire::ControlMessage::Kind::punch_answer, .token = token, .address = address, .punch = status});
    };
    if (connection.questions >= kQuestionsPerConnection) return;
    ++connection.questions;
    if (!services_.punch || draining_) return answer(wire::PunchStatus::impossible, {});
    services_.punch(at->first.first, connection.client, question.address, question.delay_ms, answer);
}

bool NodeDriver::send_message(Connections::iterator at, const wire::ControlMessage& message) {
    const auto record = at->second.channel->seal(message);
    if (!record) return false;
    send(at->first, *record, at->second.proved);
    return true;
}

void NodeDriver::send(const Key& key, Bytes bytes, bool authenticated) {
    ring::ControlSend message{};
    message.connection = key.second;
    message.size = static_cast<uint16_t>(bytes.size());
    message.authenticated = authenticated ? 1 : 0;
    std::copy(bytes.begin(), bytes.end(), message.bytes.begin());
    port_.send(key.first, message);
}

void NodeDriver::close(Connections::iterator at, ring::CloseHow how) {
    ring::ControlClose message{};
    message.connection = at->first.second;
    message.how = how;
    port_.send(at->first.first, message);
    connections_.erase(at);
}

void NodeDriver::drop(Connections::iterator at, std::string_view reason) {
    count_failure(reason);
    log_debug("handshake dropped", {{"peer", describe(at->second.peer)}, {"reason", reason}});
    close(at, ring::CloseHow::silent);
}

void NodeDriver::end_session(uint64_t session_id) {
    ring::RemoveSession message{};
    message.session_id = session_id;
    port_.send_all(message);
    const auto found = connection_of_.find(session_id);
    if (found == connection_of_.end()) return;
    const auto at = connections_.find(found->second);
    connection_of_.erase(found);
    if (at != connections_.end()) close(at, at->second.proved ? ring::CloseHow::close : ring::CloseHow::silent);
}

void NodeDriver::count_failure(std::string_view reason) {
    const auto found = failed_.find(reason);
    if (found == failed_.end())
        failed_.emplace(reason, 1);
    else
        ++found->second;
}

uint64_t NodeDriver::random_session_id() {
    uint64_t id = 0;
    while (id == 0 || sessions_.contains(id)) {
        std::array<uint8_t, 8> bytes{};
        random_(bytes);
        std::memcpy(&id, bytes.data(), sizeof id);
    }
    return id;
}

}  // namespace qanat::controlplane
