// ClientStream: one connection of the load generator, opened through the system under test, and the three kinds of it.
//
// A stream that fails says so once, through on_failure, and does nothing more. All sockets are non-blocking; the
// streams live on the EventLoop's thread.
#pragma once

#include <array>
#include <functional>
#include <string>

#include "common/base/unique_fd.h"
#include "perf/loadgen/bulk.h"
#include "perf/loadgen/event_loop.h"
#include "perf/loadgen/sockets.h"
#include "perf/loadgen/stream_header.h"

namespace qanat::loadgen {

struct Route {
    bool socks5 = false;  // else a plain TCP connection to `first` reaches the server
    Endpoint first;
    Endpoint target;  // what a SOCKS5 proxy is asked for
};

class ClientStream : public Handler {
public:
    ClientStream(EventLoop& loop, const Route& route, Priority priority);
    ~ClientStream() override;

    // May be called again after close(). `source` as in start_connect.
    void open(uint32_t source = 0);
    void close();
    [[nodiscard]] bool is_open() const { return phase_ == Phase::open; }

    std::function<void()> on_open;
    std::function<void(const std::string&)> on_failure;

protected:
    virtual void opened() = 0;                // the server is at the other end now
    virtual void moved(uint32_t events) = 0;  // events on the open stream

    void want(uint32_t events);
    void fail_stream(const std::string& why);
    [[nodiscard]] int fd() const { return fd_.get(); }
    [[nodiscard]] EventLoop& loop() { return loop_; }

private:
    enum class Phase : uint8_t { closed, connecting, greeting, requesting, open };

    void on_ready(uint32_t events) final;
    void connected();
    void read_socks_reply();
    void send_all(const uint8_t* bytes, size_t size);
    void now_open();

    EventLoop& loop_;
    const Route& route_;
    Priority priority_;
    UniqueFd fd_;
    Phase phase_ = Phase::closed;
    uint32_t wanted_ = 0;
    std::array<uint8_t, 300> reply_{};
    size_t reply_size_ = 0;
};

// Small messages, one at a time.
class ExchangeStream : public ClientStream {
public:
    ExchangeStream(EventLoop& loop, const Route& route, uint32_t request_size, uint32_t response_size, uint64_t seed);

    void restart() { first_ = true, sent_ = received_ = 0; }  // before opening it again
    // Sends one request. Only when open and not waiting for a response.
    void request();
    [[nodiscard]] bool waiting() const { return waiting_; }
    [[nodiscard]] uint64_t requested_at() const { return requested_at_; }

    std::function<void()> on_response;

private:
    void opened() override;
    void moved(uint32_t events) override;

    uint32_t request_size_;
    uint32_t response_size_;
    uint64_t seed_;
    uint64_t sent_ = 0;
    uint64_t received_ = 0;
    uint64_t requested_at_ = 0;
    bool first_ = true;
    bool waiting_ = false;
};

class BulkStream : public ClientStream {
public:
    // role: source = bytes come down, sink = bytes go up. pace: bytes per second, 0 = unlimited.
    BulkStream(EventLoop& loop, const Route& route, Role role, uint64_t seed, uint64_t pace);

    void stop();  // ends in an orderly way: on_done when every byte has been accounted for
    [[nodiscard]] uint64_t bytes() const { return role_ == Role::source ? receiver_.bytes() : sender_.bytes(); }

    std::function<void()> on_done;

private:
    void opened() override;
    void moved(uint32_t events) override;
    void send_paced();
    void send_now(uint64_t budget);
    void receive();
    void read_verdict();

    Role role_;
    uint64_t seed_;
    uint64_t pace_;
    uint64_t pace_from_ = 0;
    BulkSender sender_;
    BulkReceiver receiver_;
    bool stopped_ = false;
    bool all_sent_ = false;
};

}  // namespace qanat::loadgen
