#include "perf/loadgen/client_stream.h"

#include <sys/epoll.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <cstring>
#include <vector>

#include "perf/loadgen/fatal.h"
#include "perf/loadgen/pattern.h"

namespace qanat::loadgen {
namespace {

constexpr uint64_t kSendBudget = 256 << 10;
constexpr uint64_t kPaceTick = 1'000'000;  // ns
constexpr int kReadsPerEvent = 2;

}  // namespace

ClientStream::ClientStream(EventLoop& loop, const Route& route, Priority priority)
    : loop_(loop), route_(route), priority_(priority) {}

ClientStream::~ClientStream() {
    close();
}

void ClientStream::open(uint32_t source) {
    fd_ = start_connect(route_.first, source);
    if (!fd_) return fail_stream(std::string("connect: ") + std::strerror(errno));
    phase_ = Phase::connecting;
    reply_size_ = 0;
    wanted_ = EPOLLOUT;
    loop_.add(fd_.get(), wanted_, *this, priority_);
}

void ClientStream::close() {
    if (fd_) loop_.remove(fd_.get(), *this, priority_);
    fd_.reset();
    phase_ = Phase::closed;
}

void ClientStream::want(uint32_t events) {
    if (events == wanted_) return;
    wanted_ = events;
    loop_.change(fd_.get(), events, *this, priority_);
}

void ClientStream::fail_stream(const std::string& why) {
    close();
    if (on_failure) on_failure(why);
}

void ClientStream::on_ready(uint32_t events) {
    switch (phase_) {
        case Phase::closed:
            return;
        case Phase::connecting:
            return connected();
        case Phase::greeting:
        case Phase::requesting:
            return read_socks_reply();
        case Phase::open:
            return moved(events);
    }
}

void ClientStream::send_all(const uint8_t* bytes, size_t size) {
    const ssize_t sent = send(fd_.get(), bytes, size, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (sent != static_cast<ssize_t>(size)) fail_stream(std::string("send: ") + std::strerror(errno));
}

void ClientStream::connected() {
    if (const int error = connect_error(fd_.get()); error != 0)
        return fail_stream(std::string("connect: ") + std::strerror(error));
    want(EPOLLIN);
    if (!route_.socks5) return now_open();
    phase_ = Phase::greeting;
    const uint8_t greeting[] = {5, 1, 0};
    send_all(greeting, sizeof greeting);
}

void ClientStream::read_socks_reply() {
    const ssize_t got = recv(fd_.get(), reply_.data() + reply_size_, reply_.size() - reply_size_, MSG_DONTWAIT);
    if (got < 0 && errno == EAGAIN) return;
    if (got <= 0) return fail_stream(got == 0 ? "the proxy closed" : std::string("SOCKS: ") + std::strerror(errno));
    reply_size_ += static_cast<size_t>(got);
    if (phase_ == Phase::greeting) {
        if (reply_size_ < 2) return;
        if (reply_[0] != 5 || reply_[1] != 0 || reply_size_ > 2) return fail_stream("the proxy refused the method");
        reply_size_ = 0;
        phase_ = Phase::requesting;
        std::vector<uint8_t> request{5, 1, 0};
        const auto* address = reinterpret_cast<const uint8_t*>(&route_.target.address);
        const bool v6 = route_.target.is_ipv6();
        const size_t address_at = v6 ? offsetof(sockaddr_in6, sin6_addr) : offsetof(sockaddr_in, sin_addr);
        request.push_back(v6 ? 4 : 1);
        request.insert(request.end(), address + address_at, address + address_at + (v6 ? 16 : 4));
        request.push_back(static_cast<uint8_t>(route_.target.port() >> 8));
        request.push_back(static_cast<uint8_t>(route_.target.port() & 0xff));
        return send_all(request.data(), request.size());
    }
    if (reply_size_ < 5) return;
    if (reply_[1] != 0) return fail_stream("SOCKS reply " + std::to_string(reply_[1]));
    const size_t address_size = reply_[3] == 1 ? 4 : reply_[3] == 4 ? 16 : size_t{1} + reply_[4];
    if (reply_size_ < 4 + address_size + 2) return;
    if (reply_size_ > 4 + address_size + 2) return fail_stream("bytes behind the SOCKS reply");
    now_open();
}

void ClientStream::now_open() {
    phase_ = Phase::open;
    opened();
    if (phase_ == Phase::open && on_open) on_open();
}

ExchangeStream::ExchangeStream(EventLoop& loop, const Route& route, uint32_t request_size, uint32_t response_size,
                               uint64_t seed)
    : ClientStream(loop, route, Priority::urgent),
      request_size_(request_size),
      response_size_(response_size),
      seed_(seed) {}

void ExchangeStream::opened() {
    waiting_ = false;
}

void ExchangeStream::request() {
    std::vector<uint8_t> message;
    message.reserve(sizeof(StreamHeader) + request_size_);
    if (first_) {
        StreamHeader header;
        header.role = Role::exchange;
        header.request_size = request_size_;
        header.response_size = response_size_;
        header.seed = seed_;
        const auto* bytes = reinterpret_cast<const uint8_t*>(&header);
        message.insert(message.end(), bytes, bytes + sizeof header);
        first_ = false;
    }
    const auto content = Pattern::at(seed_ + sent_, request_size_);
    message.insert(message.end(), content.begin(), content.end());
    sent_ += request_size_;
    requested_at_ = now_ns();
    waiting_ = true;
    const ssize_t sent = send(fd(), message.data(), message.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
    if (sent != static_cast<ssize_t>(message.size())) fail_stream(std::string("send: ") + std::strerror(errno));
}

void ExchangeStream::moved(uint32_t) {
    std::array<uint8_t, 16384> buffer;
    const ssize_t got = recv(fd(), buffer.data(), buffer.size(), MSG_DONTWAIT);
    if (got < 0 && errno == EAGAIN) return;
    if (got <= 0) return fail_stream(got == 0 ? "end of file in an exchange" : std::strerror(errno));
    const auto size = static_cast<size_t>(got);
    if (!Pattern::matches(seed_ + kBackwardSeed + received_, {buffer.data(), size}))
        return fail_stream("wrong content in an exchange");
    received_ += size;
    const uint64_t expected = sent_ / request_size_ * response_size_;
    if (received_ > expected) return fail_stream("more bytes than were asked for");
    if (received_ < expected || !waiting_) return;
    waiting_ = false;
    if (on_response) on_response();
}

BulkStream::BulkStream(EventLoop& loop, const Route& route, Role role, uint64_t seed, uint64_t pace)
    : ClientStream(loop, route, Priority::bulk),
      role_(role),
      seed_(seed),
      pace_(pace),
      sender_(seed),
      receiver_(seed + kBackwardSeed) {}

void BulkStream::opened() {
    StreamHeader header;
    header.role = role_;
    header.seed = seed_;
    header.pace = pace_;
    if (send(fd(), &header, sizeof header, MSG_NOSIGNAL | MSG_DONTWAIT) != static_cast<ssize_t>(sizeof header))
        return fail_stream(std::string("send: ") + std::strerror(errno));
    if (role_ == Role::sink && pace_ == 0) want(EPOLLIN | EPOLLOUT);
    if (role_ == Role::sink && pace_ != 0) {
        pace_from_ = now_ns();
        send_paced();
    }
}

void BulkStream::stop() {
    if (stopped_ || !is_open()) return;
    stopped_ = true;
    if (role_ == Role::source) {
        if (send(fd(), &kStop, 1, MSG_NOSIGNAL | MSG_DONTWAIT) != 1) fail_stream("send of the stop byte");
    } else {
        sender_.stop();
        pace_ = 0;
        want(EPOLLIN | EPOLLOUT);
    }
}

void BulkStream::moved(uint32_t events) {
    if (role_ == Role::source) return receive();
    if ((events & EPOLLOUT) != 0 && !all_sent_) send_now(kSendBudget);
    if (is_open() && (events & (EPOLLIN | EPOLLHUP | EPOLLERR)) != 0) read_verdict();
}

void BulkStream::send_now(uint64_t budget) {
    const Step step = sender_.send_some(fd(), budget);
    if (step == Step::failed) return fail_stream(std::string("send: ") + std::strerror(errno));
    if (step == Step::done) {
        all_sent_ = true;
        want(EPOLLIN);
    }
}

// A timer per stream and millisecond: enough for the few paced streams of the mixed workload.
void BulkStream::send_paced() {
    if (!is_open() || stopped_ || pace_ == 0) return;
    const auto due =
        static_cast<uint64_t>(static_cast<double>(now_ns() - pace_from_) * 1e-9 * static_cast<double>(pace_));
    if (due > sender_.bytes()) send_now(std::min(due - sender_.bytes(), kSendBudget));
    loop().call_at(now_ns() + kPaceTick, [this] { send_paced(); });
}

void BulkStream::receive() {
    for (int n = 0; n < kReadsPerEvent; ++n) {
        switch (receiver_.receive_some(fd())) {
            case Step::again:
                continue;
            case Step::blocked:
                return;
            case Step::failed:
                return fail_stream(receiver_.failure());
            case Step::done:
                if (!stopped_) return fail_stream("the server stopped on its own");
                close();
                if (on_done) on_done();
                return;
        }
    }
}

void BulkStream::read_verdict() {
    std::array<uint8_t, 8> verdict;
    const ssize_t got = recv(fd(), verdict.data(), verdict.size(), MSG_DONTWAIT);
    if (got < 0 && errno == EAGAIN) return;
    uint64_t counted = 0;
    if (got == static_cast<ssize_t>(verdict.size())) std::memcpy(&counted, verdict.data(), sizeof counted);
    if (!all_sent_ || counted != sender_.bytes()) return fail_stream("the server did not get what was sent");
    close();
    if (on_done) on_done();
}

}  // namespace qanat::loadgen
