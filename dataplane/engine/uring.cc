#include "dataplane/engine/uring.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>

#include "common/base/assert.h"

namespace qanat::dataplane {
namespace {

constexpr unsigned kSubmissionEntries = 1024;
constexpr unsigned kCompletionEntries = 16384;

struct FlagSet {
    unsigned flags;
    const char* names;
};

// Newest first. Every kernel the project supports (6.1 and later) takes the first; the others are for kernels whose
// distribution removed something.
constexpr FlagSet kFlagSets[] = {
    {IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN | IORING_SETUP_COOP_TASKRUN | IORING_SETUP_SUBMIT_ALL,
     "single_issuer defer_taskrun coop_taskrun submit_all"},
    {IORING_SETUP_COOP_TASKRUN | IORING_SETUP_SUBMIT_ALL, "coop_taskrun submit_all"},
    {0, "plain"},
};

std::string why_unavailable(int error) {
    const std::string cause = std::strerror(error);
    if (error == ENOSYS) return "io_uring is missing in this kernel (" + cause + "): Linux 6.1 or later is needed";
    if (error == EPERM)
        return "io_uring is forbidden here (" + cause +
               "): set the sysctl kernel.io_uring_disabled to 0, or allow io_uring_* in the container's seccomp "
               "profile";
    if (error == ENOMEM)
        return "no memory for an io_uring (" + cause + "): raise the memlock limit (ulimit -l, LimitMEMLOCK=)";
    return "io_uring cannot be set up: " + cause;
}

}  // namespace

Uring::~Uring() {
    if (open_) io_uring_queue_exit(&ring_);
}

Result<void> Uring::open() {
    QANAT_ASSERT(!open_);
    int error = 0;
    for (const FlagSet& set : kFlagSets) {
        io_uring_params params{};
        params.flags = set.flags | IORING_SETUP_CQSIZE | IORING_SETUP_CLAMP | IORING_SETUP_R_DISABLED;
        params.cq_entries = kCompletionEntries;
        error = -io_uring_queue_init_params(kSubmissionEntries, &ring_, &params);
        if (error == 0) {
            open_ = true;
            features_ = set.names;
            break;
        }
        if (error != EINVAL) break;  // only "unknown flag" is worth another try
    }
    if (!open_) return fail(why_unavailable(error));
    if (auto restricted = restrict(); !restricted) return restricted;
    // Spares a descriptor look-up per system call; harmless where it is not there.
    if (io_uring_register_ring_fd(&ring_) == 1) features_ += " registered_ring";
    return {};
}

Result<void> Uring::restrict() {
    std::array<io_uring_restriction, 6> rules{};
    const std::array<uint8_t, 3> operations{IORING_OP_POLL_ADD, IORING_OP_ASYNC_CANCEL, IORING_OP_ACCEPT};
    size_t count = 0;
    for (const uint8_t operation : operations) {
        rules[count].opcode = IORING_RESTRICTION_SQE_OP;
        rules[count++].sqe_op = operation;
    }
    rules[count].opcode = IORING_RESTRICTION_SQE_FLAGS_ALLOWED;
    rules[count++].sqe_flags = IOSQE_CQE_SKIP_SUCCESS;
    for (const uint8_t registration : {IORING_REGISTER_ENABLE_RINGS, IORING_REGISTER_RING_FDS}) {
        rules[count].opcode = IORING_RESTRICTION_REGISTER_OP;
        rules[count++].register_op = registration;
    }
    // Debian's liburing declares calls for these two and does not export them. The second makes this thread the ring's
    // only submitter.
    if (::syscall(SYS_io_uring_register, ring_.ring_fd, IORING_REGISTER_RESTRICTIONS, rules.data(), count) != 0 ||
        ::syscall(SYS_io_uring_register, ring_.ring_fd, IORING_REGISTER_ENABLE_RINGS, nullptr, 0) != 0)
        return fail(std::string("io_uring cannot be restricted: ") + std::strerror(errno));
    features_ += " restricted";
    return {};
}

io_uring_sqe* Uring::next_sqe() {
    io_uring_sqe* sqe = io_uring_get_sqe(&ring_);
    while (sqe == nullptr) {
        // The queue is full in the middle of a turn: hand it over now. Submitting cannot fail for lack of anything
        // that waiting would bring, except a full completion queue, which the kernel keeps for us (NODROP).
        io_uring_submit(&ring_);
        sqe = io_uring_get_sqe(&ring_);
    }
    return sqe;
}

void Uring::poll(int fd, uint32_t events, Token token) {
    io_uring_sqe* sqe = next_sqe();
    io_uring_prep_poll_add(sqe, fd, events);
    io_uring_sqe_set_data64(sqe, token.pack());
}

void Uring::poll_multishot(int fd, Token token) {
    io_uring_sqe* sqe = next_sqe();
    io_uring_prep_poll_multishot(sqe, fd, POLLIN);
    io_uring_sqe_set_data64(sqe, token.pack());
}

void Uring::watch(int fd, Token token) {
    io_uring_sqe* sqe = next_sqe();
    io_uring_prep_poll_multishot(sqe, fd, POLLOUT);
    io_uring_sqe_set_data64(sqe, token.pack());
}

void Uring::accept_multishot(int listener, Token token) {
    io_uring_sqe* sqe = next_sqe();
    io_uring_prep_multishot_accept(sqe, listener, nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC);
    io_uring_sqe_set_data64(sqe, token.pack());
}

void Uring::cancel(Token token) {
    io_uring_sqe* sqe = next_sqe();
    io_uring_prep_cancel64(sqe, token.pack(), 0);
    io_uring_sqe_set_data64(sqe, Token{}.pack());
    sqe->flags |= IOSQE_CQE_SKIP_SUCCESS;
}

size_t Uring::wait(std::span<Completion> out, uint64_t timeout_ns) {
    __kernel_timespec timeout{.tv_sec = static_cast<int64_t>(timeout_ns / 1'000'000'000),
                              .tv_nsec = static_cast<long long>(timeout_ns % 1'000'000'000)};
    io_uring_cqe* first = nullptr;
    // Runs deferred task work in every case, also with nothing to submit and no time to wait.
    if (timeout_ns == 0)
        io_uring_submit_and_get_events(&ring_);
    else
        io_uring_submit_and_wait_timeout(&ring_, &first, 1, &timeout, nullptr);

    size_t count = 0;
    unsigned head = 0;
    unsigned seen = 0;
    io_uring_cqe* cqe = nullptr;
    io_uring_for_each_cqe(&ring_, head, cqe) {
        if (count == out.size()) break;
        ++seen;
        const Token token = Token::unpack(io_uring_cqe_get_data64(cqe));
        if (token.kind == OpKind::none) continue;
        out[count++] = {.token = token, .result = cqe->res, .more = (cqe->flags & IORING_CQE_F_MORE) != 0};
    }
    io_uring_cq_advance(&ring_, seen);
    return count;
}

}  // namespace qanat::dataplane
