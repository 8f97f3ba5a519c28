// Uring: the engine's door to the kernel's readiness, over io_uring. The only file pair that includes liburing.
//
// One per engine, used by that engine's thread alone: submissions are queued and go out together in wait(), which also
// reaps a bounded batch. Bytes themselves move by plain recv, send and splice calls on non-blocking sockets, because a
// burst buffer that is read, encrypted in place and written within one turn stays in the core's cache
// (docs/decisions/0002-readiness-and-bursts.md).
#pragma once

#include <liburing.h>

#include <cstdint>
#include <span>
#include <string>

#include "common/base/result.h"
#include "dataplane/engine/op.h"

namespace qanat::dataplane {

struct Completion {
    Token token;
    int32_t result;  // of the operation; negative = -errno
    bool more;       // a multishot operation goes on
};

class Uring {
public:
    Uring() = default;
    ~Uring();
    Uring(const Uring&) = delete;
    Uring& operator=(const Uring&) = delete;

    // Sets the ring up with the best flags this kernel has. Must be called on the thread that will use it. Fails when
    // io_uring is forbidden or missing; the message says which and what to do.
    [[nodiscard]] Result<void> open();

    // What was found, for the start log: "single_issuer defer_taskrun …".
    [[nodiscard]] const std::string& features() const { return features_; }

    // One completion when `fd` is ready for `events` (POLLIN, POLLOUT; errors and hang-ups always count).
    void poll(int fd, uint32_t events, Token token);
    // A completion each time `fd` becomes readable, until it is cancelled.
    void poll_multishot(int fd, Token token);
    // A completion each time something happens to `fd` that a reader would not see: the peer's FIN (also an old one, at
    // once), a hang-up, an error, and room to write after a write found none. Multishot, because the kernel reports a
    // FIN whatever events are asked for, and would never get to what is behind it.
    void watch(int fd, Token token);
    // A completion per accepted connection: result = the new descriptor, non-blocking and close-on-exec.
    void accept_multishot(int listener, Token token);
    // Asks for an early end of the operation with exactly this token. Its completion still comes (-ECANCELED), unless
    // it was already on its way.
    void cancel(Token token);

    // Submits what is queued and waits for at least one completion, at most `timeout_ns` (0 = only look). Fills `out`
    // and returns how many completions it holds. Never waits longer; spurious returns are possible.
    size_t wait(std::span<Completion> out, uint64_t timeout_ns);

private:
    // Allows the operations above and nothing else, for good: a ring could open files otherwise, past any filter.
    [[nodiscard]] Result<void> restrict();
    io_uring_sqe* next_sqe();

    io_uring ring_{};
    bool open_ = false;
    std::string features_;
};

}  // namespace qanat::dataplane
