#include "dataplane/control/control_connections.h"

#include <poll.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "common/crypto/random.h"
#include "dataplane/engine/socket.h"
#include "dataplane/engine/timers.h"
#include "dataplane/stream/ring_endpoint.h"

namespace qanat::dataplane {
namespace {

// When the ring to the control plane is (nearly) full: look again.
constexpr uint64_t kRingRetryNs = 20 * kNsPerMs;
constexpr uint32_t kRingReserve = 16;
// How long a peer may take to read what it is sent before a close.
constexpr uint64_t kCloseTimeoutNs = 5'000 * kNsPerMs;

ring::ControlOpened opened(uint64_t connection, int error, uint32_t at = ring::kNoNode) {
    ring::ControlOpened event{};
    event.connection = connection;
    event.error = error;
    event.at = at;
    return event;
}

}  // namespace

ControlConnections::Connection* ControlConnections::find(uint64_t id) {
    const auto found = by_id_.find(id);
    return found == by_id_.end() || found->second->ended ? nullptr : found->second;
}

void ControlConnections::deadline(Connection& connection, uint64_t at_ns) {
    connection.deadline_ns = at_ns;
    at_ns == TimerWheel::kNever ? services_.timers.disarm(connection.timer)
                                : services_.timers.arm(connection.timer, at_ns);
}

void ControlConnections::prove(Connection& connection) {
    if (!List<Connection, &Connection::unauthenticated_hook>::linked(connection)) return;
    unauthenticated_.remove(connection);
    --unauthenticated_count_;
}

bool ControlConnections::adopt(UniqueFd fd, Bytes first_message, uint64_t deadline_ns, const ring::RingEndpoint& peer) {
    if (services_.events.free_slots() < kRingReserve) return false;
    if (unauthenticated_count_ >= unauthenticated_max_ && !unauthenticated_.empty()) end(*unauthenticated_.front(), 0);
    Connection* connection = connections_.acquire();
    if (connection == nullptr) return false;
    connection->timer.own(Timer::Kind::control, connection);
    connection->fd = std::move(fd);
    connection->id = uint64_t{connections_.generation_of(connection)} << 32 | connections_.index_of(connection);
    by_id_[connection->id] = connection;
    unauthenticated_.push_back(*connection);
    ++unauthenticated_count_;
    deadline(*connection, deadline_ns);
    ring::add(services_.counters.control_connections);

    ring::ControlAccepted event{};
    event.connection = connection->id;
    event.peer = peer;
    std::memcpy(event.bytes.data(), first_message.data(), event.bytes.size());
    services_.report(event);
    arm_in(*connection);
    return true;
}

void ControlConnections::connect(const ring::ControlConnect& command) {
    const auto report = [&](int error) { services_.report(opened(command.connection, error)); };
    if (leaving_) return report(ECANCELED);
    if (by_id_.contains(command.connection)) return report(EEXIST);
    Connection* connection = connections_.acquire();
    if (connection == nullptr) return report(EMFILE);
    if (!connection->chain.begin(services_.sessions, std::span(command.via).first(command.via_count), command.id)) {
        services_.report(opened(command.connection, ENOTCONN, connection->chain.at()));
        return connections_.release(connection);
    }
    Connecting connecting = start_connect(endpoint_from_ring(command.address));
    if (connecting.error != 0) {
        connections_.release(connection);
        return report(connecting.error);
    }
    connection->timer.own(Timer::Kind::control, connection);
    connection->fd = std::move(connecting.fd);
    connection->id = command.connection;
    keep_alive(connection->fd.get());
    connection->connecting = true;
    by_id_[connection->id] = connection;
    ring::add(services_.counters.control_connections);
    deadline(*connection, services_.now_ns + command.timeout_ms * kNsPerMs);
    arm_out(*connection);
}

void ControlConnections::send(const ring::ControlSend& command) {
    Connection* connection = find(command.connection);
    if (connection == nullptr) return;
    const bool open = !connection->connecting && !connection->asking;
    if (command.authenticated != 0 && open) {
        prove(*connection);
        deadline(*connection, TimerWheel::kNever);
    }
    if (connection->out_size + command.size > kOutMax) return end(*connection, ENOBUFS);
    std::memcpy(connection->out.data() + connection->out_size, command.bytes.data(), command.size);
    connection->out_size += command.size;
    if (open && !connection->out_armed) flush(*connection);
}

void ControlConnections::close(const ring::ControlClose& command) {
    Connection* connection = find(command.connection);
    if (connection == nullptr) return;
    if (command.how == ring::CloseHow::silent) {
        connection->silent = true;  // until the deadline that it has
        if (connection->deadline_ns == TimerWheel::kNever) end(*connection, 0);
        return;
    }
    connection->close_when_sent = true;
    if (connection->out_size == 0) return end(*connection, 0);
    deadline(*connection, std::min(connection->deadline_ns, services_.now_ns + kCloseTimeoutNs));
}

void ControlConnections::close_all() {
    leaving_ = true;
    connections_.for_each([&](Connection& connection) { end(connection, 0); });
}

void ControlConnections::arm_in(Connection& connection) {
    if (connection.in_armed) return;
    connection.in_armed = true;
    ++connection.in_flight;
    services_.io.poll(connection.fd.get(), POLLIN,
                      {.kind = OpKind::control_in,
                       .lane = 0,
                       .generation = connections_.generation_of(&connection),
                       .slot = connections_.index_of(&connection)});
}

void ControlConnections::arm_out(Connection& connection) {
    if (connection.out_armed) return;
    connection.out_armed = true;
    ++connection.in_flight;
    services_.io.poll(connection.fd.get(), POLLOUT,
                      {.kind = OpKind::control_out,
                       .lane = 0,
                       .generation = connections_.generation_of(&connection),
                       .slot = connections_.index_of(&connection)});
}

ControlConnections::Connection* ControlConnections::take(const Completion& completion) {
    Connection* connection = find(completion.token);
    if (connection == nullptr) return nullptr;
    --connection->in_flight;
    (completion.token.kind == OpKind::control_in ? connection->in_armed : connection->out_armed) = false;
    if (!connection->ended) return connection;
    release_if_done(*connection);
    return nullptr;
}

void ControlConnections::on_out(const Completion& completion) {
    Connection* connection = take(completion);
    if (connection == nullptr) return;
    connection->connecting ? connected(*connection) : flush(*connection);
}

void ControlConnections::connected(Connection& connection) {
    if (const int error = connect_error(connection.fd.get()); error != 0) return path_failed(connection, error);
    connection.connecting = false;
    connection.chain.open() ? path_open(connection) : ask_relays(connection);
}

void ControlConnections::ask_relays(Connection& connection) {
    connection.asking = true;
    std::array<wire::Random, ring::kViaMax> randoms;
    for (wire::Random& random : std::span(randoms).first(connection.chain.size())) crypto::random_bytes(random);
    std::array<uint8_t, Chain::kFlightMax> flight;
    const auto size = connection.chain.compose(services_.sessions, flight, randoms);
    if (!size) return path_failed(connection, ENOTCONN);
    const IoResult written = write_some(connection.fd.get(), Bytes(flight).first(*size));
    if (written.status != IoStatus::ok) return path_failed(connection, written.error);
    if (written.count != *size) return path_failed(connection, ENOBUFS);
    arm_in(connection);
}

void ControlConnections::read_answers(Connection& connection) {
    const IoResult read =
        read_some(connection.fd.get(), MutableBytes(connection.answers).subspan(connection.answers_size));
    if (read.status == IoStatus::again) return arm_in(connection);
    if (read.status != IoStatus::ok) return path_failed(connection, read.error != 0 ? read.error : ECONNRESET);
    connection.answers_size += read.count;
    const Chain::Step step = connection.chain.feed(MutableBytes(connection.answers).first(connection.answers_size));
    connection.answers_size -= step.consumed;
    std::memmove(connection.answers.data(), connection.answers.data() + step.consumed, connection.answers_size);
    switch (step.kind) {
        case Chain::Step::Kind::need_more:
            return arm_in(connection);
        case Chain::Step::Kind::refused:
            return path_failed(connection, 0, step.status);
        case Chain::Step::Kind::malformed:
            return path_failed(connection, EBADMSG);
        case Chain::Step::Kind::open:
            return path_open(connection);
    }
}

void ControlConnections::path_open(Connection& connection) {
    connection.asking = false;
    deadline(connection, TimerWheel::kNever);
    services_.report(opened(connection.id, 0));
    pass_on(connection, Bytes(connection.answers).first(connection.answers_size));
    arm_in(connection);
    flush(connection);
}

void ControlConnections::path_failed(Connection& connection, int error, wire::StreamStatus status) {
    ring::ControlOpened event = opened(connection.id, error, connection.asking ? connection.chain.at() : ring::kNoNode);
    event.status = static_cast<uint8_t>(status);
    connection.reported = services_.report(event);  // it says all that ControlClosed would
    end(connection, error);
}

void ControlConnections::pass_on(const Connection& connection, Bytes bytes) {
    while (!bytes.empty()) {
        const Bytes part = bytes.first(std::min<size_t>(bytes.size(), ring::kControlBytesMax));
        ring::ControlData event{};
        event.connection = connection.id;
        event.size = static_cast<uint16_t>(part.size());
        std::memcpy(event.bytes.data(), part.data(), part.size());
        services_.report(event);
        bytes = bytes.subspan(part.size());
    }
}

void ControlConnections::flush(Connection& connection) {
    while (connection.out_size > 0) {
        const IoResult written = write_some(connection.fd.get(), Bytes(connection.out).first(connection.out_size));
        if (written.status == IoStatus::again) return arm_out(connection);
        if (written.status != IoStatus::ok) return end(connection, written.error);
        connection.out_size -= written.count;
        std::memmove(connection.out.data(), connection.out.data() + written.count, connection.out_size);
    }
    if (connection.close_when_sent) end(connection, 0);
}

void ControlConnections::on_in(const Completion& completion) {
    Connection* connection = take(completion);
    if (connection == nullptr) return;
    if (!connection->silent && services_.events.free_slots() < kRingReserve) {
        // Leave the bytes in the kernel until the control plane has caught up.
        return services_.timers.arm(connection->timer,
                                    std::min(connection->deadline_ns, services_.now_ns + kRingRetryNs));
    }
    if (connection->asking) return read_answers(*connection);
    ring::ControlData event{};
    const MutableBytes discard(services_.burst.data(), BurstBuffer::kSize);
    const IoResult read = read_some(connection->fd.get(), connection->silent ? discard : MutableBytes(event.bytes));
    if (read.status == IoStatus::again) return arm_in(*connection);
    if (read.status != IoStatus::ok) return end(*connection, read.error);
    if (!connection->silent) {
        event.connection = connection->id;
        event.size = static_cast<uint16_t>(read.count);
        services_.report(event);
    }
    arm_in(*connection);
}

void ControlConnections::on_timer(Timer& timer) {
    Connection& connection = *static_cast<Connection*>(timer.owner);
    if (connection.ended) return release_if_done(connection);
    if (services_.now_ns < connection.deadline_ns) {  // the ring was full
        deadline(connection, connection.deadline_ns);
        if (!connection.in_armed) arm_in(connection);
        return;
    }
    if (connection.connecting || connection.asking) return path_failed(connection, ETIMEDOUT);
    end(connection, ETIMEDOUT);
}

void ControlConnections::end(Connection& connection, int32_t error) {
    if (connection.ended) return;
    connection.ended = true;
    prove(connection);
    connection.error = error;
    const Token token{.kind = OpKind::control_in,
                      .lane = 0,
                      .generation = connections_.generation_of(&connection),
                      .slot = connections_.index_of(&connection)};
    if (connection.in_armed) services_.io.cancel(token);
    if (connection.out_armed) {
        Token out = token;
        out.kind = OpKind::control_out;
        services_.io.cancel(out);
    }
    connection.fd.reset();
    services_.timers.disarm(connection.timer);
    release_if_done(connection);
}

void ControlConnections::release_if_done(Connection& connection) {
    if (!connection.reported) {
        connection.reported = services_.events.send(
            ring::ControlClosed{.connection = connection.id, .error = connection.error, .zero = 0});
        if (!connection.reported && !leaving_)
            return services_.timers.arm(connection.timer, services_.now_ns + kRingRetryNs);
        connection.reported = true;
    }
    if (connection.in_flight > 0) return;
    services_.timers.disarm(connection.timer);
    by_id_.erase(connection.id);
    ring::subtract(services_.counters.control_connections);
    connections_.release(&connection);
}

}  // namespace qanat::dataplane
