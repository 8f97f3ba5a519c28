// Service: the server end of every workload, on one listening socket. What a stream is, its header says.
#pragma once

#include <memory>
#include <unordered_map>

#include "common/base/unique_fd.h"
#include "perf/loadgen/event_loop.h"
#include "perf/loadgen/sockets.h"

namespace qanat::loadgen {

class ServerStream;

class Service : public Handler {
public:
    Service(EventLoop& loop, const Endpoint& where);
    ~Service() override;

    // Streams whose content was wrong. A server run says them at its end.
    [[nodiscard]] uint64_t content_errors() const { return content_errors_; }
    [[nodiscard]] size_t streams() const { return streams_.size(); }

private:
    friend class ServerStream;

    void on_ready(uint32_t events) override;
    void finished(ServerStream& stream);

    EventLoop& loop_;
    UniqueFd listener_;
    uint64_t content_errors_ = 0;
    std::unordered_map<ServerStream*, std::unique_ptr<ServerStream>> streams_;
};

}  // namespace qanat::loadgen
