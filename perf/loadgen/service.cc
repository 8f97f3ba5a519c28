#include "perf/loadgen/service.h"

#include <sys/epoll.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <optional>

#include "perf/loadgen/bulk.h"
#include "perf/loadgen/fatal.h"
#include "perf/loadgen/pattern.h"
#include "perf/loadgen/stream_header.h"

namespace qanat::loadgen {
namespace {

constexpr uint64_t kSendBudget = 256 << 10;
constexpr uint64_t kPaceTick = 1'000'000;  // ns
constexpr int kAcceptsPerEvent = 64;
constexpr uint32_t kMessageSizeMax = 16384;

}  // namespace

class ServerStream : public Handler {
public:
    ServerStream(Service& service, EventLoop& loop, UniqueFd fd) : service_(service), loop_(loop), fd_(std::move(fd)) {
        set_no_delay(fd_.get());
        loop_.add(fd_.get(), wanted_ = EPOLLIN, *this, priority_);
    }
    ~ServerStream() override { loop_.remove(fd_.get(), *this, priority_); }

private:
    void on_ready(uint32_t events) override {
        if (header_size_ < sizeof header_) return read_header();
        switch (header_.role) {
            case Role::exchange:
                return exchange();
            case Role::source:
                return feed(events);
            case Role::sink:
                return drain();
        }
    }

    void read_header() {
        const ssize_t got = recv(fd_.get(), reinterpret_cast<uint8_t*>(&header_) + header_size_,
                                 sizeof header_ - header_size_, MSG_DONTWAIT);
        if (got < 0 && errno == EAGAIN) return;
        if (got <= 0) return service_.finished(*this);
        header_size_ += static_cast<size_t>(got);
        if (header_size_ < sizeof header_) return;
        if (header_.magic != StreamHeader::kMagic) return wrong("a header that is none");
        switch (header_.role) {
            case Role::exchange:
                if (header_.request_size == 0 || header_.request_size > kMessageSizeMax ||
                    header_.response_size > kMessageSizeMax)
                    return wrong("message sizes out of range");
                return exchange();
            case Role::source:
                sender_.emplace(header_.seed + kBackwardSeed);
                become_bulk(header_.pace == 0 ? EPOLLIN | EPOLLOUT : EPOLLIN);
                if (header_.pace != 0) start_pacing();
                return;
            case Role::sink:
                receiver_.emplace(header_.seed);
                return become_bulk(EPOLLIN);
        }
        wrong("an unknown role");
    }

    void become_bulk(uint32_t events) {
        loop_.remove(fd_.get(), *this, priority_);
        priority_ = Priority::bulk;
        loop_.add(fd_.get(), wanted_ = events, *this, priority_);
    }

    void exchange() {
        std::array<uint8_t, kMessageSizeMax> buffer;
        const ssize_t got = recv(fd_.get(), buffer.data(), buffer.size(), MSG_DONTWAIT);
        if (got < 0 && errno == EAGAIN) return;
        if (got <= 0) return service_.finished(*this);
        const auto size = static_cast<size_t>(got);
        if (!Pattern::matches(header_.seed + received_, {buffer.data(), size})) return wrong("wrong content");
        received_ += size;
        while (received_ / header_.request_size > answered_) {
            const auto response =
                Pattern::at(header_.seed + kBackwardSeed + answered_ * header_.response_size, header_.response_size);
            ++answered_;
            if (send(fd_.get(), response.data(), response.size(), MSG_NOSIGNAL | MSG_DONTWAIT) !=
                static_cast<ssize_t>(response.size()))
                return service_.finished(*this);
        }
    }

    void feed(uint32_t events) {
        if ((events & (EPOLLIN | EPOLLERR | EPOLLHUP)) != 0) {
            uint8_t byte = 0;
            const ssize_t got = recv(fd_.get(), &byte, 1, MSG_DONTWAIT);
            if (got == 0 || (got < 0 && errno != EAGAIN)) return service_.finished(*this);
            if (got == 1) {
                if (byte != kStop) return wrong("no stop byte");
                sender_->stop();
                header_.pace = 0;
                if (!all_sent_) loop_.change(fd_.get(), EPOLLIN | EPOLLOUT, *this, priority_);
            }
        }
        if ((events & EPOLLOUT) != 0 && !all_sent_) send_now(kSendBudget);
    }

    void send_now(uint64_t budget) {
        const Step step = sender_->send_some(fd_.get(), budget);
        if (step == Step::failed) return service_.finished(*this);
        if (step == Step::done) {
            all_sent_ = true;
            loop_.change(fd_.get(), EPOLLIN, *this, priority_);
        }
    }

    void start_pacing() {
        pace_from_ = now_ns();
        ticket_ = std::make_shared<ServerStream*>(this);
        pace(ticket_);
    }

    // The ticket outlives the stream and then says so.
    void pace(const std::weak_ptr<ServerStream*>& ticket) {
        if (header_.pace == 0) return;
        const auto due = static_cast<uint64_t>(static_cast<double>(now_ns() - pace_from_) * 1e-9 *
                                               static_cast<double>(header_.pace));
        loop_.call_at(now_ns() + kPaceTick, [this, ticket] {
            if (!ticket.expired()) pace(ticket);
        });
        if (due > sender_->bytes()) send_now(std::min(due - sender_->bytes(), kSendBudget));
    }

    void drain() {
        const Step step = receiver_->receive_some(fd_.get());
        if (step == Step::failed) {
            if (receiver_->bytes() == 0 || errno == ECONNRESET) return service_.finished(*this);
            return wrong(receiver_->failure());
        }
        if (step != Step::done) return;
        const uint64_t verdict = receiver_->bytes();
        if (send(fd_.get(), &verdict, sizeof verdict, MSG_NOSIGNAL | MSG_DONTWAIT) < 0) return service_.finished(*this);
        header_.role = Role::exchange;  // only the end of file is left
        header_.request_size = 1;
        header_.response_size = 0;
    }

    void wrong(const char* what) {
        std::fprintf(stderr, "qanat-loadgen: server: %s\n", what);
        ++service_.content_errors_;
        service_.finished(*this);
    }

    Service& service_;
    EventLoop& loop_;
    UniqueFd fd_;
    Priority priority_ = Priority::urgent;
    uint32_t wanted_ = 0;
    StreamHeader header_;
    size_t header_size_ = 0;
    uint64_t received_ = 0;
    uint64_t answered_ = 0;
    uint64_t pace_from_ = 0;
    bool all_sent_ = false;
    std::optional<BulkSender> sender_;
    std::optional<BulkReceiver> receiver_;
    std::shared_ptr<ServerStream*> ticket_;
};

Service::Service(EventLoop& loop, const Endpoint& where) : loop_(loop), listener_(listen_on(where)) {
    loop_.add(listener_.get(), EPOLLIN, *this, Priority::urgent);
}

Service::~Service() {
    streams_.clear();
    loop_.remove(listener_.get(), *this, Priority::urgent);
}

void Service::on_ready(uint32_t) {
    for (int n = 0; n < kAcceptsPerEvent; ++n) {
        UniqueFd fd(accept4(listener_.get(), nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC));
        if (!fd) {
            if (errno == EMFILE || errno == ENFILE) fatal("accept", errno);
            return;
        }
        auto stream = std::make_unique<ServerStream>(*this, loop_, std::move(fd));
        ServerStream* key = stream.get();
        streams_.emplace(key, std::move(stream));
    }
}

void Service::finished(ServerStream& stream) {
    streams_.erase(&stream);
}

}  // namespace qanat::loadgen
