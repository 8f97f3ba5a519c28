#include "dataplane/control/control_connections.h"

#include <poll.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "dataplane/engine/socket.h"
#include "dataplane/stream/ring_endpoint.h"

namespace qanat::dataplane {
namespace {

constexpr uint64_t kNsPerMs = 1'000'000;
// When the ring to the control plane is (nearly) full: look again.
constexpr uint64_t kRingRetryNs = 20 * kNsPerMs;
constexpr uint32_t kRingReserve = 16;
// How long a peer may take to read what it is sent before a close.
constexpr uint64_t kCloseTimeoutNs = 5'000 * kNsPerMs;

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

bool ControlConnections::adopt(UniqueFd fd, Bytes first_message, uint64_t deadline_ns) {
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
    event.peer = endpoint_to_ring(peer_endpoint(connection->fd.get()));
    std::memcpy(event.bytes.data(), first_message.data(), event.bytes.size());
    services_.report(event);
    arm_in(*connection);
    return true;
}

void ControlConnections::connect(const ring::ControlConnect& command) {
    const auto report = [&](int error) {
        services_.report(ring::ControlOpened{.connection = command.connection, .error = error, .zero = 0});
    };
    if (by_id_.contains(command.connection)) return report(EEXIST);
    Connection* connection = connections_.acquire();
    if (connection == nullptr) return report(EMFILE);
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
    if (command.authenticated != 0 && !connection->connecting) {
        prove(*connection);
        deadline(*connection, TimerWheel::kNever);
    }
    if (connection->out_size + command.size > kOutMax) return end(*connection, ENOBUFS);
    std::memcpy(connection->out.data() + connection->out_size, command.bytes.data(), command.size);
    connection->out_size += command.size;
    if (!connection->connecting && !connection->out_armed) flush(*connection);
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
    if (connection->connecting) {
        const int error = connect_error(connection->fd.get());
        connection->connecting = false;
        deadline(*connection, TimerWheel::kNever);
        services_.report(ring::ControlOpened{.connection = connection->id, .error = error, .zero = 0});
        if (error != 0) {
            connection->reported = true;  // ControlOpened said it all
            return end(*connection, error);
        }
        arm_in(*connection);
    }
    flush(*connection);
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
    if (connection.connecting) {
        connection.reported =
            services_.report(ring::ControlOpened{.connection = connection.id, .error = ETIMEDOUT, .zero = 0});
    }
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
