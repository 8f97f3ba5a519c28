// Process: one data-plane process as a child, from fork to its exit status.
//
// The child is in a session of its own, so that a Ctrl-C in a terminal reaches only the control plane, which then
// drains it. PR_SET_PDEATHSIG is deliberately not used: the data plane outlives a control plane that dies, with every
// stream it carries.
#pragma once

#include <sys/types.h>

#include <functional>
#include <memory>
#include <string>

#include "common/base/result.h"
#include "common/base/unique_fd.h"
#include "controlplane/loop/fd_watch.h"

namespace qanat::controlplane {

// The program `qanat-dataplane`: next to this one, else in the libexec directories. The error lists where it was
// looked for.
[[nodiscard]] Result<std::string> find_data_plane();

class Process {
public:
    // "exit status 1", "signal 9 (Killed)".
    using Exited = std::function<void(bool clean, std::string how)>;

    // Starts `program` with `socket` as descriptor ring::kBootstrapFd and nothing else but stdin from /dev/null,
    // stdout and stderr. An error includes a program that cannot be executed. `exited` is called once, from the loop;
    // it must not destroy this object (defer it).
    [[nodiscard]] static Result<std::unique_ptr<Process>> start(EventLoop& loop, const std::string& program,
                                                                UniqueFd socket, Exited exited);

    // A child that still runs is killed and waited for: nothing is left behind by accident.
    ~Process();
    Process(const Process&) = delete;
    Process& operator=(const Process&) = delete;

    [[nodiscard]] pid_t pid() const { return pid_; }
    [[nodiscard]] bool running() const { return running_; }
    void kill();

private:
    Process(EventLoop& loop, pid_t pid, UniqueFd pidfd, Exited exited);
    void reap(bool wait);

    pid_t pid_;
    UniqueFd pidfd_;
    Exited exited_;
    bool running_ = true;
    std::unique_ptr<FdWatch> watch_;
};

}  // namespace qanat::controlplane
