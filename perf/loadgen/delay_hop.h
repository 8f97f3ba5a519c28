// DelayHop: a TCP relay that keeps every byte for a fixed time, in each direction: a long line on one machine, for
// kernels without netem.
//
// A real line also delays the TCP handshake by a round trip. Here the handshake is between two sockets of this machine
// and takes no time, so the first byte of a connection is held back for one round trip more, counted from accept: what
// it would have waited for the connection. A connection that has been open for longer than that pays nothing.
#pragma once

#include <memory>
#include <unordered_map>

#include "perf/loadgen/event_loop.h"
#include "perf/loadgen/sockets.h"

namespace qanat::loadgen {

class DelayedConnection;

class DelayHop : public Handler {
public:
    DelayHop(EventLoop& loop, const Endpoint& listen, const Endpoint& to, uint64_t one_way_ns);
    ~DelayHop() override;

private:
    friend class DelayedConnection;

    void on_ready(uint32_t events) override;
    void finished(DelayedConnection& connection);

    EventLoop& loop_;
    UniqueFd listener_;
    Endpoint to_;
    uint64_t one_way_ns_;
    std::unordered_map<DelayedConnection*, std::shared_ptr<DelayedConnection>> connections_;
};

}  // namespace qanat::loadgen
