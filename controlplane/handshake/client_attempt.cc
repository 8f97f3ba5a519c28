#include "controlplane/handshake/client_attempt.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "common/base/assert.h"

namespace qanat::controlplane {

ClientAttempt::ClientAttempt(CommandPort& port, const ClientCredentials& credentials, const RandomBytes& random,
                             const NodeLookup& lookup, const PublicKey& node, std::vector<NodeAddress> addresses,
                             Duration timeout, uint32_t engine, uint64_t& next_connection, Handlers handlers)
    : port_(port),
      credentials_(credentials),
      random_(random),
      lookup_(lookup),
      node_(node),
      untried_(addresses.begin(), addresses.end()),
      timeout_(timeout),
      engine_(engine),
      next_connection_(next_connection),
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
    if (untried_.empty()) {
        done_ = true;
        deadline_.reset();
        return handlers_.on_failed(last_error_, now);
    }
    const NodeAddress next = untried_.front();
    untried_.pop_front();
    if (!next.target.is_name()) return connect(next.target.endpoint(), now);

    // The resolver has its own deadline.
    deadline_.reset();
    const std::string name(next.target.name());
    lookup_(name, next.family,
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

void ClientAttempt::connect(const wire::Endpoint& address, Instant now) {
    address_ = address;
    handshake_.reset();
    connection_ = ring::kOutgoingConnectionBit | ++next_connection_;
    deadline_ = now + timeout_;
    ring::ControlConnect message{};
    message.connection = connection_;
    message.timeout_ms = static_cast<uint32_t>(timeout_.count());
    message.address = to_ring(address);
    port_.send(engine_, message);
}

void ClientAttempt::on_opened(int error, Instant now) {
    if (done_ || connection_ == 0 || handshake_) return;
    if (error != 0) {
        connection_ = 0;  // it never was
        return next_after(std::string("cannot connect to ") + address_->format() + ": " + std::strerror(error), now);
    }
    Secret<32> ephemeral;
    random_(ephemeral.writable());
    auto started = handshake::ClientHandshake::start({
        .node_static = node_,
        .identity = credentials_.identity.clone(),
        .gate_key = credentials_.network_key.gate.clone(),
        .noise_key = credentials_.network_key.noise.clone(),
        .offer = {.capabilities = credentials_.capabilities,
                  .suites = handshake::SuiteList(credentials_.suites),
                  .boot_id = credentials_.boot_id,
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
                return next_after(address_->format() + ": " + reason, now);
            }
        }
    }
}

void ClientAttempt::on_closed(int, Instant now) {
    if (done_ || connection_ == 0) return;
    connection_ = 0;
    // A node that does not like what it sees says nothing and closes at a random time.
    next_after(address_->format() + ": " + std::string(handshake::kNoAnswerText), now);
}

void ClientAttempt::tick(Instant now) {
    if (done_ || !deadline_ || now < *deadline_) return;
    const bool connected = handshake_.has_value();
    close();
    next_after(connected ? address_->format() + ": " + std::string(handshake::kNoAnswerText)
                         : "cannot connect to " + address_->format() + ": no answer in time",
               now);
}

void ClientAttempt::send(Bytes bytes) {
    ring::ControlSend message{};
    message.connection = connection_;
    message.size = static_cast<uint16_t>(bytes.size());
    std::copy(bytes.begin(), bytes.end(), message.bytes.begin());
    port_.send(engine_, message);
}

void ClientAttempt::close() {
    if (connection_ == 0) return;
    ring::ControlClose message{};
    message.connection = std::exchange(connection_, 0);
    message.how = ring::CloseHow::close;
    port_.send(engine_, message);
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
    opened.address = *address_;
    opened.engine = engine_;
    opened.connection = std::exchange(connection_, 0);  // the owner's now
    if (!rest.empty()) opened.first_input = opened.channel->feed(rest);
    handlers_.on_opened(std::move(opened), now);
}

}  // namespace qanat::controlplane
