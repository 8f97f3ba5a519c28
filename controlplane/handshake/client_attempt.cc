#include "controlplane/handshake/client_attempt.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <utility>

#include "common/base/assert.h"
#include "common/wire/stream_messages.h"

namespace qanat::controlplane {

namespace {

// What a relay's refusal of FORWARD means (PROTOCOL.md 4.2).
std::string relay_refusal(uint8_t status) {
    switch (static_cast<wire::StreamStatus>(status)) {
        case wire::StreamStatus::kind_not_supported:
            return "does not relay";
        case wire::StreamStatus::at_capacity:
            return "is at capacity";
        case wire::StreamStatus::draining:
            return "is draining";
        case wire::StreamStatus::next_unknown:
            return "knows no way to the next node";
        case wire::StreamStatus::next_unreachable:
            return "could not reach the next node";
        case wire::StreamStatus::relay_limit:
            return "has reached the limit that it sets to each member";
        default:
            return "refused with status " + std::to_string(status);
    }
}

}  // namespace

uint64_t draw_u64(const RandomBytes& random) {
    std::array<uint8_t, 8> bytes{};
    random(bytes);
    uint64_t value = 0;
    std::memcpy(&value, bytes.data(), sizeof value);
    return value;
}

ClientAttempt::ClientAttempt(const Context& context, const PublicKey& node, std::vector<NodePath> paths,
                             Duration timeout, uint32_t engine, uint64_t connection_prefix, Handlers handlers)
    : context_(context),
      node_(node),
      paths_(paths.begin(), paths.end()),
      timeout_(timeout),
      engine_(engine),
      connection_prefix_(connection_prefix),
      handlers_(std::move(handlers)) {}

ClientAttempt::~ClientAttempt() {
    *alive_ = false;
    close();
}

void ClientAttempt::start(Instant now) {
    try_next(now);
}

void ClientAttempt::try_next(Instant now) {
    if (!resolved_.empty()) {
        const wire::Endpoint address = resolved_.front();
        resolved_.pop_front();
        return connect(address, now);
    }
    if (untried_.empty()) return try_next_path(now);
    const NodeAddress next = untried_.front();
    untried_.pop_front();
    target_ = next;
    if (!next.target.is_name()) return connect(next.target.endpoint(), now);

    // The resolver has its own deadline.
    deadline_.reset();
    const std::string name(next.target.name());
    context_.lookup(
        name, next.family,
        [this, alive = alive_, name, port = next.target.port()](Result<std::vector<wire::IpAddress>> found) {
            if (!*alive) return;
            if (!found)
                last_error_ = found.error().message;
            else if (found->empty())
                last_error_ = name + " has no address";
            else
                for (size_t i = 0; i < std::min(found->size(), kAddressesPerNameMax); ++i)
                    resolved_.push_back({(*found)[i], port});
            try_next(EventLoop::now());
        });
}

void ClientAttempt::try_next_path(Instant now) {
    if (path_begun_) {
        const NodePath failed = std::move(paths_.front());
        paths_.pop_front();
        path_begun_ = false;
        handlers_.on_path_failed(failed, now);
    }
    if (paths_.empty()) {
        done_ = true;
        deadline_.reset();
        return handlers_.on_failed(last_error_, now);
    }
    path_begun_ = true;
    target_.reset();
    const NodePath& path = paths_.front();
    untried_.assign(path.addrs.begin(), path.addrs.end());
    if (untried_.empty() && !path.via.empty()) return connect(std::nullopt, now);
    try_next(now);
}

void ClientAttempt::connect(const std::optional<wire::Endpoint>& address, Instant now) {
    address_ = address;
    handshake_.reset();
    if (paths_.front().via.empty()) return dial({.dial = *address, .via = {}}, now);
    const RelayView::Answer answer = context_.relays.route(paths_.front().via, address);
    switch (answer.state) {
        case RelayView::State::ready:
            return dial(answer.route, now);
        case RelayView::State::waiting:
            waiting_ = true;
            last_error_ = answer.reason;
            deadline_ = now + timeout_;
            return;
        case RelayView::State::failed:
            last_error_ = answer.reason;
            untried_.clear();  // they are all behind the same relays
            resolved_.clear();
            return try_next(now);
    }
}

void ClientAttempt::dial(const Route& route, Instant now) {
    connection_ = ring::kOutgoingConnectionBit | connection_prefix_ | ++context_.next_connection;
    deadline_ = now + timeout_;
    ring::ControlConnect message{};
    message.connection = connection_;
    message.timeout_ms = static_cast<uint32_t>(timeout_.count());
    message.address = to_ring(route.dial);
    message.id = node_;
    for (const ring::Via& via : route.via) message.via[message.via_count++] = via;
    context_.port.send(engine_, message);
}

void ClientAttempt::relays_changed(Instant now) {
    if (done_ || !waiting_) return;
    waiting_ = false;
    const Instant deadline = *deadline_;
    connect(address_, now);
    // Waiting on is waiting for the same thing.
    if (waiting_) deadline_ = deadline;
}

std::string ClientAttempt::where() const {
    std::string text = address_ ? address_->format() : "its reservation";
    const char* separator = " via ";
    if (!paths_.empty())
        for (const uint32_t relay : paths_.front().via)
            text += std::exchange(separator, " → ") + context_.relays.describe(relay);
    return text;
}

void ClientAttempt::on_opened(const ring::ControlOpened& event, Instant now) {
    if (done_ || connection_ == 0 || handshake_) return;
    if (event.error != 0 || event.status != 0) {
        connection_ = 0;  // it never was
        const auto status = static_cast<wire::StreamStatus>(event.status);
        // Unless it is about the node's address, the relay says the same again.
        if (event.status != 0 && status != wire::StreamStatus::next_unknown &&
            status != wire::StreamStatus::next_unreachable) {
            untried_.clear();
            resolved_.clear();
        }
        if (event.status != 0)
            return next_after("relay " + context_.relays.describe(event.at) + " " + relay_refusal(event.status), now);
        if (event.at != ring::kNoNode && !paths_.front().via.empty())
            return next_after("relay " + context_.relays.describe(event.at) + ": " + std::strerror(event.error), now);
        return next_after("cannot connect to " + where() + ": " + std::strerror(event.error), now);
    }
    Secret<32> ephemeral;
    context_.random(ephemeral.writable());
    auto started = handshake::ClientHandshake::start({
        .node_static = node_,
        .identity = context_.credentials.identity.clone(),
        .gate_key = context_.credentials.network_key.gate.clone(),
        .noise_key = context_.credentials.network_key.noise.clone(),
        .offer = {.capabilities = context_.credentials.capabilities,
                  .suites = handshake::SuiteList(context_.credentials.suites),
                  .boot_id = context_.credentials.boot_id,
                  .wished_window = 0},
        .ephemeral = std::move(ephemeral),
    });
    if (!started) {
        close();
        return next_after(std::string(started.error().message()), now);
    }
    handshake_.emplace(std::move(*started));
    send(handshake_->take_output());
}

void ClientAttempt::on_data(Bytes bytes, Instant now) {
    if (done_ || !handshake_) return;
    while (true) {
        const handshake::ClientHandshake::Step step = handshake_->feed(bytes);
        bytes = bytes.subspan(step.consumed);
        switch (step.progress) {
            case handshake::ClientHandshake::Progress::need_more:
                return;
            case handshake::ClientHandshake::Progress::challenged:
                if (const Bytes again = handshake_->take_output(); !again.empty()) send(again);
                if (bytes.empty()) return;
                continue;
            case handshake::ClientHandshake::Progress::established:
                return succeed(bytes, now);
            case handshake::ClientHandshake::Progress::failed: {
                const std::string reason(handshake_->failure().message());
                close();
                return next_after(where() + ": " + reason, now);
            }
        }
    }
}

void ClientAttempt::on_closed(Instant now) {
    if (done_ || connection_ == 0) return;
    connection_ = 0;
    // A node that does not like what it sees says nothing and closes at a random time.
    next_after(where() + ": " + std::string(handshake::kNoAnswerText), now);
}

void ClientAttempt::tick(Instant now) {
    if (done_ || !deadline_ || now < *deadline_) return;
    if (std::exchange(waiting_, false)) {  // its reason is in last_error_
        untried_.clear();
        resolved_.clear();
        return try_next(now);
    }
    const bool connected = handshake_.has_value();
    close();
    next_after(connected ? where() + ": " + std::string(handshake::kNoAnswerText)
                         : "cannot connect to " + where() + ": no answer in time",
               now);
}

void ClientAttempt::send(Bytes bytes) {
    ring::ControlSend message{};
    message.connection = connection_;
    message.size = static_cast<uint16_t>(bytes.size());
    std::copy(bytes.begin(), bytes.end(), message.bytes.begin());
    context_.port.send(engine_, message);
}

void ClientAttempt::close() {
    if (connection_ == 0) return;
    ring::ControlClose message{};
    message.connection = std::exchange(connection_, 0);
    message.how = ring::CloseHow::close;
    context_.port.send(engine_, message);
}

void ClientAttempt::next_after(std::string error, Instant now) {
    last_error_ = std::move(error);
    handshake_.reset();
    try_next(now);
}

void ClientAttempt::succeed(Bytes rest, Instant now) {
    done_ = true;
    deadline_.reset();
    OpenedSession opened;
    opened.session = handshake_->take_session();
    opened.channel = std::make_unique<ControlChannel>(ControlChannel::Side::client, opened.session.secrets);
    opened.path = std::move(paths_.front());
    opened.target = target_;
    opened.address = address_;
    opened.engine = engine_;
    opened.connection = std::exchange(connection_, 0);  // the owner's now
    if (!rest.empty()) opened.first_input = opened.channel->feed(rest);
    handlers_.on_opened(std::move(opened), now);
}

}  // namespace qanat::controlplane
