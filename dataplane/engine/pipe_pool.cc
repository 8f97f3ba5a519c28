#include "dataplane/engine/pipe_pool.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <utility>

#include "common/base/assert.h"

namespace qanat::dataplane {

PipePool::PipePool(uint32_t pipes, uint32_t bytes_each) {
    pipes_.reserve(pipes);
    int error = 0;
    while (capacity() < pipes && error == 0) error = add(bytes_each);
    free_.reserve(pipes_.size());
    for (PipeIndex pipe = capacity(); pipe > 0; --pipe) free_.push_back(pipe - 1);
    describe(pipes, bytes_each, error);
}

int PipePool::add(uint32_t bytes) {
    int ends[2];
    if (::pipe2(ends, O_NONBLOCK | O_CLOEXEC) != 0) return errno;
    Pipe pipe{.read_end = UniqueFd(ends[0]), .write_end = UniqueFd(ends[1])};
    // EPERM: beyond the user's share. Then a new pipe has its default size, or, when the share is used up entirely, too
    // little to be of use.
    const int refused = ::fcntl(ends[1], F_SETPIPE_SZ, static_cast<int>(bytes)) < 0 ? errno : 0;
    const int granted = ::fcntl(ends[1], F_GETPIPE_SZ);
    if (granted < static_cast<int>(kPipeBytesMin)) return refused != 0 ? refused : EINVAL;
    pipe.size = static_cast<uint32_t>(granted);
    pipes_.push_back(std::move(pipe));
    return 0;
}

void PipePool::describe(uint32_t pipes_wished, uint32_t bytes_wished, int error) {
    const auto kib = [](uint32_t bytes) { return std::to_string(bytes / 1024) + " KiB"; };
    if (capacity() < pipes_wished) description_ = (capacity() == 0 ? "none" : std::to_string(capacity())) + " of ";
    description_ += std::to_string(pipes_wished) + " pipes of " + kib(bytes_wished);
    const auto smaller = static_cast<uint32_t>(
        std::count_if(pipes_.begin(), pipes_.end(), [&](const Pipe& pipe) { return pipe.size < bytes_wished; }));
    if (smaller > 0) description_ += ", " + std::to_string(smaller) + " of them only " + kib(pipes_.back().size);
    if (error != 0) description_ += std::string(": ") + std::strerror(error);
    if (smaller > 0 || error == EPERM) description_ += " (fs.pipe-user-pages-soft, fs.pipe-max-size)";
}

PipeIndex PipePool::acquire() {
    if (free_.empty()) return kNoPipe;
    const PipeIndex pipe = free_.back();
    free_.pop_back();
    return pipe;
}

void PipePool::release(PipeIndex pipe) {
    QANAT_ASSERT(pipe < capacity() && available() < capacity());
    free_.push_back(pipe);
}

void PipePool::discard(PipeIndex pipe) {
    std::array<uint8_t, 16384> waste;
    ssize_t count = 0;
    do count = ::read(read_end(pipe), waste.data(), waste.size());
    while (count > 0 || (count < 0 && errno == EINTR));
    // Empty, and nothing else: the pool holds the other end, so there is neither an end of file nor an error.
    QANAT_ASSERT(count < 0 && errno == EAGAIN);
    release(pipe);
}

}  // namespace qanat::dataplane
