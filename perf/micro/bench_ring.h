// An io_uring set up as the engine's (dataplane/engine/uring.cc), but not restricted: the benchmarks that use it try
// operations that an engine's ring refuses.
#pragma once

#include <liburing.h>

#include <cstdlib>

namespace qanat::perf {

class BenchRing {
public:
    static constexpr unsigned kEngineFlags =
        IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN | IORING_SETUP_COOP_TASKRUN | IORING_SETUP_SUBMIT_ALL;

    explicit BenchRing(unsigned flags = kEngineFlags) {
        io_uring_params params{};
        params.flags = flags | IORING_SETUP_CQSIZE;
        params.cq_entries = 16384;
        open_ = io_uring_queue_init_params(1024, &ring_, &params) == 0;
        if (open_) io_uring_register_ring_fd(&ring_);
    }
    ~BenchRing() {
        if (open_) io_uring_queue_exit(&ring_);
    }
    BenchRing(const BenchRing&) = delete;
    BenchRing& operator=(const BenchRing&) = delete;

    [[nodiscard]] bool open() const { return open_; }
    [[nodiscard]] io_uring* get() { return &ring_; }

    [[nodiscard]] io_uring_sqe* next_sqe() {
        io_uring_sqe* sqe = io_uring_get_sqe(&ring_);
        while (sqe == nullptr) {
            io_uring_submit(&ring_);
            sqe = io_uring_get_sqe(&ring_);
        }
        return sqe;
    }

    // Submits, waits for a completion or only looks, and calls `each` with every one there is.
    template <class Each>
    void turn(bool wait, Each each) {
        __kernel_timespec timeout{.tv_sec = 1, .tv_nsec = 0};  // an engine always has some timer
        io_uring_cqe* cqe = nullptr;
        if (wait)
            io_uring_submit_and_wait_timeout(&ring_, &cqe, 1, &timeout, nullptr);
        else
            io_uring_submit_and_get_events(&ring_);
        unsigned head = 0;
        unsigned seen = 0;
        io_uring_for_each_cqe(&ring_, head, cqe) {
            ++seen;
            each(*cqe);
        }
        io_uring_cq_advance(&ring_, seen);
    }

private:
    io_uring ring_{};
    bool open_ = false;
};

}  // namespace qanat::perf
