#include "perf/loadgen/delay_hop.h"

#include <sys/epoll.h>
#include <sys/socket.h>

#include <array>
#include <cerrno>
#include <deque>
#include <vector>

namespace qanat::loadgen {
namespace {

constexpr size_t kReadSize = 64 << 10;
constexpr size_t kOnTheLineMax = 8 << 20;  // per direction; then the hop stops reading

}  // namespace

class DelayedConnection : public std::enable_shared_from_this<DelayedConnection> {
public:
    DelayedConnection(DelayHop& hop, UniqueFd near_fd, UniqueFd far_fd)
        : hop_(hop), open_since_(now_ns()), ends_{End(*this, std::move(near_fd)), End(*this, std::move(far_fd))} {
        hop_.loop_.add(ends_[0].fd.get(), ends_[0].wanted, ends_[0], Priority::bulk);
        hop_.loop_.add(ends_[1].fd.get(), ends_[1].wanted, ends_[1], Priority::bulk);
    }
    ~DelayedConnection() {
        for (End& end : ends_) hop_.loop_.remove(end.fd.get(), end, Priority::bulk);
    }

private:
    struct Piece {
        uint64_t due;
        std::vector<uint8_t> bytes;  // empty: end of file
        size_t written = 0;
    };

    struct End : Handler {
        End(DelayedConnection& c, UniqueFd f) : connection(c), fd(std::move(f)) {}
        void on_ready(uint32_t events) override { connection.moved(*this, events); }

        DelayedConnection& connection;
        UniqueFd fd;
        uint32_t wanted = EPOLLIN;
        std::deque<Piece> line;  // on the way to this end
        size_t on_the_line = 0;
        bool read_all = false;
        bool shut = false;
    };

    End& other(End& end) { return &end == &ends_[0] ? ends_[1] : ends_[0]; }

    void moved(End& end, uint32_t events) {
        const auto alive = shared_from_this();
        if ((events & EPOLLERR) != 0) return hop_.finished(*this);
        if ((events & EPOLLIN) != 0 && !end.read_all) read(end);
        if (!gone_ && (events & EPOLLOUT) != 0) deliver(end);
        if (!gone_ && (events & EPOLLHUP) != 0 && end.read_all && end.line.empty()) finish();
    }

    void finish() {
        gone_ = true;
        hop_.finished(*this);
    }

    void read(End& end) {
        std::array<uint8_t, kReadSize> buffer;
        const ssize_t got = recv(end.fd.get(), buffer.data(), buffer.size(), MSG_DONTWAIT);
        if (got < 0) {
            if (errno != EAGAIN) finish();
            return;
        }
        End& to = other(end);
        const uint64_t now = now_ns();
        uint64_t due = now + hop_.one_way_ns_;
        due = std::max(due, open_since_ + 3 * hop_.one_way_ns_);  // the handshake, then the way itself
        to.line.push_back({due, {buffer.begin(), buffer.begin() + got}});
        to.on_the_line += static_cast<size_t>(got);
        if (got == 0) end.read_all = true;
        update(end);
        hop_.loop_.call_at(due, [weak = weak_from_this(), &to] {
            if (const auto self = weak.lock()) self->deliver(to);
        });
    }

    void deliver(End& end) {
        const auto alive = shared_from_this();
        while (!end.line.empty() && end.line.front().due <= now_ns()) {
            Piece& piece = end.line.front();
            if (piece.bytes.empty()) {
                shutdown(end.fd.get(), SHUT_WR);
                end.shut = true;
            } else {
                const ssize_t sent = send(end.fd.get(), piece.bytes.data() + piece.written,
                                          piece.bytes.size() - piece.written, MSG_NOSIGNAL | MSG_DONTWAIT);
                if (sent < 0 && errno == EAGAIN) break;
                if (sent < 0) return finish();
                piece.written += static_cast<size_t>(sent);
                end.on_the_line -= static_cast<size_t>(sent);
                if (piece.written < piece.bytes.size()) break;
            }
            end.line.pop_front();
        }
        if (ends_[0].shut && ends_[1].shut) return finish();
        update(end);
        update(other(end));
    }

    void update(End& end) {
        uint32_t wanted = 0;
        if (!end.read_all && other(end).on_the_line < kOnTheLineMax) wanted |= EPOLLIN;
        if (!end.line.empty() && end.line.front().due <= now_ns()) wanted |= EPOLLOUT;
        if (wanted == end.wanted) return;
        end.wanted = wanted;
        hop_.loop_.change(end.fd.get(), wanted, end, Priority::bulk);
    }

    DelayHop& hop_;
    uint64_t open_since_;
    bool gone_ = false;
    std::array<End, 2> ends_;
};

DelayHop::DelayHop(EventLoop& loop, const Endpoint& listen, const Endpoint& to, uint64_t one_way_ns)
    : loop_(loop), listener_(listen_on(listen)), to_(to), one_way_ns_(one_way_ns) {
    loop_.add(listener_.get(), EPOLLIN, *this, Priority::bulk);
}

DelayHop::~DelayHop() {
    connections_.clear();
    loop_.remove(listener_.get(), *this, Priority::bulk);
}

void DelayHop::on_ready(uint32_t) {
    UniqueFd near_fd(accept4(listener_.get(), nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC));
    if (!near_fd) return;
    set_no_delay(near_fd.get());
    UniqueFd far_fd = start_connect(to_, 0);
    if (!far_fd) return;
    auto connection = std::make_shared<DelayedConnection>(*this, std::move(near_fd), std::move(far_fd));
    DelayedConnection* key = connection.get();
    connections_.emplace(key, std::move(connection));
}

void DelayHop::finished(DelayedConnection& connection) {
    connections_.erase(&connection);
}

}  // namespace qanat::loadgen
