// Receivers: four ways to learn that there is something to read, and to read it, each with an io_uring set up as the
// engine's. What the engine does, and why: docs/decisions/0002-readiness-and-bursts.md.
//
// PollReceiver<false>  one-shot poll, then recv(2) into one burst buffer: the engine's way
// PollReceiver<true>   the same with a poll that is armed once
// RecvReceiver         one-shot IORING_OP_RECV
// ProvidedReceiver     one IORING_OP_RECV for ever, which takes its buffers from a provided ring
//
// turn() waits, and calls take(connection, bytes) for each burst there is. The bytes may be changed, and are gone when
// the turn ends. Rings come last among the members: the kernel may write into buffers until they are closed.
#pragma once

#include <poll.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <cstdlib>
#include <new>
#include <span>
#include <vector>

#include "common/base/bytes.h"
#include "perf/micro/bench_ring.h"

namespace qanat::perf {

// Memory that starts with a page.
class Pages {
public:
    explicit Pages(size_t size) : memory_(static_cast<uint8_t*>(::operator new(size, kPageAlignment))) {
        std::fill_n(memory_, size, uint8_t{1});
    }
    ~Pages() { ::operator delete(memory_, kPageAlignment); }
    Pages(const Pages&) = delete;
    Pages& operator=(const Pages&) = delete;
    [[nodiscard]] uint8_t* at(size_t offset) const { return memory_ + offset; }

private:
    static constexpr std::align_val_t kPageAlignment{4096};
    uint8_t* memory_;
};

template <bool kMultishot>
class PollReceiver {
public:
    PollReceiver(std::span<const int> fds, size_t burst_max)
        : fds_(fds), burst_max_(burst_max), burst_(burst_max), queued_(fds.size()) {
        for (size_t i = 0; i < fds_.size(); ++i) arm(i);
    }
    [[nodiscard]] BenchRing& ring() { return ring_; }

    template <class Take>
    void turn(Take take) {
        ring_.turn(ready_.empty(), [this](const io_uring_cqe& cqe) {
            const size_t i = cqe.user_data;
            if (kMultishot && (cqe.flags & IORING_CQE_F_MORE) == 0) arm(i);
            queue(i);
        });
        ready_.swap(turn_);
        for (const size_t i : turn_) {
            queued_[i] = false;
            const ssize_t count = ::recv(fds_[i], burst_.at(0), burst_max_, 0);
            if (count == 0 || (count < 0 && errno != EAGAIN)) std::abort();
            if (count > 0) take(i, MutableBytes(burst_.at(0), static_cast<size_t>(count)));
            // A full burst: there may be more, and another poll would only say so.
            if (count == static_cast<ssize_t>(burst_max_))
                queue(i);
            else if (!kMultishot)
                arm(i);
        }
        turn_.clear();
    }

private:
    void arm(size_t i) {
        io_uring_sqe* const sqe = ring_.next_sqe();
        if (kMultishot)
            io_uring_prep_poll_multishot(sqe, fds_[i], POLLIN);
        else
            io_uring_prep_poll_add(sqe, fds_[i], POLLIN);
        sqe->user_data = i;
    }
    void queue(size_t i) {
        if (queued_[i]) return;
        queued_[i] = true;
        ready_.push_back(i);
    }

    std::span<const int> fds_;
    size_t burst_max_;
    Pages burst_;
    std::vector<bool> queued_;
    std::vector<size_t> ready_;
    std::vector<size_t> turn_;
    BenchRing ring_;
};

// A buffer for each connection, since an operation in flight owns its own. There is no such thing here as one hot
// burst buffer.
class RecvReceiver {
public:
    RecvReceiver(std::span<const int> fds, size_t burst_max)
        : fds_(fds), burst_max_(burst_max), bursts_(burst_max * fds.size()) {
        for (size_t i = 0; i < fds_.size(); ++i) arm(i, false);
    }
    [[nodiscard]] BenchRing& ring() { return ring_; }

    template <class Take>
    void turn(Take take) {
        ring_.turn(true, [this, &take](const io_uring_cqe& cqe) {
            if (cqe.res <= 0) std::abort();
            const size_t i = cqe.user_data;
            take(i, MutableBytes(bursts_.at(i * burst_max_), static_cast<size_t>(cqe.res)));
            arm(i, (cqe.flags & IORING_CQE_F_SOCK_NONEMPTY) != 0);
        });
    }

private:
    void arm(size_t i, bool more_is_there) {
        io_uring_sqe* const sqe = ring_.next_sqe();
        io_uring_prep_recv(sqe, fds_[i], bursts_.at(i * burst_max_), burst_max_, 0);
        if (!more_is_there) sqe->ioprio |= IORING_RECVSEND_POLL_FIRST;  // spares an attempt in vain
        sqe->user_data = i;
    }

    std::span<const int> fds_;
    size_t burst_max_;
    Pages bursts_;
    BenchRing ring_;
};

// kBuffers of 16 KiB, used in turn by all connections.
template <unsigned kBuffers>
class ProvidedReceiver {
public:
    ProvidedReceiver(std::span<const int> fds, size_t /*burst_max*/)
        : fds_(fds), provided_memory_(kBuffers * sizeof(io_uring_buf)), buffers_(kBuffers * kBufferSize) {
        io_uring_buf_reg registration{};
        registration.ring_addr = reinterpret_cast<uintptr_t>(provided_);
        registration.ring_entries = kBuffers;
        if (io_uring_register_buf_ring(ring_.get(), &registration, 0) != 0) std::abort();
        io_uring_buf_ring_init(provided_);
        for (unsigned i = 0; i < kBuffers; ++i) give(static_cast<uint16_t>(i));
        give_all();
        for (size_t i = 0; i < fds_.size(); ++i) arm(i);
    }
    [[nodiscard]] BenchRing& ring() { return ring_; }

    template <class Take>
    void turn(Take take) {
        ring_.turn(true, [this, &take](const io_uring_cqe& cqe) {
            if (cqe.res <= 0 && cqe.res != -ENOBUFS) std::abort();
            const size_t i = cqe.user_data;
            if (cqe.res > 0) {
                const auto buffer = static_cast<uint16_t>(cqe.flags >> IORING_CQE_BUFFER_SHIFT);
                take(i, MutableBytes(address(buffer), static_cast<size_t>(cqe.res)));
                give(buffer);
            }
            if ((cqe.flags & IORING_CQE_F_MORE) == 0) arm(i);
        });
        give_all();
    }

private:
    static constexpr size_t kBufferSize = 16 * 1024;

    [[nodiscard]] uint8_t* address(uint16_t buffer) const { return buffers_.at(buffer * kBufferSize); }
    void arm(size_t i) {
        io_uring_sqe* const sqe = ring_.next_sqe();
        io_uring_prep_recv_multishot(sqe, fds_[i], nullptr, 0, 0);
        sqe->flags |= IOSQE_BUFFER_SELECT;
        sqe->user_data = i;
    }
    void give(uint16_t buffer) {
        io_uring_buf_ring_add(provided_, address(buffer), kBufferSize, buffer, io_uring_buf_ring_mask(kBuffers),
                              given_);
        ++given_;
    }
    void give_all() {
        io_uring_buf_ring_advance(provided_, given_);
        given_ = 0;
    }

    std::span<const int> fds_;
    Pages provided_memory_;
    io_uring_buf_ring* provided_ = reinterpret_cast<io_uring_buf_ring*>(provided_memory_.at(0));
    Pages buffers_;
    int given_ = 0;
    BenchRing ring_;
};

// A MiB fits the second-level cache of a large server core, eight do not.
using ProvidedFew = ProvidedReceiver<64>;
using ProvidedMany = ProvidedReceiver<512>;

}  // namespace qanat::perf
