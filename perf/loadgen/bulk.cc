#include "perf/loadgen/bulk.h"

#include <sys/socket.h>
#include <sys/uio.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>

#include "perf/loadgen/pattern.h"
#include "perf/loadgen/stream_header.h"

namespace qanat::loadgen {
namespace {

constexpr size_t kReadSize = size_t{256} << 10;

ssize_t send_two(int fd, iovec* parts, size_t count) {
    msghdr message{};
    message.msg_iov = parts;
    message.msg_iovlen = count;
    return sendmsg(fd, &message, MSG_NOSIGNAL | MSG_DONTWAIT);
}

// sendmsg takes a pointer to non-const but only reads.
void* writable(const uint8_t* bytes) {
    return const_cast<uint8_t*>(bytes);
}

}  // namespace

Step BulkSender::send_some(int fd, uint64_t budget) {
    while (budget > 0) {
        const uint64_t in_unit = position_ % kUnit;
        if (in_unit == 0 && stopping_) {
            std::array<uint8_t, 9> trailer{kUnitEnd};
            std::memcpy(trailer.data() + 1, &position_, 8);
            const ssize_t sent =
                send(fd, trailer.data() + trailer_sent_, trailer.size() - trailer_sent_, MSG_NOSIGNAL | MSG_DONTWAIT);
            if (sent < 0) return errno == EAGAIN ? Step::blocked : Step::failed;
            trailer_sent_ += static_cast<uint64_t>(sent);
            return trailer_sent_ == trailer.size() ? Step::done : Step::blocked;
        }
        const uint8_t flag = kUnitData;
        std::array<iovec, 2> parts;
        size_t count = 0;
        uint64_t run = kUnit - in_unit;
        if (in_unit == 0) {
            parts[count++] = {writable(&flag), 1};
            --run;
        }
        const auto bytes = Pattern::at(seed_ + position_ + count, static_cast<size_t>(std::min(run, budget)));
        parts[count++] = {writable(bytes.data()), bytes.size()};
        const ssize_t sent = send_two(fd, parts.data(), count);
        if (sent < 0) return errno == EAGAIN ? Step::blocked : Step::failed;
        position_ += static_cast<uint64_t>(sent);
        budget -= std::min(budget, static_cast<uint64_t>(sent));
        if (static_cast<size_t>(sent) < bytes.size()) return Step::blocked;
    }
    return Step::again;
}

Step BulkReceiver::receive_some(int fd) {
    static uint8_t buffer[kReadSize];
    const ssize_t got = recv(fd, buffer, sizeof buffer, MSG_DONTWAIT);
    if (got < 0) {
        if (errno == EAGAIN) return Step::blocked;
        failure_ = std::strerror(errno);
        return Step::failed;
    }
    if (got == 0) {
        failure_ = "end of file in the middle of bulk data";
        return Step::failed;
    }
    return take(buffer, static_cast<uint64_t>(got));
}

Step BulkReceiver::take(const uint8_t* data, uint64_t size) {
    while (size > 0) {
        if (ended_) {
            const uint64_t part = std::min<uint64_t>(size, sizeof trailer_ - trailer_size_);
            std::memcpy(trailer_ + trailer_size_, data, part);
            trailer_size_ += part;
            if (trailer_size_ < sizeof trailer_) return Step::again;
            uint64_t sent = 0;
            std::memcpy(&sent, trailer_, sizeof sent);
            if (sent != position_ || part != size) {
                failure_ = "the sender counted other bytes";
                return Step::failed;
            }
            return Step::done;
        }
        const uint64_t in_unit = position_ % kUnit;
        if (in_unit == 0) {
            if (*data == kUnitEnd) {
                ended_ = true;
            } else if (*data == kUnitData) {
                ++position_;
            } else {
                failure_ = "wrong content (unit flag)";
                return Step::failed;
            }
            ++data;
            --size;
            continue;
        }
        const uint64_t run = std::min(size, kUnit - in_unit);
        if (!Pattern::matches(seed_ + position_, {data, run})) {
            failure_ = "wrong content";
            return Step::failed;
        }
        position_ += run;
        data += run;
        size -= run;
    }
    return Step::again;
}

}  // namespace qanat::loadgen
