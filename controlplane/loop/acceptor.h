// Acceptor: takes connections from a listening socket, one a turn of the loop. While the process or the machine is out
// of descriptors it pauses: the connection that waits keeps the listener readable, and the loop would spin on it.
#pragma once

#include <cstdint>
#include <functional>
#include <string>

#include "common/base/unique_fd.h"
#include "controlplane/loop/fd_watch.h"
#include "controlplane/loop/timer.h"

namespace qanat::controlplane {

class Acceptor {
public:
    static constexpr Duration kPause = std::chrono::milliseconds(100);

    // Non-blocking and closed on exec; the callback may close it, and may not destroy the acceptor.
    using OnConnection = std::function<void(UniqueFd)>;

    // `listener`: a listening, non-blocking socket, which outlives the acceptor. `name` tells acceptors apart in logs.
    Acceptor(EventLoop& loop, std::string name, int listener, OnConnection on_connection);

    // How often there was no descriptor for a connection.
    [[nodiscard]] uint64_t pauses() const { return pauses_; }

private:
    void accept();
    void pause(int error);

    std::string name_;
    int listener_;
    OnConnection on_connection_;
    uint64_t pauses_ = 0;
    bool exhausted_ = false;  // there was no descriptor for the last one
    FdWatch watch_;
    Timer resume_;
};

}  // namespace qanat::controlplane
