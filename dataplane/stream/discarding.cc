#include "dataplane/stream/discarding.h"

#include <poll.h>

#include "dataplane/engine/socket.h"

namespace qanat::dataplane {
namespace {

constexpr uint64_t kLingerNs = 2'000'000'000;

}  // namespace

void Discarding::linger_plain(Stream& stream, ring::EndReason reason) {
    stream.reason = reason;
    stream.phase = Phase::discarding;
    table_.opening.remove(stream);
    if (stream.tunnel) table_.abandon_tunnel(stream);
    table_.release_opening(stream);
    end_writing(stream.plain.get());
    table_.deadline(stream, services_.now_ns + kLingerNs);
    if (!stream.seal_armed) on_plain_ready(stream);
}

void Discarding::linger_tunnel(Stream& stream, ring::EndReason reason) {
    stream.reason = reason;
    stream.phase = Phase::discarding;
    table_.release_opening(stream);
    end_writing(stream.tunnel.get());
    table_.deadline(stream, services_.now_ns + kLingerNs);
    if (!stream.open_armed) on_tunnel_ready(stream);
}

void Discarding::silence(Stream& stream) {
    stream.reason = ring::EndReason::unauthenticated;
    stream.phase = Phase::discarding;
    table_.release_opening(stream);
    if (!stream.open_armed) on_tunnel_ready(stream);
}

bool Discarding::drain(int fd) {
    // One burst a turn: a peer that sends without end gets its share of the engine and no more.
    const IoResult read = read_some(fd, MutableBytes(services_.burst.data(), BurstBuffer::kSize));
    return read.status == IoStatus::end || read.status == IoStatus::error;
}

void Discarding::on_plain_ready(Stream& stream) {
    if (drain(stream.plain.get())) return table_.finish(stream, stream.reason, PlainEnd::close);
    table_.arm_seal(stream, stream.plain.get(), POLLIN);
}

void Discarding::on_tunnel_ready(Stream& stream) {
    if (drain(stream.tunnel.get())) return table_.finish(stream, stream.reason, PlainEnd::close);
    table_.arm_open(stream, stream.tunnel.get(), POLLIN);
}

}  // namespace qanat::dataplane
