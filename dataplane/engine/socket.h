// The socket calls of the data plane, each doing one thing on a non-blocking descriptor. Results are counts, or errno
// values as they are; nothing here blocks or allocates.
#pragma once

#include <sys/uio.h>

#include <cerrno>
#include <cstdint>
#include <span>

#include "common/base/bytes.h"
#include "common/base/result.h"
#include "common/base/unique_fd.h"
#include "common/wire/address.h"

namespace qanat::dataplane {

enum class IoStatus : uint8_t { ok, again, end, error };

struct IoResult {
    IoStatus status;
    int error;     // errno when status is error
    size_t count;  // bytes moved when status is ok
};

IoResult read_some(int fd, MutableBytes into);
IoResult read_some(int fd, std::span<const iovec> into);
IoResult write_some(int fd, Bytes from);
IoResult write_some(int fd, std::span<const iovec> from);

// A FIN behind what was written. A peer that is gone already does not mind; its reset tells elsewhere.
void end_writing(int fd);
// Small writes go out at once. Connected and accepted sockets have this from the start.
void no_delay(int fd);
// The peer has closed and nothing that it sent is left to read.
[[nodiscard]] bool ended_and_empty(int fd);
// The peer has neither closed nor sent anything that is not read yet.
[[nodiscard]] bool nothing_to_read(int fd);
// A peer that vanished is noticed even on an idle stream, after about two minutes. Accepted sockets have it from their
// listener; for those that were connected it waits until the stream has lasted a while: four calls that most streams
// never need.
void keep_alive(int fd);
// The same, sooner: for connections that wait for a long time, also behind a NAT that forgets those without traffic.
inline constexpr int kKeptKeepAliveIdleS = 30;
void keep_alive(int fd, int idle_s);

struct Connecting {
    UniqueFd fd;
    int error;         // errno when the attempt failed at once; 0 = in progress or connected
    bool established;  // connected already, as on the same host: no need to wait for it
};
[[nodiscard]] Connecting start_connect(const wire::Endpoint& to);
// From this address and port, which several sockets may have at once (SO_REUSEPORT); port 0 picks one that no other
// has, with any address of the family of `to`.
[[nodiscard]] Connecting start_connect_from(const wire::Endpoint& from, const wire::Endpoint& to);
// The error is this process's or this host's, not the peer's.
[[nodiscard]] constexpr bool out_of_resources(int error) {
    return error == EMFILE || error == ENFILE || error == ENOMEM || error == ENOBUFS;
}
// The outcome of a connect that became writable: 0 or errno.
[[nodiscard]] int connect_error(int fd);

[[nodiscard]] wire::Endpoint local_endpoint(int fd);
[[nodiscard]] wire::Endpoint peer_endpoint(int fd);

// Bytes that fd would take now without keeping any back; a little less than the truth.
[[nodiscard]] size_t send_room(int fd);

// The next close of fd sends a reset instead of a FIN and throws away what is unsent; also when the close is the
// kernel's, because this process died. Accepted sockets have it from their listener.
void reset_on_close(int fd);
// The next close of fd sends what is unsent, and a FIN.
void finish_on_close(int fd);

// A listening socket that shares its port with the other engines' (SO_REUSEPORT). PortCheck::exclusive makes sure first
// that nobody else listens there. The kernel hands a connection over when its first bytes are there, or after about a
// second without any: in all our protocols the other side speaks first. The error is an errno value.
//
// Connections over loopback, accepted by a listener on it or made by start_connect, use no congestion control that
// paces.
enum class PortCheck : uint8_t { shared, exclusive };
[[nodiscard]] Result<UniqueFd, int> listen_on(const wire::Endpoint& address, PortCheck check);

}  // namespace qanat::dataplane
